"""`/studies` and `/instances`: a search, a study, an instance, and the instance as a file. Patient data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field

from gateway.console.access.asks import needs
from gateway.console.access.guard import api_router
from gateway.console.access.roles import Right
from gateway.console.api.answers import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    PRINTED,
    After,
    Asked,
    InstanceId,
    Limit,
    Model,
    Page,
    StudyKey,
    Text,
    answer,
    context_of,
    listed,
    viewer_of,
)
from gateway.console.api.problems import COMMON, also, not_there
from gateway.console.services import studies as service
from gateway.console.services.seen import searched, viewed
from gateway.ledger.base import DeliveryRow
from gateway.ledger.look import Cell as CellValue
from gateway.ledger.look import DecisionCount, Happening, InstanceDetail, StudyFilter
from gateway.ledger.look import StudyDetail as StudyDetailValue
from gateway.model import Decision as DecisionValue
from gateway.model import DeliveryState, DuplicateKind, InstanceState

router = api_router(tags=["studies"], responses=COMMON)

DAY = r"^([0-9]{8})?$"
Day = Annotated[str, Query(pattern=DAY, description="YYYYMMDD")]
Word = Annotated[str, Field(max_length=200, pattern=PRINTED)]
States = Annotated[
    list[InstanceState | DeliveryState],
    Query(max_length=20, description="of an instance, or of a delivery; repeat it for several: any of them will do"),
]


class Study(Model):
    """A study in a list. Counts are of its first instances; `more` says that there are more."""

    study_key: int
    study_instance_uid: str
    patient_id: str
    patient_name: str
    issuer_of_patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: list[str]
    series: int
    instances: int
    more: bool
    states: dict[InstanceState, int]
    deliveries: dict[DeliveryState, int] = Field(description="what is under way, or stopped")
    looked_at: int = Field(description="how many instances `states` and `deliveries` are of")
    first_received_at_ms: int
    last_received_at_ms: int


class Series(Model):
    """A series of a study."""

    series_instance_uid: str
    series_number: str
    series_description: str
    modality: str
    instances: int
    more: bool


class Decision(Model):
    """Why instances went where they went."""

    revision: str
    tried: int = Field(description="how many rules were tried")
    matched: list[str] = Field(description="rules that matched, in order")
    destinations: list[str]
    chains: list[str] = Field(description='what each of them gets: "" the original, else a chain of transforms')
    hold: str | None
    discard: str | None


class DecisionsMade(Model):
    """A decision, and for how many instances of a study it was made."""

    decision: Decision
    instances: int


class StudyDetail(Model):
    """A study, whole."""

    study: Study
    series: list[Series]
    states: dict[InstanceState, int]
    deliveries: dict[str, dict[DeliveryState, int]] = Field(description="by destination")
    length: int = Field(description="data set bytes of the originals")
    sources: list[str]
    calling_ae_titles: list[str]
    decisions: list[DecisionsMade]
    same_uid: list[int] = Field(description="keys of other studies with this UID, whose attributes differ")


class Step(Model):
    """A step of a transform, and whether it was done or left out, as its `when` did not hold."""

    transform: str
    number: int
    verb: str
    done: bool


class Delivery(Model):
    """A delivery: an instance, or a copy of it, to a destination."""

    delivery_id: int
    destination: str
    state: DeliveryState
    code: str
    reason: str
    status: int | None
    attempts: int
    created_at_ms: int
    due_at_ms: int
    updated_at_ms: int
    chain: str
    steps: list[Step]


class Cell(Model):
    """What a destination gets of an instance: the oldest delivery first, the last one is what counts."""

    deliveries: list[Delivery]
    skipped_for: str = Field(description="the instance whose delivery stands for this exact duplicate")


class InstanceInStudy(Model):
    """An instance of a study, and what each destination gets of it."""

    instance_id: str
    series_instance_uid: str
    instance_number: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    state: InstanceState
    reason: str
    duplicate: DuplicateKind
    source: str
    calling_ae_title: str
    received_at_ms: int
    destinations: dict[str, Cell]


class Association(Model):
    """How an instance came."""

    association_id: str
    listener: str
    source: str
    calling_ae_title: str
    called_ae_title: str
    peer_host: str


class Payload(Model):
    """What there is of an instance: the original (chain ""), or what transforms made of it."""

    chain: str
    there: bool = Field(description="it can be read from the spool")
    length: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    steps: list[Step]


class Twin(Model):
    """An arrival of a SOP Instance UID."""

    instance_id: str
    state: InstanceState
    duplicate: DuplicateKind
    received_at_ms: int


class Instance(Model):
    """An instance, whole."""

    instance_id: str
    state: InstanceState
    reason: str
    study_key: int | None = Field(description="null: not routed yet")
    patient_id: str
    patient_name: str
    accession_number: str
    study_instance_uid: str
    study_date: str
    study_description: str
    series_instance_uid: str
    modality: str
    instance_number: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    length: int
    duplicate: DuplicateKind
    association: Association
    decision: Decision | None
    attempts: int = Field(description="to route it")
    received_at_ms: int
    recorded_at_ms: int
    settled_at_ms: int | None
    payloads: list[Payload]
    destinations: dict[str, Cell]
    twins: list[Twin]


class Moment(Model):
    """What happened, to `count` instances in the same way from `at_ms` until `until_ms`."""

    at_ms: int
    until_ms: int
    what: Happening
    count: int
    destination: str
    state: str
    code: str
    reason: str
    actor: str
    action: str


class Timeline(Model):
    """What happened, in order."""

    moments: list[Moment]


class Search(Asked):
    """What studies are searched for: the fields of `GET /studies`, which stand in no address here."""

    patient_id: Word = ""
    patient_name: Word = ""
    accession_number: Word = ""
    uid: Word = ""
    date_from: Annotated[str, Field(pattern=DAY, description="YYYYMMDD")] = ""
    date_to: Annotated[str, Field(pattern=DAY, description="YYYYMMDD")] = ""
    source: Word = ""
    state: list[InstanceState | DeliveryState] = Field(default=[], max_length=20)
    modality: Word = ""
    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    after: str = Field(default="", max_length=300, description="`next` of the page before")


@router.get("/studies", response_model=Page[Study])
@needs(Right.PATIENTS)
async def studies(
    request: Request,
    patient_id: Text = "",
    patient_name: Text = "",
    accession_number: Text = "",
    uid: Text = "",
    date_from: Day = "",
    date_to: Day = "",
    source: Text = "",
    state: States = [],  # noqa: B006 - as FastAPI wants it
    modality: Text = "",
    limit: Limit = LIMIT_DEFAULT,
    after: After = "",
) -> Response:
    """Studies, the newest first. All that is given must hold; `*` and `?` are wildcards (PS3.4 C.2.2.2.4), also in
    `patient_name`, which else means the beginning of any part of it. `uid` is of a study, series or instance."""
    which = StudyFilter(
        patient_id=patient_id,
        patient_name=patient_name,
        accession_number=accession_number,
        uid=uid,
        date_from=date_from,
        date_to=date_to,
        source=source,
        states=tuple(str(each) for each in state),
        modality=modality,
    )
    return await _found(request, which, limit, after)


@router.post("/studies/search", response_model=Page[Study])
@needs(Right.PATIENTS)
async def search_studies(request: Request, body: Search) -> Response:
    """The same search, with nothing of a patient in the address: proxies and clients write addresses down."""
    given = body.model_dump(exclude={"state", "limit", "after"})
    which = StudyFilter(**given, states=tuple(str(each) for each in body.state))
    return await _found(request, which, body.limit, body.after)


async def _found(request: Request, which: StudyFilter, limit: int, after: str) -> Response:
    context = context_of(request)
    page = await service.studies(context, which, limit, after)
    searched(context, viewer_of(request), which)
    return answer(request, Page[Study].model_validate(listed(page.rows, page.next)))


@router.get("/studies/{study_key}", response_model=StudyDetail, responses=also(404))
@needs(Right.PATIENTS)
async def study(request: Request, study_key: StudyKey) -> Response:
    """A study."""
    context = context_of(request)
    found = await service.study(context, study_key)
    if found is None:
        return not_there(request, "study")
    viewed(context, viewer_of(request), study_key, found.study.instances)
    return answer(request, _study(found))


@router.get("/studies/{study_key}/instances", response_model=Page[InstanceInStudy])
@needs(Right.PATIENTS)
async def study_instances(
    request: Request, study_key: StudyKey, limit: Limit = LIMIT_DEFAULT, after: After = ""
) -> Response:
    """The instances of a study by series and order of arrival, with what each destination gets of them."""
    context = context_of(request)
    matrix = await service.matrix(context, study_key, limit, after)
    if matrix.page.rows:
        viewed(context, viewer_of(request), study_key, len(matrix.page.rows))
    items = [
        InstanceInStudy.model_validate(
            {
                **{name: getattr(row, name) for name in InstanceInStudy.model_fields if name != "destinations"},
                "destinations": _cells(matrix.cells.get(row.instance_id, {})),
            }
        )
        for row in matrix.page.rows
    ]
    return answer(request, Page[InstanceInStudy].model_validate(listed(items, matrix.page.next)))


@router.get("/studies/{study_key}/timeline", response_model=Timeline)
@needs(Right.PATIENTS)
async def study_timeline(request: Request, study_key: StudyKey) -> Response:
    """What happened to a study."""
    moments = await service.timeline(context_of(request), study_key)
    return answer(request, Timeline.model_validate({"moments": moments}))


@router.get("/instances", response_model=Page[Twin], tags=["instances"])
@needs(Right.PATIENTS)
async def instances(
    request: Request, uid: Annotated[str, Query(min_length=1, max_length=64, pattern=r"^[0-9A-Za-z.-]+$")]
) -> Response:
    """The arrivals of a SOP Instance UID, or the instance of an id, the newest first."""
    found = await service.find_instances(context_of(request), uid)
    return answer(request, Page[Twin].model_validate(listed(found)))


@router.get("/instances/{instance_id}", response_model=Instance, responses=also(404), tags=["instances"])
@needs(Right.PATIENTS)
async def instance(request: Request, instance_id: InstanceId) -> Response:
    """An instance."""
    context = context_of(request)
    found = await service.instance(context, instance_id)
    if found is None:
        return not_there(request, "instance")
    viewed(context, viewer_of(request), found.study_key, 1)
    return answer(request, _instance(found))


@router.get("/instances/{instance_id}/timeline", response_model=Timeline, tags=["instances"])
@needs(Right.PATIENTS)
async def instance_timeline(request: Request, instance_id: InstanceId) -> Response:
    """What happened to an instance."""
    moments = await service.timeline(context_of(request), instance_id)
    return answer(request, Timeline.model_validate({"moments": moments}))


@router.get(
    "/instances/{instance_id}/file",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/dicom": {"schema": {"type": "string", "format": "binary"}}},
            "description": "a DICOM Part 10 file",
        },
        **also(404, 410),
    },
    tags=["instances"],
)
@needs(Right.PATIENTS)
async def instance_file(
    request: Request,
    instance_id: InstanceId,
    chain: Annotated[str, Query(max_length=300, pattern=PRINTED, description='a copy; "" is the original')] = "",
    reason: Annotated[str, Query(max_length=500, pattern=PRINTED, description="why; for the audit trail")] = "",
) -> Response:
    """An instance as a file, its data set unchanged. Audited."""
    found = await service.download(context_of(request), instance_id, chain, viewer_of(request), reason)
    if found is None:
        return not_there(request, "file: the instance is not known, or no longer in the spool")
    headers = {
        "content-length": str(found.length),
        "content-disposition": f'attachment; filename="{found.name}"',
    }
    return StreamingResponse(found.pieces, headers=headers, media_type="application/dicom")


def _study(found: StudyDetailValue) -> StudyDetail:
    return StudyDetail(
        study=Study.model_validate(found.study),
        series=[Series.model_validate(each) for each in found.series],
        states=dict(found.states),
        deliveries={name: dict(states) for name, states in found.deliveries.items()},
        length=found.length,
        sources=list(found.sources),
        calling_ae_titles=list(found.calling_ae_titles),
        decisions=[_made(each) for each in found.decisions],
        same_uid=list(found.same_uid),
    )


def _made(each: DecisionCount) -> DecisionsMade:
    return DecisionsMade(decision=_decision(each.decision), instances=each.instances)


def _decision(decision: DecisionValue) -> Decision:
    return Decision.model_validate(decision)


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery.model_validate(row)


def _cells(cells: object) -> dict[str, Cell]:
    found: dict[str, CellValue] = dict(cells)  # type: ignore[call-overload]
    return {
        name: Cell(deliveries=[_delivery(row) for row in cell.deliveries], skipped_for=cell.skipped_for)
        for name, cell in found.items()
    }


def _instance(found: InstanceDetail) -> Instance:
    row = found.row
    of_row = {name: getattr(row, name) for name in Instance.model_fields if hasattr(row, name)}
    return Instance.model_validate(
        {
            **of_row,
            "study_key": found.study_key,
            "instance_number": found.instance_number,
            "association": Association.model_validate(found.facts),
            "decision": None if found.decision is None else _decision(found.decision),
            "attempts": found.attempts,
            "recorded_at_ms": found.recorded_at_ms,
            "settled_at_ms": found.settled_at_ms,
            "payloads": _payloads(found),
            "destinations": _cells(found.cells),
            "twins": [Twin.model_validate(each) for each in found.twins],
        }
    )


def _payloads(found: InstanceDetail) -> Sequence[Payload]:
    is_there = found.row.state not in (InstanceState.PURGING, InstanceState.PURGED)
    return [
        Payload(
            chain=each.chain,
            there=is_there and bool(each.file.path),
            length=each.file.length,
            sop_class_uid=each.file.sop_class_uid,
            sop_instance_uid=each.file.sop_instance_uid,
            transfer_syntax_uid=each.file.transfer_syntax_uid,
            steps=[Step.model_validate(step) for step in each.steps],
        )
        for each in found.payloads
    ]
