"""Faults of the published code of X-Paste and of EM-Paste, each shown not to happen here.

By number: 1 resume, 2 seeds, 3 positions of files, 4 order of methods, 5 categories that failed, 6 thresholds
and halos, 7 labels of nothing, 8 layouts of references, 9 paths under two classes, 10 origins, 11 Poisson,
12 empty contours and the dilation study, 13 aliasing, 14 LVIS's federated labels. Of EM-Paste: 1 shared
foregrounds, 2 hidden failures, 3 circles, 4 balanced and parallel runs, 5 large objects and first circles,
6 instance ids, remnants and holes, 7 the order of foregrounds. "There" is that code.
"""

import itertools
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pydantic import TypeAdapter

from tests.backgrounds.material import square, write_dataset
from tests.compose.options import options
from tests.compose.pools import pixels, write_pool
from tests.conftest import CATEGORIES, candidates
from tests.pool.pairs import ANYTHING, write_pairs
from tests.selection.tables import outcome, row, rule
from tests.standins import Fault, Score, Segment, Source
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.categories import Category, category_to_coco
from xpaste_ray.compose.blend import paint, prepare
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.compose.patch import Patch
from xpaste_ray.compose.plan import PastePlan, Placement, View
from xpaste_ray.compose.shards import compose_shard, dataset_spec
from xpaste_ray.config import CutoutSettings, DatasetSettings, OcclusionSettings, PromptSettings, load
from xpaste_ray.config.segment import SegmentSettings
from xpaste_ray.config.sources import SourceSettings
from xpaste_ray.formats.dataset import finish
from xpaste_ray.formats.validate import validate
from xpaste_ray.pipelines.compose import ComposeJob
from xpaste_ray.pipelines.scores import compact_scores
from xpaste_ray.pipelines.units import missing_rows, unit_names
from xpaste_ray.pool import open_pool, seal_pool
from xpaste_ray.pool import write as pool_write
from xpaste_ray.pool.cutout import cut_out
from xpaste_ray.pool.importing import import_pool, plan_import
from xpaste_ray.prompts import Texts
from xpaste_ray.records import UNITS, Candidate, Unit, unit_to_row
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.selection import select
from xpaste_ray.sources.diffusion import GeneratedImages
from xpaste_ray.sources.work_list import plan_units
from xpaste_ray.stages.batches import ShapedBatches
from xpaste_ray.stages.segment import SegmentStage
from xpaste_ray.storage import locate
from xpaste_ray.unit_files import read_unit, write_unit

BANANA, FROG, LION = (category.id for category in CATEGORIES)


# --- runs by hand --------------------------------------------------------------------------------


def work_list(per_category, unit_size, seed=0):
    """Units of generated images of three categories."""
    texts = Texts(PromptSettings(templates="a photo of a single {name}", per_category=1))
    source = GeneratedImages("diffusion", unit_size, texts, seed, {"model": "m"})
    section = TypeAdapter(SourceSettings).validate_python({"kind": "folder", "path": "x"})
    return list(plan_units(CATEGORIES, {"diffusion": source}, {"diffusion": section}, per_category))


def begin(folder, units):
    """A run that has its work list and nothing else."""
    run = RunDir(folder)
    write_parquet(run.units, pa.Table.from_pylist([unit_to_row(unit) for unit in units], schema=UNITS))
    return run


def made(unit, **source):
    """A unit's candidates after all three stages."""
    return Score()(Segment()(Source(**source)([Candidate(prompt) for prompt in unit.prompts])))


def write(run, unit, content):
    write_unit(run, unit.round, unit.number, content, "recipe", 4)


def run_of(folder, *contents):
    """A finished run whose units hold these candidates, and its score table."""
    units = [Unit(0, n, tuple(one.prompt for one in content)) for n, content in enumerate(contents)]
    run = begin(folder, units)
    for unit, content in zip(units, contents, strict=True):
        write(run, unit, content)
    compact_scores(run, "recipe")
    return run, pq.read_table(str(run.scores))


def seal(run, kept):
    """The pool of those rows, and what was rejected."""
    folder = run.pools / "pool"
    rejected = seal_pool(kept, run.unit_file, CATEGORIES, CutoutSettings(), "f" * 16, folder)
    return open_pool(folder), rejected


# --- composing by hand ---------------------------------------------------------------------------


def grey(folder, side_px=64, level="64"):
    """A background of one colour, "64" being 100 of 255."""
    return open_or_index(resolve_source(f"#{level * 3}:{side_px}x{side_px}"), folder / "cache")


def plan(backgrounds, *placements, **changes):
    """On the whole first background."""
    height, width = backgrounds.size_hw(0)
    view = View((0, 0, width, height), (height, width), False)
    return PastePlan(0, backgrounds.id(0), view, (height, width), placements, **changes)


def composed(pool, backgrounds, *placements, **changes):
    return Compositor(pool, backgrounds, options(), 0).render(plan(backgrounds, *placements, **changes))


def place(pool, top_left_yx, number=0, size_hw=None, blend="hard"):
    """An instance of the pool, in its own size unless told."""
    size_hw = size_hw or pool.size_hw(number)
    return Placement(pool.instance_ids[number], pool.category_id(number), size_hw, top_left_yx, blend=blend)


# --- 1 to 5: pools -------------------------------------------------------------------------------


def test_fault_01_half_a_run_is_not_taken_for_a_whole_one(tmp_path):
    """There: an existing class folder is done, failed reads are silent, and a second run's scores replace the
    first's. Here: whole files of units are done, a failed image has its row, and scores are of all units."""
    units = work_list(per_category=2, unit_size=2)  # banana and frog, lion; and once more
    run = begin(tmp_path, units)
    failed_frog = Fault("pass", ("frog-0",), tmp_path)
    write(run, units[0], made(units[0], fault=failed_frog))
    write(run, units[1], made(units[1]))
    cut_off = run.unit_file(units[1].id).path
    cut_off.write_bytes(cut_off.read_bytes()[:-9])

    names = unit_names(run)
    assert missing_rows(run, names, {"recipe"}) == [1, 2, 3]
    assert missing_rows(run, names, {"recipe"}, retry_failed=True) == [0, 1, 2, 3]
    assert missing_rows(run, names, {"another recipe"}) == [0, 1, 2, 3]
    assert [(c.prompt.category, c.reason) for c in read_unit(run, units[0].id)] == [
        ("banana", None), ("frog", "unreachable")
    ]  # fmt: skip
    with pytest.raises((OSError, pa.ArrowInvalid)):  # not a table of what is there
        compact_scores(run, "recipe")

    for number in (1, 2, 3):
        write(run, units[number], made(units[number]))
    assert missing_rows(run, names, {"recipe"}) == []
    compact_scores(run, "recipe")
    table = pq.read_table(str(run.scores))
    assert table["candidate_id"].to_pylist() == [p.candidate_id for unit in units for p in unit.prompts]
    assert table["candidate_reason"].to_pylist() == [None, "unreachable", None, None, None, None]


def test_fault_02_images_follow_from_the_seed_and_not_from_who_makes_them_when(tmp_path, make_pool):
    """There: no seeds, so results follow the number of GPUs and their scheduling. Here: every image has the
    seed of its identity, in units of any size done in any order; and so has every composed sample."""

    def images(unit_size, seed=0):
        units = reversed(work_list(per_category=2, unit_size=unit_size, seed=seed))
        return {c.prompt.candidate_id: c.image.tobytes() for unit in units for c in made(unit)}

    assert images(1) == images(2) == images(3)
    assert len(set(images(1).values())) == 6 and not set(images(1).values()) & set(images(1, seed=1).values())

    pool, photo = make_pool({"banana": 3, "lion": 3}), grey(tmp_path)
    one, other = (Compositor(pool, photo, options(), seed=7) for _ in range(2))
    in_order = [one.compose(sample).image.tobytes() for sample in range(4)]
    backwards = [other.compose(sample).image.tobytes() for sample in reversed(range(4))]
    assert in_order == backwards[::-1] and len(set(in_order)) == 4
    assert Compositor(pool, photo, options(), seed=8).compose(0).image.tobytes() not in in_order


def test_fault_03_a_missing_image_moves_no_score_area_or_mask_to_another(tmp_path):
    """There: the k-th score is the k-th file's, so one missing file shifts all behind it. Here: all that is
    known of a candidate lies in its row, and is found by its id."""
    done = Score()(Segment()(Source()(candidates(5))))
    done[1] = replace(done[1], status="rejected", reason="truncated", image=None, proposals=())
    run, scores = run_of(tmp_path, done[:3], done[3:])
    chosen = select(scores, ANYTHING)
    assert [r["id"] for r in chosen.rejects.to_pylist()] == [done[1].prompt.candidate_id]
    by_id = {one.prompt.candidate_id: one for one in done}
    for told in chosen.kept.to_pylist():
        proposal = by_id[told["candidate_id"]].proposals[0]
        assert told["area_fraction"] == pytest.approx((proposal.mask > 128).mean())
        assert told["clip_logit"] == pytest.approx(dict(proposal.scores)["clip_logit"])

    pool, rejected = seal(run, chosen.kept.take([3, 2, 1, 0]))  # in whatever order
    assert not rejected and len(pool) == 4
    for number in range(4):
        told = pool.provenance(number)
        one = by_id[told["candidate_id"]]
        proposal = one.proposals[0]
        colour = one.image[16, 16].tolist()  # in the middle of the disc; no two are alike
        height, width = pool.size_hw(number)
        assert pool.instance(number).rgba[height // 2, width // 2].tolist() == [*colour, 255]
        assert pool.category_id(number) == one.prompt.category_id
        assert told["area_fraction"] == pytest.approx((proposal.mask > 128).mean())
        assert told["clip_logit"] == pytest.approx(dict(proposal.scores)["clip_logit"])
    assert len({pool.instance(number).rgba.tobytes() for number in range(4)}) == 4

    run.unit_file("00000/unit-00000").path.unlink()
    with pytest.raises(FileNotFoundError, match="unit-00000"):
        compact_scores(run, "recipe")


def test_fault_03_the_rest_of_a_division_is_not_dropped():
    """There: `total // batch` batches. Here: five in batches of two are five."""
    batches = ShapedBatches(lambda rows: [10 * one for one in rows], 2, "failed", str)
    assert [one.value for one in batches([1, 2, 3, 4, 5])] == [10, 20, 30, 40, 50]
    units = work_list(per_category=1, unit_size=2)
    assert [[p.category for p in unit.prompts] for unit in units] == [["banana", "frog"], ["lion"]]


def test_fault_04_ties_and_classes_do_not_follow_the_order_of_files():
    """There: methods come as the directory lists them, so ties differ between machines, and all result files
    must have the same class order. Here: ties go to the first name, whatever the order of the rows."""
    rows = [
        row("banana", 30, category=1, method="u2net"), row("banana", 30, category=1, method="clipseg"),
        row("lion", 25, category=3, method="u2net"), row("lion", 26, category=3, method="clipseg"),
    ]  # fmt: skip
    for order in itertools.permutations(rows):
        kept, rejects = outcome(order, ANYTHING)
        assert kept == ["banana-clipseg-0", "lion-clipseg-0"]
        assert set(rejects.values()) == {"not_best_proposal"} and len(rejects) == 2


def test_fault_04_methods_run_by_name_and_not_as_they_are_listed():
    """There: the directory's order. Here: that of the names, and it is that of the proposals."""
    image = np.full((8, 8, 3), 9, np.uint8)
    for names in (("u2net", "clipseg"), ("clipseg", "u2net")):
        methods = {name: {"kind": "full"} for name in names}
        stage = SegmentStage(SegmentSettings.model_validate({"methods": methods}))
        (one,) = stage([replace(candidates(1)[0], image=image)])
        assert [proposal.method for proposal in one.proposals] == ["clipseg", "u2net"]


def test_fault_05_failed_images_do_not_pass_where_a_whole_category_failed():
    """There: a failed image scores -1, so a category of them has the bar min(21, -1 - 1) = -2, which -1
    passes, with min_area = 0 for good. Here: what failed has no score that counts."""
    failed = {"reason": "segmentation_failed", "area_fraction": 0.0, "category": 1}
    rows = [
        row("a", -1, **failed), row("b", None, **failed),
        row("c", None, category=1, method=None, reason="black_image"),
        row("d", 30, category=3, area_fraction=0.0),
    ]  # fmt: skip
    kept, rejects = outcome(rows, rule(min_area_fraction=0))
    assert kept == ["d-m-0"]  # of the category that did not fail; its area passes
    assert rejects["candidate", "a"] == rejects["candidate", "b"] == "segmentation_failed"
    assert rejects["candidate", "c"] == "black_image"


# --- 6 to 9: what is pasted ----------------------------------------------------------------------


@pytest.mark.parametrize("blend", ["hard", "alpha"])
def test_fault_06_soft_fringe_and_old_background_are_not_pasted(tmp_path, blend):
    """There: selected above 128 but pasted above 0, so fringe and holes enter the mask, and resizing bleeds
    the old background into edges. Here: the mask is the selected one, in the object's colours only.

    A square of 12 px, grey 40, with a hole of 4 px, on green. The mask is 255 on it, 60 in its hole, and 100
    in a fringe of 1 px: 12 x 12 - 4 x 4 = 128 pixels are object, and 14 x 14 = 196 are above 0.
    """
    image = np.zeros((24, 24, 3), np.uint8)
    image[..., 1] = 255
    soft = np.zeros((24, 24), np.uint8)
    soft[5:19, 5:19] = 100
    soft[6:18, 6:18], image[6:18, 6:18] = 255, 40
    soft[10:14, 10:14], image[10:14, 10:14] = 60, (0, 255, 0)
    assert ((soft > 128).sum(), (soft > 0).sum()) == (128, 196)

    pool = write_pool(tmp_path / "pool", {"a": cut_out(image, soft, CutoutSettings()).rgba})
    photo = grey(tmp_path)
    (annotation,) = composed(pool, photo, place(pool, (3, 3), blend=blend)).sample.annotations
    seen = coco_mask.decode(annotation.segmentation)[3:17, 3:17]
    assert np.array_equal(seen, soft[5:19, 5:19] > 128)
    for side in (5, 7, 9, 14, 28):
        painted = composed(pool, photo, place(pool, (3, 3), size_hw=(side, side), blend=blend)).image
        assert (painted == painted[..., :1]).all()  # no tinge of green
        assert 40 <= painted.min() < painted.max() == 100  # between the object and its new background


LINE = pixels(40, 40, 9, alpha=0)  # of one pixel: at an eighth of its size an eighth of opaque
LINE[:, 20, 3] = 255
BAR = pixels(20, 20, 9, alpha=0)  # three pixels wide: eroded by int(0.2 * 20) = 4 pixels
BAR[:, 8:11, 3] = 255


@pytest.mark.parametrize(
    ("rgba", "top_left_yx", "size_hw", "mask_rate", "reason"),
    [
        pytest.param(pixels(6, 6, 9), (64, 3), (6, 6), 1.0, "empty_mask", id="outside"),
        pytest.param(pixels(6, 6, 9), (32, 32), (6, 6), 1.0, "hidden", id="covered"),
        pytest.param(LINE, (3, 3), (5, 5), 1.0, "empty_mask", id="shrunk-to-nothing"),
        pytest.param(BAR, (3, 3), (20, 20), 0.8, "empty_mask", id="eroded-to-nothing"),
    ],
)
@pytest.mark.parametrize("name", ["visible-fraction", "xpaste"])
def test_fault_07_what_has_no_mask_has_no_label(
    tmp_path, rgba, top_left_yx, size_hw, mask_rate, reason, name
):
    """There: a paste may end with an empty mask and a box of 0, 0, 0, 0, and keeps its label. Here: it is
    left out by either rule, and counted."""
    pool, photo = write_pool(tmp_path / "pool", {"a": rgba, "cover": pixels(24, 24, 7)}), grey(tmp_path)
    both = place(pool, top_left_yx, size_hw=size_hw), place(pool, (30, 30), number=1)
    done = composed(pool, photo, *both, mask_rate=mask_rate, occlusion=OcclusionSettings(rule=name))
    assert [a.source_id for a in done.sample.annotations] == ["cover"]
    assert all(a.area > 0 and min(a.bbox[2:]) > 0 for a in done.sample.annotations)
    assert (done.counts["placed"], done.counts[reason]) == (2, 1)


def test_fault_07_a_hidden_object_near_the_origin_does_not_stay(tmp_path):
    """There: an object stays if its box moved by 10 px at most, and an empty one's is 0, 0, 0, 0, so one of
    8 px in the corner stays without a pixel. Here: what is hidden never stays."""
    image = {"id": 1, "file_name": "a.jpg", "height": 64, "width": 64}
    corner = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 8], "area": 64,
              "segmentation": [square(0, 0, 8)]}  # fmt: skip
    photo = open_or_index(
        resolve_source(write_dataset(tmp_path / "coco", [image], [corner])), tmp_path / "cache"
    )
    pool = write_pool(tmp_path / "pool", {"a": pixels(12, 12, 9)})
    xpaste = OcclusionSettings(rule="xpaste")
    beside = composed(pool, photo, place(pool, (0, 9)), occlusion=xpaste)
    assert [(a.origin, a.area) for a in beside.sample.annotations] == [("background", 64), ("pool", 144)]
    over = composed(pool, photo, place(pool, (0, 0)), occlusion=xpaste)
    assert [(a.origin, a.area) for a in over.sample.annotations] == [("pool", 144)]
    assert over.counts["background_hidden"] == 1


@pytest.mark.parametrize("changes", [("layout=reference",), ("category.rule=present",)])
def test_fault_08_class_ids_are_not_used_as_positions(tmp_path, changes):
    """There: `reference` takes class id 2 for the third of all instances, and another draw looks up instance
    numbers among classes. Here: whatever is asked for, a dog is a dog.

    Three cats (class 1), a dog (2) and a cup (3): of these instances number 1, 2 and 3 are a cat, a cat and
    the dog. One photo shows a dog and a cup, the other a cup.
    """
    vocabulary = [Category(1, "cat"), Category(2, "dog"), Category(3, "cup")]
    greys = {"cat": 10, "dog": 120, "cup": 240}
    for name, count in (("cat", 3), ("dog", 1), ("cup", 1)):
        (tmp_path / "cutouts" / name).mkdir(parents=True)
        for number in range(count):
            rgba = pixels(20 + number, 20, greys[name])  # an id follows from the bytes
            Image.fromarray(rgba).save(tmp_path / "cutouts" / name / f"{number}.png")
    source = plan_import(locate(tmp_path / "cutouts"), vocabulary)
    import_pool(source, locate(tmp_path / "pool"), CutoutSettings())
    pool = open_pool(tmp_path / "pool")
    assert pool.category_ids.tolist() == [1, 1, 1, 2, 3]

    images = [{"id": n, "file_name": f"{n}.jpg", "height": 64, "width": 64} for n in (1, 2)]
    boxes = [(1, 2, (2, 2)), (1, 3, (40, 40)), (2, 3, (20, 20))]
    objects = [
        {"id": n, "image_id": image, "category_id": category, "bbox": [*corner, 20, 20], "area": 400,
         "segmentation": [square(*corner, 20)]}
        for n, (image, category, corner) in enumerate(boxes, 1)
    ]  # fmt: skip
    path = write_dataset(tmp_path / "coco", images, objects, [category_to_coco(one) for one in vocabulary])
    photos = open_or_index(resolve_source(path), tmp_path / "cache")
    shows = {photos.id(n): {a.category_id for a in photos.annotations(n)} for n in range(2)}
    assert sorted(shows.values(), key=len) == [{3}, {2, 3}]

    by_reference = changes == ("layout=reference",)
    settings = options("blend=hard", "canvas.fit=keep", "size={rule: image, factor: [0.2, 0.3]}", *changes)
    compositor = Compositor(pool, photos, settings, seed=0)
    wanted = set()
    for sample in range(12):
        done = compositor.compose(sample)
        (other,) = set(shows) - {done.plan.background_id}
        expected = shows[other if by_reference else done.plan.background_id]
        pasted = [a for a in done.sample.annotations if a.origin == "pool"]
        placed = {placement.category_id for placement in done.plan.placements}
        assert placed == expected if by_reference else placed <= expected
        wanted |= placed
        for annotation in pasted:
            mask = coco_mask.decode(annotation.segmentation).astype(bool)
            name = vocabulary[annotation.category_id - 1].name
            assert (done.image[mask] == greys[name]).all()
    assert wanted == {2, 3}


@pytest.mark.parametrize("again", ["both.png", "./both.png", "x/../both.png", "{folder}/both.png"])
def test_fault_09_a_path_under_two_classes_belongs_to_neither(tmp_path, again):
    """There: the last class wins, silently. Here: it is rejected under both, however it is written, and the
    others go on."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, level in (("both", 90), ("banana", 30), ("lion", 60)):
        rgba = pixels(24, 24, level, alpha=0)
        rgba[6:18, 6:18, 3] = 255
        Image.fromarray(rgba).save(folder / f"{name}.png")
    again = again.format(folder=folder)
    index = {"0": ["*both.png", "*banana.png"], "2": [again, "*lion.png"]}  # cleaned or not
    (folder / "index.json").write_text(json.dumps(index))
    kept, reasons = import_pool(
        plan_import(locate(folder), CATEGORIES), locate(tmp_path / "pool"), CutoutSettings()
    )
    pool = open_pool(tmp_path / "pool")
    told = [(pool.category_id(number), pool.provenance(number)["uri"]) for number in range(kept)]
    assert told == [(BANANA, "banana.png"), (LION, "lion.png")]
    rejects = pq.read_table(tmp_path / "pool" / "rejects.parquet").to_pylist()
    assert [(r["id"], r["category"], r["reason"]) for r in rejects] == [
        ("both.png", "banana", "in_two_categories"), (again, "lion", "in_two_categories")
    ]  # fmt: skip
    assert reasons == {"in_two_categories": 2}


# --- 10 to 14: composed datasets -----------------------------------------------------------------


def test_fault_10_origins_survive_pasting_from_both(tmp_path, make_pool, annotated_backgrounds):
    """There: with `both`, the second paste loses which objects are synthetic, and the losses that ask for it
    crash. Here: every object of the written file has its origin, and its source."""
    pool = make_pool({"banana": 2, "frog": 2, "lion": 2})
    settings = options(
        "copy_rule=both", "count=8", "samples_per_shard=8", "output.formats=[coco]", "canvas.fit=keep"
    )
    spec = dataset_spec(settings, pool, annotated_backgrounds, "recipe", {})
    compositor = Compositor(pool, annotated_backgrounds, settings, seed=0)
    compose_shard(tmp_path / "out", spec.shards[0], compositor, spec, None)
    finish(tmp_path / "out", spec)
    assert not validate(tmp_path / "out").findings
    written = json.loads((tmp_path / "out" / "annotations.json").read_text())

    ours = {BANANA, FROG, LION}
    by_image: dict[int, set[str]] = {}
    for entry in written["annotations"]:
        by_image.setdefault(entry["image_id"], set()).add(entry["origin"])
        assert (entry["origin"] == "pool") == (entry["category_id"] in ours)  # backgrounds have others
    assert {"pool", "copied", "background"} in by_image.values()
    samples = [compositor.compose(sample) for sample in range(8)]
    copied = sum(len(done.plan.copied.annotation_ids) for done in samples if done.plan.copied)
    kept = [a for done in samples for a in done.sample.annotations]
    assert len(kept) == len(written["annotations"])
    for done in samples:
        for a in done.sample.annotations:
            if a.origin == "pool":
                assert pool.category_id(pool.row_of_id[a.source_id]) == a.category_id
            else:
                own = a.source_id.startswith(f"{done.plan.background_id}#")
                assert own == (a.origin == "background")
    assert 0 < sum(a.origin == "copied" for a in kept) <= copied


def test_fault_11_poisson_costs_what_the_object_covers(tmp_path):
    """There: a loop over every pixel, and a solve for the whole image per instance: minutes at 640 px. Here:
    the object's rectangle is solved, so that it looks the same on a canvas of any size, in milliseconds."""
    pool = write_pool(tmp_path / "pool", {"a": pixels(40, 40, 200)})
    corners = list(itertools.product((0, 50), (0, 30, 60)))
    squares = [place(pool, corner, blend="poisson") for corner in corners]
    small = composed(pool, grey(tmp_path, side_px=104), *squares)
    large = grey(tmp_path, side_px=640)
    composed(pool, large, *squares)
    began = time.process_time()
    on_large = composed(pool, large, *squares * 16)
    assert time.process_time() - began < 2  # 0.2 s; a minute if a pixel of an image took a microsecond
    assert on_large.counts["placed"] == 96
    assert np.array_equal(composed(pool, large, *squares).image[:104, :104], small.image)
    assert (on_large.image[104:] == 100).all() and (on_large.image[:, 104:] == 100).all()


def test_fault_11_poisson_does_not_change_the_mask(tmp_path):
    """There: the solver writes into the mask that is annotated afterwards. Here: it is as it was."""
    mask = np.zeros((20, 20), np.uint8)
    mask[0:12, 4:20] = 1  # touches two edges, where a solver has no ring around it
    patch = Patch(np.full((20, 20, 3), 200, np.uint8), mask * np.uint8(255), mask.copy(), (0, 0))
    prepared = prepare(patch, "poisson", None)
    before = prepared.alpha.copy()
    paint(np.full((20, 20, 3), 100, np.uint8), prepared.rgb, prepared.alpha, prepared.mask, "poisson")
    assert np.array_equal(prepared.mask, mask) and np.array_equal(prepared.alpha, before)

    rgba = pixels(20, 20, 200, alpha=0)
    rgba[..., 3] = mask * np.uint8(255)
    pool = write_pool(tmp_path / "pool", {"a": rgba})
    (annotation,) = composed(pool, grey(tmp_path), place(pool, (5, 5), blend="poisson")).sample.annotations
    assert annotation.area == 12 * 16
    assert np.array_equal(coco_mask.decode(annotation.segmentation)[5:25, 5:25], mask)


@pytest.mark.parametrize("level", [0, 100], ids=["empty", "nothing-above-128"])
def test_fault_12_an_empty_contour_ends_no_worker(tmp_path, level):
    """There: the largest of no contours, and the worker crashes. Here: a reason, and its neighbours are
    sealed."""
    done = Score()(Segment()(Source()(candidates(3))))
    empty = replace(done[1].proposals[0], mask=np.full((32, 32), level, np.uint8))
    done[1] = replace(done[1], proposals=(empty,))
    run, scores = run_of(tmp_path, done)
    pool, rejected = seal(run, select(scores, ANYTHING).kept)
    assert pool.category_ids.tolist() == [BANANA, LION]
    assert [(kind, reason) for kind, _, _, reason in rejected] == [
        ("proposal", "empty_mask"), ("candidate", "empty_mask")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mask_rate", "area"), [(0.8, 17**2), (0.9, 19**2), (1.0, 20**2), (1.1, 21**2), (1.2, 23**2)]
)
def test_fault_12_the_dilation_study_ends(tmp_path, mask_rate, area):
    """There: the script crashes on its last line. Here: every rate of it gives the mask of a square of 20 px,
    changed by a kernel of |rate - 1| * 20 = 4, 2, 0, 2, 4 px: by 3, 1, 0, 1, 3 px."""
    pool = write_pool(tmp_path / "pool", {"a": pixels(20, 20, 9)})
    done = composed(pool, grey(tmp_path), place(pool, (20, 20)), mask_rate=mask_rate)
    assert [a.area for a in done.sample.annotations] == [area]


def test_fault_13_small_objects_are_averages_and_not_samples(tmp_path):
    """There: plain bilinear from 80 px to 10 looks at two of every eight pixels. Here: all eight count.

    Pixels 3 and 4 of every eight are white, the others black: a quarter of 255 is 63.75; plain bilinear sees
    only white.
    """
    rgba = pixels(80, 80, 0)
    rgba[:, np.isin(np.arange(80) % 8, (3, 4)), :3] = 255
    assert (cv2.resize(rgba, (10, 10), interpolation=cv2.INTER_LINEAR)[..., :3] == 255).all()
    pool = write_pool(tmp_path / "pool", {"a": rgba})
    painted = composed(pool, grey(tmp_path), place(pool, (3, 3), size_hw=(10, 10))).image[3:13, 3:13]
    assert np.abs(painted - 63.75).max() <= 1
    sealed = cut_out(rgba[..., :3], np.full((80, 80), 255, np.uint8), CutoutSettings(max_side_px=10)).rgba
    assert sealed.shape == (10, 10, 4) and np.abs(sealed[..., :3] - 63.75).max() <= 1


@pytest.mark.parametrize(
    ("number", "neg", "not_exhaustive"),
    [
        pytest.param(2, [], [FROG], id="absent-lion-is-there-and-all-lions-are-known"),
        pytest.param(1, [LION], [FROG], id="frogs-stay-unfinished"),
        pytest.param(0, [LION], [BANANA, FROG], id="other-bananas-may-be-there"),
    ],
)
def test_fault_14_federated_labels_follow_what_was_pasted(tmp_path, number, neg, not_exhaustive):
    """There: LVIS's lists of a composed image stay the background's, so that a pasted lion is punished where
    lions were absent. Here: the written lists say what is known now.

    The photo was searched for lions (none) and frogs (some unannotated); nobody looked for bananas.
    """
    image = {"id": 5, "coco_url": "http://images/val2017/a.jpg", "height": 64, "width": 64,
             "neg_category_ids": [LION], "not_exhaustive_category_ids": [FROG]}  # fmt: skip
    frog = {"id": 9, "image_id": 5, "category_id": FROG, "bbox": [2, 2, 20, 20], "area": 400,
            "segmentation": [square(2, 2, 20)]}  # fmt: skip
    categories = [{**category_to_coco(one), "image_count": 20, "instance_count": 30} for one in CATEGORIES]
    path = write_dataset(tmp_path / "lvis", [image], [frog], categories)
    (tmp_path / "lvis" / "images" / "val2017").rename(tmp_path / "lvis" / "val2017")
    photo = open_or_index(resolve_source(path, tmp_path / "lvis"), tmp_path / "cache")
    pool = write_pool(tmp_path / "pool", {name: pixels(12, 12, 9) for name in ("b", "f", "l")})
    settings = options("count=1", "samples_per_shard=1", "output.formats=[lvis]")
    spec = dataset_spec(settings, pool, photo, "recipe", {})
    by_hand = plan(photo, place(pool, (40, 40), number=number))
    compositor = Compositor(pool, photo, settings, seed=0)
    compose_shard(tmp_path / "out", spec.shards[0], compositor, spec, [by_hand])
    finish(tmp_path / "out", spec)
    assert not validate(tmp_path / "out").findings
    written = json.loads((tmp_path / "out" / "annotations.json").read_text())
    shown = sorted(entry["category_id"] for entry in written["annotations"])
    assert shown == sorted([FROG, CATEGORIES[number].id])
    (told,) = written["images"]
    assert (told["neg_category_ids"], told["not_exhaustive_category_ids"]) == (neg, not_exhaustive)


# --- EM-Paste ------------------------------------------------------------------------------------


def em_options(*changes, preset="empaste-voc"):
    """The preset on a canvas of 64 px, with changes."""
    usual = ("canvas.size_hw=[64, 64]", "size.min_cutout_area_px=0", *changes)
    return load(DatasetSettings, preset, [f"compose.{change}" for change in usual]).compose


SPACE_MAXIMIZE = ("size={rule: circle, min_side_px: 1}", "place.rule=space-maximize")


def noise(side_px, seed=0):
    """(S, S, 4) uint8 of noise, which any resizing changes."""
    rgba = np.random.default_rng(seed).integers(0, 256, (side_px, side_px, 4), np.uint8)
    rgba[..., 3] = 255
    return rgba


def test_empaste_fault_1_a_foreground_does_not_wear_off(tmp_path):
    """There: the pool's object itself is resized and turned, so one that is drawn again is smaller and more
    blurred each time. Here: nobody can write to it, and the hundredth paste is as the first."""
    pool = write_pool(tmp_path / "pool", {"a": noise(40)})
    before = pool.instance(0).rgba.copy()
    compositor = Compositor(pool, grey(tmp_path), em_options("size.factor=[0.3, 0.4]"), seed=0)
    first = compositor.compose(0)
    sizes = {p.size_hw for number in range(100) for p in compositor.compose(number).plan.placements}
    assert len(sizes) > 3 and min(sizes) >= (12, 12) and max(sizes) <= (16, 16)  # 0.3 and 0.4 of 40
    assert np.array_equal(pool.instance(0).rgba, before)
    assert np.array_equal(compositor.compose(0).image, first.image)
    with pytest.raises(ValueError, match="read-only"):
        pool.instance(0).rgba[0, 0] = 0


@pytest.mark.parametrize("preset", ["empaste-voc", "empaste-coco"])
def test_empaste_fault_2_objects_are_pasted_and_what_is_not_is_told(tmp_path, preset):
    """There: whatever fails in scaling is passed over in silence, and with today's Pillow that is everything.
    Here: of what is drawn each is in the image or has a reason."""
    pool = write_pool(tmp_path / "pool", {"a": noise(40), "b": noise(20), "c": noise(30)})
    settings = load(DatasetSettings, preset).compose  # of 512 px; b has 400 px, and 700 are asked for
    compositor = Compositor(pool, grey(tmp_path), settings, seed=0)
    for done in map(compositor.compose, range(20)):
        assert done.counts["placed"] + len(done.plan.skipped) == 4
        assert set(done.plan.skipped) <= {"small_cutout"}
        pasted = {annotation.source_id for annotation in done.sample.annotations}
        assert pasted == {placement.instance_id for placement in done.plan.placements} <= {"a", "c"}
        painted = (done.image != 100).any(axis=2)
        assert painted.sum() >= max(annotation.area for annotation in done.sample.annotations) * 0.9


def test_empaste_fault_2_a_failure_ends_the_work(tmp_path, monkeypatch):
    """There: a try around everything. Here: an error that nobody expects is nobody's to pass over."""
    pool = write_pool(tmp_path / "pool", {"a": noise(40)})
    compositor = Compositor(pool, grey(tmp_path), em_options(), seed=0)
    compositor.compose(0)
    monkeypatch.delattr(cv2, "resize")  # as Pillow's Image.ANTIALIAS went
    with pytest.raises(AttributeError, match="resize"):
        compositor.compose(0)


def corner(side_px):
    """(S, S, 4) uint8: the left and the lower edge of a square, far from the middle of its circle."""
    rgba = pixels(side_px, side_px, 200, alpha=0)
    rgba[:, :4, 3] = rgba[-4:, :, 3] = 255
    return rgba


@pytest.mark.parametrize("rotation_deg", [0, 30, 180])
def test_empaste_fault_3_objects_in_free_circles_never_overlap(tmp_path, rotation_deg):
    """There: the offset is the centre less the radius, though the turned, widened crop is not centred on its
    circle. Here: of objects whose mass lies in a corner none hides a pixel of another or leaves the image."""
    pool = write_pool(tmp_path / "pool", {"a": corner(40), "b": corner(24), "c": corner(31)})
    settings = em_options(*SPACE_MAXIMIZE, f"rotation_deg={rotation_deg}", "instances=[5, 5]", "blend=hard")
    compositor = Compositor(pool, grey(tmp_path), settings, seed=0)
    placed = 0
    for done in map(compositor.compose, range(40)):
        annotations = done.sample.annotations
        assert all(annotation.visible_fraction == 1 for annotation in annotations)
        covered = sum(coco_mask.decode(annotation.segmentation).astype(int) for annotation in annotations)
        assert covered.max() == 1
        placed += len(annotations)
    assert placed > 120


def composed_there(job, samples):
    """What another process makes of a job."""
    compositor = job.compositor()
    return [compositor.compose(number).image.tobytes() for number in samples]


@pytest.mark.parametrize("preset", ["empaste-voc", "empaste-coco"])
def test_empaste_fault_4_balanced_selection_works_and_so_do_processes_side_by_side(tmp_path, preset):
    """There: balanced selection crashes, runs without --debug too, and nothing runs in parallel. Here: of one
    banana and nine lions half are bananas, and two processes make what one makes."""
    names = ["b", *(f"x{n}" for n in range(26))]  # bananas at 0, 3, 6 ...; lions at 2, 5 ...
    pool = write_pool(tmp_path / "pool", {name: noise(12 + n, n) for n, name in enumerate(names)})
    pool.category_ids = np.array([BANANA] + [LION] * 26)
    settings = em_options("category.rule=balanced", "draw=instance", preset=preset)
    compositor = Compositor(pool, grey(tmp_path), settings, seed=0)
    drawn = [p.category_id for n in range(250) for p in compositor.plan(n).placements]
    assert len(drawn) > 900 and abs(drawn.count(BANANA) - len(drawn) / 2) < 5 * np.sqrt(len(drawn) / 4)

    job = ComposeJob(settings, 0, open_pool(pool.folder), grey(tmp_path))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as others:
        shares = list(others.map(composed_there, [job, job], [range(0, 12, 2), range(1, 12, 2)]))
    assert [shares[n % 2][n // 2] for n in range(12)] == composed_there(job, range(12))


def test_empaste_fault_5_an_object_as_large_as_the_canvas_ends_nothing(tmp_path):
    """There: it is turned again until it fits, which is never. Here: it is counted, and the others go on."""
    pool = write_pool(tmp_path / "pool", {"a": noise(64), "b": noise(20)})
    settings = em_options("size.factor=[1.0, 1.0]", "draw=instance")
    compositor = Compositor(pool, grey(tmp_path), settings, seed=0)
    plans = [compositor.plan(number) for number in range(100)]
    assert {reason for plan in plans for reason in plan.skipped} == {"too_large"}
    assert {placement.instance_id for plan in plans for placement in plan.placements} == {"b"}
    assert all(len(plan.placements) + len(plan.skipped) == 4 for plan in plans)


def test_empaste_fault_5_height_is_height(tmp_path):
    """There: places are drawn with both exchanged, which only squares forgive. Here: 10 x 100 px on 24 x 128
    are inside and everywhere."""
    pool = write_pool(tmp_path / "pool", {"a": noise(100)[:10]})
    settings = em_options("canvas.size_hw=[24, 128]", "size.factor=[1.0, 1.0]", "rotation_deg=0")
    compositor = Compositor(pool, grey(tmp_path), settings, seed=0)
    placements = [p for number in range(100) for p in compositor.plan(number).placements]
    assert len(placements) == 400
    rows, columns = zip(*(placement.top_left_yx for placement in placements), strict=True)
    assert (min(rows), max(rows)) == (0, 14) and (min(columns), max(columns)) == (0, 28)


def test_empaste_fault_5_the_first_circle_reaches_the_border(tmp_path):
    """There: on a background without annotations it goes to the middle of the image. Here: a disc of 40 px
    becomes one of 60 px on 64."""
    rgba = noise(40)
    rgba[..., 3] = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 19, 255, -1)
    pool = write_pool(tmp_path / "pool", {"a": rgba})
    compositor = Compositor(pool, grey(tmp_path), em_options(*SPACE_MAXIMIZE), seed=0)
    for number in range(5):
        (annotation, *_) = compositor.compose(number).sample.annotations
        assert 54 <= max(annotation.bbox[2:]) <= 62


def test_empaste_fault_6_more_objects_than_a_byte_can_count(tmp_path):
    """There: instance ids have 8 bits, so the 256th object is the background. Here: 300 squares of 3 px on a
    grid each have their mask, in the file too, whose ids are numbers."""
    pool = write_pool(tmp_path / "pool", {"a": pixels(3, 3, 9)})
    corners = itertools.product(range(0, 45, 3), range(0, 60, 3))
    written, samples = write_by_hand(tmp_path, pool, [place(pool, corner) for corner in corners])
    assert len(written["annotations"]) == 300 and {entry["area"] for entry in written["annotations"]} == {9}
    assert sorted({tuple(entry["bbox"][:2]) for entry in written["annotations"]}) == sorted(
        (x, y) for y, x in itertools.product(range(0, 45, 3), range(0, 60, 3))
    )
    assert [a.z_order for a in samples[0].annotations] == list(range(1, 301))
    assert all(type(entry["id"]) is int for key in ("images", "annotations") for entry in written[key])


def test_empaste_fault_6_remnants_go_and_holes_stay(tmp_path):
    """There: tiny remnants stay labelled, what is hidden vanishes without a word, and polygons fill holes.
    Here, by the preset's rule: a pixel of 400 is too little and told, as is what is hidden; a ring keeps its
    hole.

    A square of 20 px lies under another without its corner, a second one under a larger one.
    """
    ring = pixels(20, 20, 9)
    ring[5:15, 5:15, 3] = 0
    covers = pixels(20, 20, 7)
    covers[0, 0, 3] = 0  # the corner
    pool = write_pool(tmp_path / "pool", {"a": pixels(20, 20, 8), "cover": covers, "ring": ring})
    by_hand = [
        place(pool, (2, 2)), place(pool, (2, 2), number=1),  # leaves a pixel of 400
        place(pool, (30, 2)), place(pool, (29, 1), number=1, size_hw=(22, 22)),
        place(pool, (30, 30), number=2),
    ]  # fmt: skip
    occlusion = em_options().occlusion
    written, samples = write_by_hand(tmp_path, pool, by_hand, occlusion=occlusion)
    assert [a.source_id for a in samples[0].annotations] == ["cover", "cover", "ring"]
    done = composed(pool, grey(tmp_path), *by_hand, occlusion=occlusion)
    assert (done.counts["occluded"], done.counts["hidden"]) == (1, 1)
    mask = coco_mask.decode(written["annotations"][-1]["segmentation"])[30:50, 30:50]
    assert np.array_equal(mask, ring[..., 3] > 0) and written["annotations"][-1]["area"] == 300


def write_by_hand(folder, pool, placements, **changes):
    """The COCO file of one image with these placements, and the samples that it was written from."""
    photo, settings = grey(folder), em_options("count=1", "samples_per_shard=1")
    spec = dataset_spec(settings, pool, photo, "recipe", {})
    compositor, by_hand = Compositor(pool, photo, settings, seed=0), plan(photo, *placements, **changes)
    compose_shard(folder / "out", spec.shards[0], compositor, spec, [by_hand])
    finish(folder / "out", spec)
    assert not validate(folder / "out").findings
    written = json.loads((folder / "out" / "annotations.json").read_text())
    return written, [compositor.render(by_hand).sample]


def test_empaste_fault_7_foregrounds_have_one_order_whoever_is_done_first(tmp_path, monkeypatch):
    """There: threads append what they have read, so the seed draws others each time. Here: units and shards
    done in whatever order are one pool, byte for byte, from which a seed draws the same images."""
    monkeypatch.setattr(pool_write, "ROWS_PER_SHARD", 2)
    shows = {"a": ["banana", "lion"], "b": ["frog"], "c": ["lion", "banana"], "d": ["lion"], "e": ["frog"]}

    def last_first(sealer, shards):
        done = {number: sealer(number, shards[number]) for number in reversed(range(len(shards)))}
        return [done[number] for number in range(len(shards))]

    pools, drawn = [], []
    for number, order in enumerate(([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [3, 4, 1, 0, 2])):
        run = RunDir(tmp_path / str(number))
        kept = select(write_pairs(run, shows, order), ANYTHING).kept
        folder = run.pools / "pool"
        shards = (last_first,) if number else ()
        assert not seal_pool(kept, run.unit_file, CATEGORIES, CutoutSettings(), "f" * 16, folder, *shards)
        pool = open_pool(folder)
        assert len(pool.manifest["shards"]) == 4 and len(pool) == 7
        pools.append({path.name: path.read_bytes() for path in pool.folder.iterdir()})
        compositor = Compositor(pool, grey(tmp_path), em_options(), seed=3)
        drawn.append([[p.instance_id for p in compositor.plan(n).placements] for n in range(20)])
    assert pools[0] == pools[1] == pools[2] and drawn[0] == drawn[1] == drawn[2]
    assert len(pool.rows_by_source_image) == 5 and len({name for one in drawn[0] for name in one}) == 7
