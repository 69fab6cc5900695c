import pytest

from tests.formats.conftest import make_annotation, rectangle
from xpaste_ray.formats.origins import told_origin

MASK = rectangle(2, 2, 4, 4)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"source_id": "3-0-a"}, {"instance_id": "3-0-a"}),
        (
            {"source_id": "3-0-a", "provenance": {"seed": 7}},
            {"instance_id": "3-0-a", "provenance": {"seed": 7}},
        ),
        (
            {"origin": "copied", "source_id": "a#b/c.jpg#12"},
            {"provenance": {"background_id": "a#b/c.jpg", "annotation_id": 12}},
        ),
        ({"origin": "copied", "source_id": "a#x", "provenance": {"url": "u"}}, {"provenance": {"url": "u"}}),
        ({"origin": "background", "source_id": "a#1"}, {}),
    ],
)
def test_every_pasted_object_leads_back(fields, told):
    assert told_origin(make_annotation(MASK, **fields)) == told
