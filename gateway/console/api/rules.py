"""`/rules`: the files in force, earlier ones, what matched of late; and what they do with a file that is uploaded."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

from fastapi import Path, Query, Request
from fastapi.responses import Response
from pydantic import Field
from starlette.requests import ClientDisconnect

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Person, Right
from gateway.console.api.answers import LIMIT_DEFAULT, PRINTED, Limit, Model, Page, answer, context_of, listed
from gateway.console.api.problems import COMMON, also, not_there, problem
from gateway.console.services import rules as service
from gateway.console.services.explained import Explained, sentence, verdict
from gateway.console.services.rules import RuleSetView
from gateway.console.services.trial import FACT_MAX, UPLOAD_MAX_BYTES, Supposed, Upload, explain

router = api_router(tags=["rules"], responses=COMMON)

Fact = Annotated[str, Query(max_length=FACT_MAX, pattern=PRINTED)]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class RuleFile(Model):
    """A file of a set: YAML, or the CSV of a table."""

    name: str
    lines: int
    text: str | None = Field(description="null for who has not the right `patients`: tables hold Patient IDs")


class RuleSet(Model):
    """A stored set of rules."""

    revision: str
    current: bool
    stored_at_ms: int | None
    files: list[RuleFile]


class Revision(Model):
    """A stored set of rules in a list: `files` are their names."""

    revision: str
    stored_at_ms: int
    current: bool
    files: list[str]


class Matches(Model):
    """How many instances each rule matched, in the hours since then."""

    since_ms: int
    by_rule: dict[str, int]
    unmatched: int = Field(description="how many no rule matched")


class RuleTried(Model):
    """How a rule met the file."""

    rule: str
    verdict: str
    because: str


class Change(Model):
    """An attribute that a copy has differently."""

    attribute: str
    before: str
    after: str


class Copy(Model):
    """What a chain of transforms changes; `refused`: why it cannot be done, so that the delivery would be held."""

    chain: str
    refused: str
    changes: list[Change]


class Goes(Model):
    """A destination, and what it gets: "" the original, else a chain."""

    destination: str
    chain: str


class Explanation(Model):
    """What the rules in force do with a file."""

    revision: str
    sentence: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    goes_to: list[Goes]
    hold: str | None
    discard: str | None
    rules: list[RuleTried]
    copies: list[Copy]


@router.get("/rules", response_model=RuleSet, responses=also(404))
@needs(Right.STATE)
async def rules(request: Request) -> Response:
    """The set in force."""
    found = await service.rule_set(context_of(request), texts=_sees_texts(request))
    return not_there(request, "set: no rules are in force yet") if found is None else answer(request, _set(found))


@router.get("/rules/matches", response_model=Matches)
@needs(Right.STATE)
async def matches(request: Request) -> Response:
    """How many instances each rule matched in the last day."""
    return answer(request, Matches.model_validate(await service.matches(context_of(request))))


@router.get("/rules/revisions", response_model=Page[Revision])
@needs(Right.STATE)
async def revisions(request: Request, limit: Limit = LIMIT_DEFAULT) -> Response:
    """The stored sets, the newest first."""
    found = await service.revisions(context_of(request), limit)
    return answer(request, Page[Revision].model_validate(listed(found)))


@router.get("/rules/revisions/{revision}", response_model=RuleSet, responses=also(404))
@needs(Right.STATE)
async def revision(
    request: Request, revision: Annotated[str, Path(max_length=128, pattern=r"^[0-9A-Za-z]+$")]
) -> Response:
    """A stored set."""
    found = await service.rule_set(context_of(request), revision, texts=_sees_texts(request))
    return not_there(request, "revision") if found is None else answer(request, _set(found))


@router.post("/rules/explain", response_model=Explanation, openapi_extra=_BODY)
@needs(Right.PATIENTS, UPLOAD_MAX_BYTES)
async def explain_file(
    request: Request,
    calling: Fact = "",
    called: Fact = "",
    source: Fact = "",
    host: Fact = "",
    listener: Fact = "",
    received: Annotated[
        str, Query(max_length=FACT_MAX, pattern=PRINTED, description="as in `2026-01-31 19:30`; else now")
    ] = "",
) -> Response:
    """What the rules in force do with a DICOM file (the body), as if it came so. Nothing is kept or sent.

    Pseudonyms in its copies are made up, others each time.
    """
    context = context_of(request)
    supposed = Supposed(calling, called, source, host, listener, received)
    supposed.check()
    with closing(Upload(context)) as upload:
        try:
            async for piece in request.stream():
                await upload.write(piece)
        except ClientDisconnect:
            return problem(request, 408)  # which nobody hears
        found = await explain(context, upload, supposed)
    return answer(request, _explanation(found))


def _sees_texts(request: Request) -> bool:
    person: Person = request.state.person
    return person.may(Right.PATIENTS)


def _set(found: RuleSetView) -> RuleSet:
    return RuleSet.model_validate(found)


def _explanation(found: Explained) -> Explanation:
    decision, part10 = found.decision, found.file.part10
    return Explanation(
        revision=decision.revision,
        sentence=sentence(found),
        sop_class_uid=part10.sop_class_uid,
        sop_instance_uid=part10.sop_instance_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
        goes_to=[
            Goes(destination=name, chain=decision.chain_of(index)) for index, name in enumerate(decision.destinations)
        ],
        hold=decision.hold,
        discard=decision.discard,
        rules=[RuleTried(rule=item.rule, verdict=verdict(item), because=item.failing) for item in found.rules],
        copies=[
            Copy(
                chain=chain,
                refused=changed if isinstance(changed, str) else "",
                changes=[]
                if isinstance(changed, str)
                else [Change(attribute=name, before=before, after=after) for name, before, after in changed],
            )
            for chain, changed in found.copies.items()
        ],
    )
