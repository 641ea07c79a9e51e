"""What deciding costs an instance, by the number of rules: the header is scanned, but its values are not decoded yet.

    python -m bench rules --rounds 2000

The rules are those of a large site: most of them ask for a station, a sender or a code by its text, some for a piece of
a description, a few for a regular expression only. Sets of nothing but globs and nothing but regular expressions (each
is tried) are measured beside them. Goal: 100 µs with 500 rules (median).
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence

from bench.report import goal, percentile, save, show, spread
from gateway.dicom.header import Header, read_header
from gateway.model import AssociationFacts
from gateway.rules.plan import Plan, load
from tests.unit.samples import MemorySource, Sample, sample

COUNTS = (10, 100, 500)
GOAL_RULES, GOAL_US = 500, 100.0
FACTS = AssociationFacts("a1", "main", "ct1", "CT_017", "GATEWAY", "10.1.2.3")
CT = "1.2.840.10008.5.1.4.1.1.2"
RECEIVED_MS = 1_770_000_000_000
WORDS = ("CHEST", "HEAD", "ABDOMEN", "SPINE", "KNEE", "THORAX", "PELVIS", "NECK", "FOOT", "TRIAL")


def site(number: int, rng: random.Random) -> str:
    """The `match` of one rule of a large site."""
    modality, word, kind = rng.choice(("CT", "MR", "US", "DX")), rng.choice(WORDS), number % 20
    if kind < 10:
        return f"{{Modality: {modality}, StationName: ST{number}}}"
    if kind < 14:
        return f'{{calling_ae_title: CT_{number:03}, StudyDescription: "*{word}*"}}'
    if kind < 17:
        return f'{{Modality: [CT, MR], RequestedProcedureCodeSequence.CodeValue: "{number}"}}'
    if kind < 18:
        return f'{{any: [{{StationName: ST{number}}}, {{calling_ae_title: "MR_{number}"}}], not: {{Modality: SR}}}}'
    if kind < 19:
        return f'{{StudyDescription: "*{word}*{number}*"}}'
    return f'{{InstitutionName: {{regex: "^Univ.*{number}"}}}}'


def globs(number: int, rng: random.Random) -> str:
    """The `match` of a rule that asks for a word in a description, each for another."""
    return f'{{StudyDescription: "*{rng.choice(WORDS)} {number}*"}}'


def expressions(number: int, rng: random.Random) -> str:
    """The `match` of a rule that asks for no text: it is tried whatever comes."""
    return f'{{StudyDescription: {{regex: "^{rng.choice(WORDS)}.*{number}"}}}}'


SETS = {"a large site": site, "globs only": globs, "regular expressions only": expressions}


def plan_of(count: int, kind: str) -> Plan:
    """So many rules, the same in every run; the last one matches everything."""
    rng = random.Random(count)
    rules = [f"  - {{name: r{number}, match: {SETS[kind](number, rng)}, send_to: a}}" for number in range(count - 1)]
    return load({"r.yaml": "rules:\n" + "\n".join([*rules, "  - {name: rest, send_to: b}\n"])})


def times_us(plan: Plan, ct: Sample, rounds: int) -> list[float]:
    """What each of some decisions took."""
    scan = read_header(MemorySource(ct.data_set), ct.transfer_syntax_uid, plan.wanted)._scan
    found = []
    for _ in range(rounds):
        header = Header(scan)
        began = time.perf_counter()
        plan.priority(plan.decide(header, FACTS, ct.transfer_syntax_uid, CT, RECEIVED_MS))
        found.append((time.perf_counter() - began) * 1e6)
    return found


def main(options: Sequence[str]) -> None:
    """Run the benchmark."""
    arguments = argparse.ArgumentParser(prog="bench rules")
    arguments.add_argument("--rounds", type=int, default=2000, help="decisions a set of rules")
    rounds = arguments.parse_args(options).rounds
    ct = sample("CT_small.dcm")
    sides = {(kind, count): plan_of(count, kind) for kind in SETS for count in COUNTS}
    for plan in sides.values():
        times_us(plan, ct, max(1, rounds // 10))  # the warm-up
    times = {side: times_us(plan, ct, rounds) for side, plan in sides.items()}
    rows = [(kind, str(count), spread(each, 1), f"{percentile(each, 99):.1f}") for (kind, count), each in times.items()]
    show("one decision, µs", ("rules", "how many", "median (least - greatest)", "p99"), rows)
    print(f"{GOAL_RULES} rules: {goal(percentile(times['a large site', GOAL_RULES], 50), GOAL_US, 'µs (median)')}")
    save("rules", {"rounds": rounds, "times_us": {f"{kind}, {count}": each for (kind, count), each in times.items()}})
