import json

import pyarrow.dataset
import pyarrow.parquet as pq

from tests.formats.conftest import SPEC, make_image, make_samples
from xpaste_ray.formats.images import encode_image


def test_rows_hold_images_and_objects(make_dataset):
    dataset = make_dataset("parquet")
    table = pyarrow.dataset.dataset(dataset / "data").to_table().sort_by("image_id")
    rows, samples = table.to_pylist(), make_samples()
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["image"] == {"bytes": encode_image(make_image(0), SPEC.encoding), "path": "000000.jpg"}
    for row, sample in zip(rows, samples, strict=True):
        assert [entry["segmentation"] for entry in row["objects"]] == [
            a.segmentation for a in sample.annotations
        ]
        assert [tuple(entry["bbox"]) for entry in row["objects"]] == [a.bbox for a in sample.annotations]
    under, ring, copied = rows[0]["objects"]
    assert (under["instance_id"], ring["instance_id"], copied["instance_id"]) == (None, "3-0-test", None)
    assert json.loads(ring["provenance"])["seed"] == 7 and under["provenance"] is None
    assert json.loads(copied["provenance"]) == {"background_id": "c", "annotation_id": 2}
    assert ring["amodal"]["size"] == [24, 32] and copied["amodal"] is None
    assert rows[1]["neg_category_ids"] == [1203] and rows[0]["neg_category_ids"] is None


def test_columns_are_named_as_hugging_face_does(make_dataset):
    """Keys and types of `datasets.Features.to_dict`; version 5.2 opens the file with decoded images."""
    schema = pq.read_schema(make_dataset("parquet") / "data" / "part-00000000-00000002.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert features["height"] == {"dtype": "int32", "_type": "Value"}
    assert features["neg_category_ids"] == {
        "feature": {"dtype": "int64", "_type": "Value"},
        "_type": "Sequence",
    }
    (entry,) = features["objects"]
    assert entry["visible_fraction"] == {"dtype": "float64", "_type": "Value"}
    assert entry["segmentation"]["counts"] == {"dtype": "string", "_type": "Value"}


def test_a_shard_is_a_file_named_by_its_range(make_dataset):
    data = make_dataset("parquet") / "data"
    assert {path.name: pq.read_metadata(path).num_rows for path in data.iterdir()} == {
        "part-00000000-00000002.parquet": 3,
        "part-00000003-00000004.parquet": 2,
    }
