import tarfile

import webdataset

from tests.formats.conftest import make_samples
from xpaste_ray.formats.images import ImageEncoding
from xpaste_ray.runs import read_json
from xpaste_ray.samples import sample_from_json


def _load(dataset):
    urls = sorted(str(path) for path in dataset.glob("*.tar"))
    return list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))


def test_dataset_loads_with_webdataset(make_dataset):
    dataset = make_dataset("webdataset")
    loaded, samples = _load(dataset), make_samples()
    assert [entry["__key__"] for entry in loaded] == ["000000", "000001", "000002", "000003", "000004"]
    for entry, sample in zip(loaded, samples, strict=True):
        assert entry["jpg"].shape == (24, 32, 3)
        record = entry["json"]
        assert record.pop("file_name") == f"{entry['__key__']}.jpg"
        told = [annotation.pop("instance_id", None) for annotation in record["annotations"]]
        assert told == [a.source_id if a.origin == "pool" else None for a in sample.annotations]
        for annotation in record["annotations"]:
            if annotation["origin"] == "copied":
                assert annotation.pop("provenance") == {"background_id": "c", "annotation_id": 2}
        assert sample_from_json(record) == sample
    names = {
        category["id"]: category["name"] for category in read_json(dataset / "categories.json")["categories"]
    }
    assert names[3] == "cup/../../etc"


def test_a_shard_is_a_tar_named_by_its_range(make_dataset):
    dataset = make_dataset("webdataset", encoding=ImageEncoding(format="png"))
    assert sorted(path.name for path in dataset.glob("*.tar")) == [
        "shard-00000000-00000002.tar",
        "shard-00000003-00000004.tar",
    ]
    with tarfile.open(dataset / "shard-00000003-00000004.tar") as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["000003.png", "000003.json", "000004.png", "000004.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in members} == {(0, 0, 0, "", 0o644)}
