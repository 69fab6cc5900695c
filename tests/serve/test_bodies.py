"""The four forms of an answer hold what offline composing gives, for readers of any make."""

import io
import json
from email import message_from_bytes
from email.policy import HTTP

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from tests.serve.asking import ARROW, FORMS, MULTIPART, NPZ, ZIP, arrays, unzipped
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.plan import plan_to_row
from xpaste_ray.formats import parquet
from xpaste_ray.formats.coco import annotation_entries
from xpaste_ray.formats.polygons import polygons_of
from xpaste_ray.serve.bodies import BODIES, IMAGE_TYPES, body_for, spec_of

SEED, FIRST, COUNT = 11, 3, 5
OPTIONS = {"instances": [2, 6], "copy_rule": "both", "output": {"image": "png"}}


@pytest.fixture(scope="module")
def settings(asking):
    return asking.service.served.rules(None, OPTIONS, None, ()).settings


@pytest.fixture(scope="module")
def offline(asking, settings):
    """The samples, by a compositor of their own."""
    served = asking.service.served
    compositor = Compositor(served.pool, served.backgrounds, settings, SEED)
    composed = [compositor.compose(FIRST + number) for number in range(COUNT)]
    assert sum(len(one.sample.annotations) for one in composed) > 10
    return composed


@pytest.fixture(scope="module")
def answers(asking):
    """By form."""
    request = {"seed": SEED, "first": FIRST, "count": COUNT, "options": OPTIONS}
    found = {form: asking.compose(form, **request) for form in FORMS}
    assert {one.status_code for one in found.values()} == {200}
    return found


def _pixels(data):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_a_zip_has_the_images_their_annotations_and_their_plans(answers, offline):
    files = unzipped(answers[ZIP])
    assert list(files) == [f"images/{FIRST + i:06d}.png" for i in range(COUNT)] + [
        "annotations.json", "plans.jsonl",
    ]  # fmt: skip
    told = json.loads(files["annotations.json"])
    entries = [entry for one in offline for entry in annotation_entries(one.sample, None)]
    assert told["annotations"] == [
        {"id": number} | json.loads(json.dumps(e)) for number, e in enumerate(entries, 1)
    ]
    plans = [json.loads(line) for line in files["plans.jsonl"].splitlines()]
    assert plans == [json.loads(json.dumps(plan_to_row(one.plan))) for one in offline]
    for entry, one in zip(told["images"], offline, strict=True):
        assert entry["id"] == one.sample.index + 1
        assert np.array_equal(_pixels(files[f"images/{entry['file_name']}"]), one.image)


def test_cocos_own_reader_reads_the_annotations(answers, offline, tmp_path):
    file = tmp_path / "annotations.json"
    file.write_bytes(unzipped(answers[ZIP])["annotations.json"])
    coco = COCO(str(file))
    for one in offline:
        found = coco.loadAnns(coco.getAnnIds(imgIds=[one.sample.index + 1]))
        assert [coco.loadCats(e["category_id"])[0]["id"] for e in found] == [
            a.category_id for a in one.sample.annotations
        ]
        for entry, annotation in zip(found, one.sample.annotations, strict=True):
            assert np.array_equal(coco.annToMask(entry), coco_mask.decode(annotation.segmentation))


def test_npz_is_read_by_numpy_and_its_masks_unpack_to_what_is_seen(answers, offline):
    found = arrays(answers[NPZ])
    assert len(found) == 5 * COUNT
    for one in offline:
        number, annotations = f"{one.sample.index:06d}", one.sample.annotations
        assert np.array_equal(found[f"image_{number}"], one.image)
        masks = np.unpackbits(found[f"masks_{number}"], axis=-1, count=one.sample.width)
        assert masks.shape == (len(annotations), one.sample.height, one.sample.width)
        for mask, annotation in zip(masks, annotations, strict=True):
            assert np.array_equal(mask, coco_mask.decode(annotation.segmentation))
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (a.bbox for a in annotations)]
        assert found[f"boxes_{number}"].tolist() == [list(map(float, box)) for box in boxes]
        assert found[f"labels_{number}"].tolist() == [a.category_id for a in annotations]
        assert found[f"pasted_{number}"].tolist() == [a.origin != "background" for a in annotations]
        kinds = {
            name: found[f"{name}_{number}"].dtype for name in ("image", "masks", "boxes", "labels", "pasted")
        }
        assert kinds == {"image": "u1", "masks": "u1", "boxes": "f4", "labels": "i8", "pasted": "?"}


def test_arrow_has_the_rows_of_the_parquet_format_and_the_plans(asking, answers, offline, settings):
    table = pa.ipc.open_stream(answers[ARROW].content).read_all()
    images = [unzipped(answers[ZIP])[f"images/{one.sample.index:06d}.png"] for one in offline]
    spec = spec_of(asking.service.served, settings.output)
    expected = parquet.table_of([one.sample for one in offline], images, spec)
    assert table.drop_columns("plan").to_pylist() == expected.to_pylist()
    plans = [json.loads(text) for text in table["plan"].to_pylist()]
    assert plans == [json.loads(json.dumps(plan_to_row(one.plan))) for one in offline]


def test_multipart_has_the_files_of_the_zip(answers):
    answer = answers[MULTIPART]
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content, policy=HTTP)
    assert message.is_multipart() and not message.defects
    parts = {part.get_filename(): part for part in message.iter_parts()}
    assert {name: part.get_payload(decode=True) for name, part in parts.items()} == unzipped(answers[ZIP])
    assert {part.get_content_type() for part in parts.values()} == {
        "image/png", "application/json", "application/jsonl",
    }  # fmt: skip
    assert all(len(part.get_payload(decode=True)) == int(part["Content-Length"]) for part in parts.values())


@pytest.mark.parametrize("form", FORMS)
def test_any_division_in_parts_gives_the_same_bytes(asking, offline, settings, form):
    served = asking.service.served

    def body(*sizes):
        whole, left = body_for(form, served, settings.output, "name"), list(offline)
        parts = []
        for size in sizes:
            parts.append(whole.add([left.pop(0) for _ in range(size)]))
        return b"".join([*parts, whole.end()])

    expected = body(COUNT)
    assert all(body(*sizes) == expected for sizes in ((1, 1, 1, 1, 1), (2, 3), (4, 1), (0, 3, 0, 2)))


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_without_a_single_object_is_whole(asking, form):
    request = {"options": {"instances": [0, 0], "output": {"image": "png"}}, "seed": 2, "count": 1}
    answer = asking.compose(form, **request)
    assert answer.status_code == 200
    if form == NPZ:
        found = arrays(answer)
        count = len(found["labels_000000"])
        assert found["masks_000000"].shape == (count, 64, 8) and found["boxes_000000"].shape == (count, 4)


def test_masks_may_be_polygons_and_whole_ones_may_be_told_too(asking):
    told = asking.service.served.rules(None, {"output": {"polygons": True, "amodal": True}}, None, ())
    files = unzipped(asking.compose(options={"output": {"polygons": True, "amodal": True}}, seed=4))
    composed = told.compositor.with_seed(4).compose(0)
    entries = annotation_entries(composed.sample, polygons_of(composed.sample))
    found = json.loads(files["annotations.json"])["annotations"]
    assert [{"id": n} | json.loads(json.dumps(e)) for n, e in enumerate(entries, 1)] == found
    assert any(isinstance(entry["segmentation"], list) for entry in found)
    assert any("amodal_segmentation" in entry for entry in found)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_images_are_of_the_kind_that_is_asked_for(asking, kind):
    """Also in the names, and with its own media type in multipart."""
    asked = {"options": {"output": {"image": kind}}}
    files = unzipped(asking.compose(**asked))
    (name,) = (name for name in files if name.startswith("images/"))
    start = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG", "webp": b"RIFF"}[kind]
    assert name == f"images/000000.{'jpg' if kind == 'jpeg' else kind}" and files[name].startswith(start)
    assert f"Content-Type: {IMAGE_TYPES[kind]}\r\n".encode() in asking.compose(MULTIPART, **asked).content


def test_no_time_of_day_is_in_a_zip(answers):
    import zipfile

    for form in (ZIP, NPZ):
        infos = zipfile.ZipFile(io.BytesIO(answers[form].content)).infolist()
        assert {(i.date_time, i.compress_type) for i in infos} == {((1980, 1, 1, 0, 0, 0), 0)}


def test_every_offered_form_has_a_body():
    assert set(BODIES) == set(FORMS)
