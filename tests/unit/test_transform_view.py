"""What a step's condition sees is what a rule sees: `View.get` of a tree is `Header.get` of a scan, path by path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.dicom.header import Header, Wanted, read_header
from gateway.dicom.paths import AttributePath, step
from gateway.transform.parse import parse
from gateway.transform.view import View
from tests.unit.samples import MemorySource, sample, sample_files

NAMES = [
    "CT_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "rtplan.dcm",
    "reportsi.dcm",
    "chrJapMulti.dcm",
    "JPEG2000.dcm",
    "liver_1frame.dcm",
    "nested_priv_SQ.dcm",
    "priv_SQ.dcm",
    "test-SR.dcm",
]


def paths(data: Dataset, above: AttributePath = (), depth: int = 0) -> Iterator[AttributePath]:
    """Every path of a data set to three levels: by number, by item, and by creator."""
    for element in data:
        tag = int(element.tag)
        if tag >> 16 == 2:
            continue
        yield (*above, tag)
        if element.tag.is_private and element.tag.element > 0xFF and element.private_creator:
            creator = str(element.private_creator)
            yield (*above, step(tag & 0xFFFF00FF, creator))
        if element.VR == "SQ" and depth < 2:
            for number, item in enumerate(element.value[:3], 1):
                yield from paths(item, (*above, tag), depth + 1)
                yield from paths(item, (*above, step(tag, item=number)), depth + 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_sees_what_a_rule_sees(name: str) -> None:
    each = sample(name)
    (file,) = (path for path in sample_files() if path.name == name)
    view = View(parse(MemorySource(each.data_set), each.transfer_syntax_uid))
    compared = 0
    for path in dict.fromkeys(paths(dcmread(file))):
        # One at a time: which VR a private element has that brings none may depend on what else is asked for.
        header: Header = read_header(MemorySource(each.data_set), each.transfer_syntax_uid, Wanted.of([path]))
        assert view.get(path) == header.get(path), path
        compared += 1
    assert compared > 2
