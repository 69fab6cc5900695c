"""Indexing on a real Ray gives the bytes of indexing without it."""

import pytest

from tests.backgrounds.material import encoded, picture, small_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.pipelines import backgrounds as pipeline


@pytest.fixture
def with_ray():
    yield
    import ray

    ray.shutdown()


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_few_images_need_no_ray(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "index_on_ray", None)
    source = resolve_source(small_dataset(tmp_path))
    told = []
    found = pipeline.index_backgrounds(source, tmp_path / "cache", lambda *counts: told.append(counts))
    assert len(found) == 3 and told == [(3, 3)]


def test_same_bytes_without_ray_and_for_any_number_of_workers(tmp_path, with_ray):
    path = small_dataset(tmp_path / "data")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(encoded(picture(seed=number), "JPEG"))
    (folder / "4.jpg").write_bytes(b"")
    for source in (resolve_source(path), resolve_source(folder)):
        serial = open_or_index(source, tmp_path / f"serial-{source.kind}")
        for workers, rows in ((1, 1), (2, 3)):

            def on_ray(source, items, workers=workers, rows=rows):
                return pipeline.index_on_ray(source, items, workers, 6, images_per_part=rows)

            told = []
            cache = tmp_path / f"{workers}-{source.kind}"
            found = open_or_index(source, cache, on_ray, lambda *counts, told=told: told.append(counts))
            assert _files(found.folder) == _files(serial.folder)
            assert told[-1][0] == told[-1][1] == found.manifest["images"] and told == sorted(told)


def test_size_decides_where_it_runs(monkeypatch):
    monkeypatch.setattr(pipeline, "index_on_ray", lambda source, items, workers, actors: [(workers, actors)])
    source = resolve_source("black")
    items = source.catalogue().items
    assert next(iter(pipeline.index_by_size(source, items, 1, 4))).num_rows == 1
    monkeypatch.setattr(pipeline, "SERIAL_BELOW", 1)
    assert list(pipeline.index_by_size(source, items, 1, 4)) == [(1, 4)]
