from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import prompt
from xpaste_ray.errors import SchemaError
from xpaste_ray.records import (
    UNIT_IN_FLIGHT,
    UNITS,
    Candidate,
    Proposal,
    Unit,
    candidate_from_dict,
    candidate_to_dict,
    check_schema,
    unit_from_row,
    unit_to_row,
)


def _through_arrow(candidate):
    row = {"round": 0, "unit": 0, "candidates": [candidate_to_dict(candidate)], "stage_seconds": [("a", 1.0)]}
    table = pa.Table.from_pylist([row], schema=UNIT_IN_FLIGHT)
    return candidate_from_dict(table.to_pylist()[0]["candidates"][0])


def test_candidate_survives_the_way_through_arrow():
    rng = np.random.default_rng(0)
    proposals = (
        Proposal("grabcut", 0, rng.integers(0, 256, (5, 7), np.uint8), area_fraction=0.25,
                 scores=(("clip_logit", 21.5),), embedding=np.arange(4, dtype=np.float16),
                 overlaps=((1, 0.5, 0.75),)),
        Proposal("sam", 1, None, "rejected", "segmentation_failed"),
    )  # fmt: skip
    image = rng.integers(0, 256, (5, 7, 3), np.uint8)
    sent = Candidate(prompt(), "m@1", "c0ffee", image=image, proposals=proposals)
    got = _through_arrow(sent)
    assert np.array_equal(got.image, image)
    assert (got.prompt, got.model, got.content_hash, got.status) == (sent.prompt, "m@1", "c0ffee", "ok")
    assert np.array_equal(got.proposals[0].mask, proposals[0].mask)
    assert np.array_equal(got.proposals[0].embedding, proposals[0].embedding)
    assert got.proposals[0].scores == (("clip_logit", 21.5),)
    assert got.proposals[1] == proposals[1]


def test_marks_of_a_candidate_survive_too():
    sent = Candidate(prompt(), status="rejected", reason="out_of_memory",
                     degraded_shape=True, transient=True)  # fmt: skip
    assert _through_arrow(sent) == sent


def test_candidate_without_an_image_survives_too():
    sent = Candidate(prompt(), status="rejected", reason="generation_failed")
    assert _through_arrow(sent) == sent


def test_found_image_keeps_where_it_is_from():
    """What was not generated has neither text nor seed."""
    found = replace(prompt(), text=None, seed=None, uri="https://example.org/a.jpg", licence="by-4.0",
                    page="https://example.org/a")  # fmt: skip
    assert _through_arrow(Candidate(found)).prompt == found


def test_unit_survives_the_way_through_arrow():
    unit = Unit(3, 14, (prompt(index=0), prompt(index=1)))
    table = pa.Table.from_pylist([unit_to_row(unit)], schema=UNITS)
    assert unit_from_row(table.to_pylist()[0]) == unit
    assert (unit.id, unit.source) == ("00003/unit-00014", "diffusion")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (UNITS.remove(0), "stage 'x': column 'round' is missing"),
        (UNITS.set(1, pa.field("unit", pa.string())), "stage 'x': column 'unit' must be int32, got string"),
        (UNITS.append(pa.field("more", pa.int8())), "stage 'x': unexpected column 'more'"),
    ],
)
def test_wrong_schema_names_stage_and_column(schema, message):
    with pytest.raises(SchemaError, match=message):
        check_schema(schema, UNITS, "x")
