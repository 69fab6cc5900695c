import io
import json
import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.formats.conftest import SPEC, make_annotation, make_image, make_sample, make_samples, rectangle
from xpaste_ray.errors import ConfigError
from xpaste_ray.formats import images as images_module
from xpaste_ray.formats.convert import convert
from xpaste_ray.formats.findings import KEPT_A_RULE, Finding, Report
from xpaste_ray.formats.images import encode_image
from xpaste_ray.formats.shards import Shard, write_fragment
from xpaste_ray.formats.validate import validate
from xpaste_ray.formats.voc import decode_label_png, encode_label_png
from xpaste_ray.pictures.decode import check


def rules(dataset):
    return {rule for _, rule in validate(dataset).counts}


@pytest.mark.parametrize("polygons", [False, True])
def test_a_good_dataset_breaks_no_rule(make_dataset, polygons):
    done = []
    report = validate(
        make_dataset(polygons=polygons), progress=lambda part, count: done.append((part, count))
    )
    assert report.findings == [] and (report.images, report.annotations, report.errors) == (5, 9, 0)
    assert {part: sum(count for name, count in done if name == part) for part, _ in done} == dict.fromkeys(
        ("samples", "coco", "lvis", "yolo", "voc", "webdataset", "parquet"), 5
    )


def _edit_text(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _edit_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def _edit_coco(name, change):
    return lambda dataset: _edit_json(dataset / name / "annotations.json", change)


def _edit_tar(change):
    """Rewrite the first shard's members (name -> bytes)."""

    def edit(dataset):
        path = dataset / "webdataset" / "shard-00000000-00000002.tar"
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        change(members)
        with tarfile.open(path, "w") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))

    return edit


def _edit_parquet(change):
    def edit(dataset):
        path = dataset / "parquet" / "data" / "part-00000000-00000002.parquet"
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)

    return edit


def _edit_labels(part, change):
    def edit(dataset):
        path = dataset / "voc" / part / "000000.png"
        labels = decode_label_png(path).copy()
        path.write_bytes(encode_label_png(change(labels)))

    return edit


def _write(name, data):
    def edit(dataset):
        path = dataset / name
        path.unlink(missing_ok=True)  # images are one file with several names
        path.write_bytes(data)

    return edit


def _remove(name):
    return lambda dataset: (dataset / name).unlink()


def _text(name, old, new):
    return lambda dataset: _edit_text(dataset / name, old, new)


def _twist(row):
    row["objects"][0]["area"] += 1


def _add_polygons(fragment):
    fragment["polygons"] = [[None] * len(sample["annotations"]) for sample in fragment["samples"]]


def _cut_off(name):
    return lambda dataset: _write(name, (dataset / name).read_bytes()[:-40])(dataset)


def _halved(name):
    return lambda dataset: _write(
        name, (dataset / name).read_bytes()[: (dataset / name).stat().st_size // 2]
    )(dataset)


def _class_map(change):
    return _edit_labels("SegmentationClass", change)


def _set(name, kind, number, /, **fields):
    return _edit_coco(name, lambda value: value[kind][number].update(fields))


def _pop(kind, number):
    return _edit_coco("coco", lambda value: value[kind].pop(number))


def _append(kind, entry):
    return _edit_coco("coco", lambda value: value[kind].append(entry))


def _renumber(labels):
    return np.where(labels == 2, 9, labels).astype(np.uint8)


FRAGMENT, LABELS = "fragments/00000000-00000002.json", "yolo/labels/000000.txt"
BOXES = b"0 .1 .1 .2 .2\n1 .1 .1 .2 .2\n"
SMALL = encode_image(make_image(0, (8, 8)), SPEC.encoding)
WHOLE = encode_image(make_image(0), SPEC.encoding)
HALF = WHOLE[: len(WHOLE) // 2]
FAULTS = {
    # what the dataset is, and its fragments
    "dataset.json-damaged": (_write("dataset.json", b"{"), "dataset_json_damaged"),
    "fragment-missing": (_remove(FRAGMENT), "fragment_missing"),
    "fragment-damaged": (_write(FRAGMENT, b"{"), "fragment_damaged"),
    "fragment-of-no-shard": (lambda d: write_fragment(d, Shard(5, 9), "r1", {}, []), "fragment_stray"),
    "fragment-of-another-recipe": (_text(FRAGMENT, '"recipe":"r1"', '"recipe":"r2"'), "fragment_recipe"),
    "fragment-with-polygons": (lambda d: _edit_json(d / FRAGMENT, _add_polygons), "fragment_polygons"),
    "fragment-with-other-values": (_text(FRAGMENT, '"area":108', '"area":107'), "area_differs"),
    # images
    "image-missing": (_remove("coco/images/000000.jpg"), "image_missing"),
    "image-empty": (_write("lvis/images/000000.jpg", b""), "image_unreadable"),
    "image-of-text": (_write("lvis/images/000000.jpg", b"text"), "image_unreadable"),
    "image-cut-in-half-of-coco": (_halved("coco/images/000000.jpg"), "image_truncated"),
    "image-cut-in-half-of-lvis": (_halved("lvis/images/000000.jpg"), "image_truncated"),
    "image-cut-in-half-of-yolo": (_halved("yolo/images/000000.jpg"), "image_truncated"),
    "image-cut-in-half-of-voc": (_halved("voc/JPEGImages/000000.jpg"), "image_truncated"),
    "image-of-another-size": (_write("yolo/images/000000.jpg", SMALL), "image_size"),
    "image-too-many": (_write("voc/JPEGImages/000009.jpg", SMALL), "file_stray"),
    # coco and lvis
    "coco-missing": (_remove("coco/annotations.json"), "file_missing"),
    "coco-damaged": (_write("coco/annotations.json", b'{"images": 5'), "file_damaged"),
    "coco-without-annotations": (_edit_coco("coco", lambda v: v.pop("annotations")), "file_damaged"),
    "coco-annotation-missing": (_pop("annotations", 3), "entry_missing"),
    "coco-annotation-changed": (_set("coco", "annotations", 3, area=1), "entry_differs"),
    "coco-annotation-too-many": (_append("annotations", {"id": 99}), "entry_stray"),
    "coco-annotation-id-twice": (_set("coco", "annotations", 3, id=3), "annotation_id_twice"),
    "coco-image-missing": (_pop("images", 0), "entry_missing"),
    "coco-image-id-twice": (_set("coco", "images", 0, id=2), "image_id_twice"),
    "coco-image-too-many": (_append("images", {"id": 9}), "entry_stray"),
    "coco-category-renamed": (_set("coco", "categories", 0, name="x"), "categories_differ"),
    "lvis-missing": (_remove("lvis/annotations.json"), "file_missing"),
    "lvis-list-changed": (_set("lvis", "images", 1, neg_category_ids=[]), "entry_differs"),
    "lvis-miscounted": (_set("lvis", "categories", 0, image_count=0), "categories_differ"),
    # yolo
    "yolo-labels-missing": (_remove(LABELS), "file_missing"),
    "yolo-labels-too-many": (_write("yolo/labels/000009.txt", b""), "file_stray"),
    "yolo-line-too-many": (_write("yolo/labels/000002.txt", b"0 0.1 0.1 0.2 0.1 0.2 0.2\n"), "label_count"),
    "yolo-class-out-of-range": (_text(LABELS, "1 0.0", "8 0.0"), "label_class"),
    "yolo-coordinate-out-of-range": (_text(LABELS, "1 0.0", "1 1."), "label_polygon"),
    "yolo-box-instead-of-polygon": (_write("yolo/labels/000004.txt", BOXES), "label_polygon"),
    "yolo-polygon-elsewhere": (_write("yolo/labels/000001.txt", b"0 .1 .1 .2 .1 .2 .2\n"), "label_polygon"),
    "yolo-text": (_write(LABELS, b"cup 0.5\n"), "file_damaged"),
    "yolo-names-changed": (_text("yolo/data.yaml", "0: cup", "0: cap"), "categories_differ"),
    "yolo-names-missing": (_remove("yolo/data.yaml"), "file_missing"),
    "yolo-names-damaged": (_write("yolo/data.yaml", b"names: ["), "file_damaged"),
    # voc
    "voc-xml-missing": (_remove("voc/Annotations/000000.xml"), "file_missing"),
    "voc-xml-damaged": (_write("voc/Annotations/000000.xml", b"<annotation>"), "file_damaged"),
    "voc-box-changed": (_text("voc/Annotations/000000.xml", "<xmin>1<", "<xmin>0<"), "entry_differs"),
    "voc-object-missing": (_write("voc/Annotations/000000.xml", b"<annotation/>"), "label_count"),
    "voc-png-missing": (_remove("voc/SegmentationObject/000000.png"), "file_missing"),
    "voc-png-damaged": (_write("voc/SegmentationClass/000000.png", b"PNG"), "file_damaged"),
    "voc-png-cut-off": (_cut_off("voc/SegmentationClass/000000.png"), "file_damaged"),
    "voc-id-too-many": (_edit_labels("SegmentationObject", _renumber), "label_map_differs"),
    "voc-class-moved": (_class_map(lambda labels: np.roll(labels, 1, axis=0)), "label_map_differs"),
    "voc-list-missing": (_remove("voc/ImageSets/Main/train.txt"), "file_missing"),
    "voc-list-cut-off": (_write("voc/ImageSets/Segmentation/train.txt", b"000000\n"), "image_set_differs"),
    "voc-names-missing": (_remove("voc/labelmap.txt"), "file_missing"),
    "voc-names-changed": (_text("voc/labelmap.txt", "background", "void"), "categories_differ"),
    # webdataset and parquet
    "tar-missing": (_remove("webdataset/shard-00000000-00000002.tar"), "file_missing"),
    "tar-damaged": (_write("webdataset/shard-00000000-00000002.tar", b"x" * 5000), "file_damaged"),
    "tar-too-many": (_write("webdataset/shard-00000005-00000009.tar", b""), "file_stray"),
    "tar-without-an-image": (_edit_tar(lambda m: m.pop("000001.jpg")), "entry_missing"),
    "tar-with-another-image": (_edit_tar(lambda m: m.update({"000001.jpg": SMALL})), "image_size"),
    "tar-with-half-an-image": (_edit_tar(lambda m: m.update({"000001.jpg": HALF})), "image_truncated"),
    "tar-with-another-record": (_edit_tar(lambda m: m.update({"000001.json": b"{}"})), "entry_differs"),
    "tar-with-text-for-a-record": (_edit_tar(lambda m: m.update({"000001.json": b"cup"})), "entry_differs"),
    "tar-with-a-member-too-many": (_edit_tar(lambda m: m.update({"000009.jpg": SMALL})), "entry_stray"),
    "tar-categories-missing": (_remove("webdataset/categories.json"), "file_missing"),
    "parquet-missing": (_remove("parquet/data/part-00000000-00000002.parquet"), "file_missing"),
    "parquet-damaged": (_write("parquet/data/part-00000000-00000002.parquet", b"PAR1"), "file_damaged"),
    "parquet-too-many": (_write("parquet/data/part-00000005-00000009.parquet", b""), "file_stray"),
    "parquet-row-missing": (_edit_parquet(lambda rows: rows.pop()), "entry_missing"),
    "parquet-row-changed": (_edit_parquet(lambda rows: _twist(rows[0])), "entry_differs"),
    "parquet-image-changed": (_edit_parquet(lambda rows: rows[0]["image"].update(bytes=SMALL)), "image_size"),
    "parquet-image-halved": (_edit_parquet(lambda r: r[0]["image"].update(bytes=HALF)), "image_truncated"),
    "parquet-image-null": (_edit_parquet(lambda rows: rows[0].update(image=None)), "entry_differs"),
    "parquet-categories-missing": (_remove("parquet/categories.json"), "file_missing"),
}  # fmt: skip


@pytest.mark.parametrize(("break_it", "rule"), FAULTS.values(), ids=FAULTS)
def test_every_injected_fault_is_found(make_dataset, break_it, rule):
    dataset = make_dataset()
    break_it(dataset)
    report = validate(dataset)
    assert rule in {found for _, found in report.counts} and report.errors
    assert all("\n" not in finding.text for finding in report.findings)


def test_polygons_are_compared_with_the_masks(make_dataset):
    dataset = make_dataset("coco", polygons=True)

    def move(value):
        value["polygons"][0][0][0][0] += 1

    _edit_json(dataset / FRAGMENT, move)
    assert rules(dataset) == {"polygon_differs", "entry_differs"}


def test_one_format_at_the_root_is_checked_too(make_dataset):
    for name in ("coco", "lvis", "yolo", "voc", "webdataset", "parquet"):
        assert rules(make_dataset(name, folder=name)) == set()


def test_formats_are_not_compared_with_half_of_the_fragments(make_dataset):
    """Their annotation ids would all seem to differ."""
    dataset = make_dataset("coco")
    (dataset / FRAGMENT).unlink()
    assert rules(dataset) == {"fragment_missing", "formats_not_checked"}


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        pytest.param('"category_id":3', '"category_id":4', "category_unknown", id="category"),
        pytest.param('"counts":"', '"counts":"!', "rle_damaged", id="mask"),
        pytest.param('"bbox":[0,', '"bbox":[0.5,', "box_differs", id="box"),
        pytest.param('"visible_fraction":0.5', '"visible_fraction":"half"', "sample_damaged", id="type"),
        pytest.param('"height":24', '"height":"24"', "sample_damaged", id="size"),
    ],
)
def test_formats_are_not_compared_with_samples_that_cannot_be_drawn(make_dataset, old, new, rule):
    dataset = make_dataset()
    _edit_text(dataset / FRAGMENT, old, new)
    assert {rule, "formats_not_checked"} <= rules(dataset)


def test_files_that_no_reader_takes_do_not_matter(make_dataset):
    dataset = make_dataset("webdataset")
    for name in (".lock", "README.md"):
        (dataset / name).write_text("x")
    assert rules(dataset) == set()


def test_a_finding_is_one_line_for_people():
    finding = Finding(rule="area_differs", text="area 8 is not 9", image_id=6, annotation_id=12)
    assert finding.line == "error area_differs, image 6, annotation 12: area 8 is not 9"
    assert Finding(rule="x", text="y", severity="warning").line == "warning x: y"


def test_findings_name_image_and_annotation(make_dataset):
    dataset = make_dataset("coco")
    _edit_json(dataset / "annotations.json", lambda value: value["annotations"][4].update(bbox=[0, 0, 1, 1]))
    assert validate(dataset).findings == [
        Finding(
            rule="entry_differs",
            text="annotations.json: annotation 5 was changed after it was written (bbox)",
            image_id=2,
            annotation_id=5,
        )
    ]


def test_samples_that_break_a_rule_are_found_in_a_written_dataset(make_dataset):
    overlapping = [make_annotation(rectangle(2, 2, 4, 4)), make_annotation(rectangle(4, 4, 4, 4))]
    bad = replace(make_annotation(rectangle(9, 9, 3, 3)), area=8)
    dataset = make_dataset("coco", samples=[*make_samples(), make_sample(5, [*overlapping, bad])])
    assert [(f.rule, f.image_id, f.annotation_id) for f in validate(dataset).findings] == [
        ("area_differs", 6, 12),
        ("masks_overlap", 6, 11),
    ]


def test_a_report_counts_all_and_keeps_the_first():
    report = Report()
    report.add(Finding(rule="x", text=str(number)) for number in range(KEPT_A_RULE + 50))
    report.add([Finding(rule="y", text="", severity="warning")])
    assert (report.errors, report.warnings, len(report.findings)) == (KEPT_A_RULE + 50, 1, KEPT_A_RULE + 1)
    assert report.findings[-2].text == str(KEPT_A_RULE - 1)


def test_a_folder_with_nothing_to_check_is_refused(make_dataset, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="check the path"):
            validate(path)
    unfinished = make_dataset("coco")
    (unfinished / "dataset.json").unlink()
    with pytest.raises(ConfigError, match="run the same command again"):
        validate(unfinished)


def test_an_image_of_several_formats_is_decoded_once(make_dataset, monkeypatch):
    """Four formats share five files; the two that pack their images are read by themselves."""
    decoded = []
    monkeypatch.setattr(images_module, "check", lambda data: decoded.append(data) or check(data))
    assert validate(make_dataset()).findings == []
    assert len(decoded) == 5 * 3


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (
            _edit_coco("coco", lambda v: v.pop("categories")),
            "annotations.json has no list 'categories' whose",
        ),
        (_edit_coco("coco", lambda v: v["images"].append(5)), "annotations.json has no list 'images' whose"),
        (_write("coco/annotations.json", b'{"im'), "annotations.json is not a JSON object"),
        (_write(LABELS, b"cup 0.5\n"), "000000.txt line 1 is not a class number and pairs of x and y"),
        (_write(LABELS, b"0 .1 .1 .2\n"), "000000.txt line 1 is not a class number and pairs of x and y"),
        (_write(LABELS, b"\xff"), "000000.txt is not plain text"),
        (_write("voc/Annotations/000000.xml", b"<annotation/>"), "000000.xml has 0 objects, it was written"),
        (_text(FRAGMENT, '"height":24', '"height":"24"'), "sample 0 in fragments/00000000-00000002.json has"),
    ],
)
def test_findings_are_told_in_plain_words(make_dataset, break_it, text):
    dataset = make_dataset()
    break_it(dataset)
    texts = [finding.text for finding in validate(dataset).findings]
    assert any(text in found for found in texts)
    assert not any(word in found for found in texts for word in ("fragment ", "Error", "NoneType", "literal"))


def _break_all(dataset):
    """An image, a label file, a list and a file too many."""
    for break_it in (
        _halved("voc/JPEGImages/000000.jpg"),
        _write(LABELS, b""),
        _remove("voc/ImageSets/Main/train.txt"),
        _write("yolo/images/000009.jpg", SMALL),
    ):
        break_it(dataset)


def test_remedies_mend_a_dataset(make_dataset, tmp_path):
    source, out = make_dataset("coco"), tmp_path / "out"
    convert(source, out, ("yolo", "voc"))
    _break_all(out)
    images, stray, labels = validate(out).remedies
    assert images.startswith("broken images: delete each") and "run the same command again" in images
    assert stray == "files that do not belong to the dataset: delete them"
    assert f"delete {out / 'fragments'} and {out / 'dataset.json'}" in labels
    for name in ("voc/JPEGImages/000000.jpg", "yolo/images/000009.jpg", "dataset.json"):
        (out / name).unlink()
    shutil.rmtree(out / "fragments")
    convert(source, out, ("yolo", "voc"))
    report = validate(out)
    assert (report.findings, report.remedies) == ([], [])


@pytest.mark.parametrize("name", ["coco", "webdataset", "parquet"])
def test_a_broken_image_is_deleted_and_written_again(make_dataset, tmp_path, name):
    source, out = make_dataset("coco"), tmp_path / "out"
    convert(source, out, (name,))
    files = {"coco": "images/000000.jpg", "webdataset": "shard-00000000-00000002.tar",
             "parquet": "data/part-00000000-00000002.parquet"}  # fmt: skip
    (out / files[name]).unlink()
    assert validate(out).errors
    convert(source, out, (name,))
    assert validate(out).findings == []
