"""What a report says of runs and datasets whose numbers a person can count."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.html_report.material import (
    annotation,
    empty_run,
    finished_run,
    say_composed_by,
    write_dataset,
)
from tests.pipelines.test_select import QUIET, make_run, proposal, settings
from xpaste_ray.categories import Category
from xpaste_ray.errors import ConfigError
from xpaste_ray.html_report import given, sections
from xpaste_ray.html_report.blocks import Chapter, Figures, Gallery, Section, Table, as_json
from xpaste_ray.html_report.given import Given
from xpaste_ray.html_report.sections import gather
from xpaste_ray.pipelines.build import build_pool
from xpaste_ray.pipelines.select import select_pool
from xpaste_ray.pool.write import write_pool
from xpaste_ray.runs import RunDir, read_json, write_json
from xpaste_ray.storage import locate


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunDir:
    return finished_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def chapter(run) -> Chapter:
    (chapter,) = gather(str(run.root)).chapters
    return chapter


def section(chapter, key) -> Section:
    (found,) = [one for one in chapter.sections if one.key == key]
    return found


def block(chapter, key, title):
    (found,) = [one for one in section(chapter, key).blocks if getattr(one, "title", None) == title]
    return found


def rows(table: Table) -> dict:
    """By the first column; each by the columns' names."""
    names = [column.name for column in table.columns]
    return {row[0]: dict(zip(names, row, strict=True)) for row in table.rows}


def figures(chapter, key) -> dict:
    found = [one for one in section(chapter, key).blocks if isinstance(one, Figures)]
    return {one.name: one.value for block in found for one in block.figures}


def test_summary_tells_the_main_figures_first(chapter):
    assert chapter.sections[0].key == "summary"
    told = figures(chapter, "summary")
    assert (told["candidates"], told["instances"], told["categories"]) == (12, 7, 2)
    assert told["yield"] == pytest.approx(7 / 12) and told["median clip_logit"] == 60


def test_funnel_of_images_says_where_each_was_lost(chapter):
    """Four lions are black, and one frog is below the bar of its category."""
    told = rows(block(chapter, "funnel", "Candidates: one image each"))
    assert [told[step]["left"] for step in told] == [12, 8, 8, 7, 7]
    assert told["images"]["why"] == "black_image 4" and told["selection"]["why"] == "low_clip_logit 1"


def test_funnel_of_masks_begins_with_the_masks(chapter):
    told = rows(block(chapter, "funnel", "Proposals: one mask each"))
    assert [told[step]["left"] for step in told] == [8, 8, 7, 7]
    assert told["selection"]["lost"] == 1


def test_funnel_balances_with_several_masks_of_an_image(tmp_path):
    """A candidate whose masks were all rejected is lost by its masks; a reason that both the masks and the
    cut-outs know is counted where it was given."""

    def propose(prompt):
        good, worse = proposal("a", 0, 90, embedding=(1, 0)), proposal("b", 0, 80, embedding=(0, 1))
        no_mask = replace(worse, status="rejected", reason="empty_mask", mask=None, scores=(), embedding=None)
        if prompt.category == "banana":
            return good, worse
        if prompt.category == "frog":
            return good, no_mask
        return (no_mask,)

    run = make_run(tmp_path, settings(), propose)
    build_pool(settings(), run.root, QUIET)
    (chapter,) = gather(str(run.root)).chapters
    candidates = rows(block(chapter, "funnel", "Candidates: one image each"))
    assert candidates["masks and scores"]["why"] == "empty_mask 4" and candidates["cutting out"]["left"] == 8
    masks = rows(block(chapter, "funnel", "Proposals: one mask each"))
    assert masks["asked for"]["left"] == 20 and masks["cutting out"]["left"] == 8
    assert masks["masks and scores"]["why"] == "empty_mask 8"
    assert masks["selection"]["why"] == "not_best_proposal 4" and masks["cutting out"]["lost"] == 0


def test_score_histogram_has_the_bar_and_counts_everything(chapter):
    shown = block(chapter, "scores", "clip_logit")
    assert [(mark.name, mark.x) for mark in shown.marks] == [("min_clip_logit 55", 55.0)]
    assert {one.name: sum(one.values) for one in shown.series} == {"kept": 7, "rejected": 1}
    assert shown.edges[0] == 40 and shown.edges[-1] == 90


def test_bar_is_that_of_the_current_selection(tmp_path):
    run = finished_run(tmp_path / "run")
    select_pool(str(run.root), QUIET, (), {"select.min_clip_logit": 65.0})
    (chapter,) = gather(str(run.root)).chapters
    assert block(chapter, "scores", "clip_logit").marks[0].x == 65
    assert figures(chapter, "summary")["instances"] == 5


def test_yield_by_category_and_by_frequency(chapter):
    told = rows(block(chapter, "yield", "By category"))
    by_name = {one["category"]: one for one in told.values()}
    assert [by_name[name]["instances"] for name in ("banana", "frog", "lion")] == [4, 3, 0]
    assert by_name["frog"]["instances of candidates"] == 0.75 and by_name["banana"]["candidates"] == 4
    assert by_name["lion"]["most lost to"] == "black_image 4"
    all_of_them = rows(block(chapter, "yield", "By frequency"))["all"]
    assert (all_of_them["categories"], all_of_them["without any"], all_of_them["instances"]) == (3, 1, 7)
    assert rows(block(chapter, "yield", "By source"))["diffusion"]["instances"] == 7


def test_near_duplicates_are_counted_and_shown_in_pairs(chapter):
    """Bananas 0 and 1 have one embedding, 2 and 3 another; so have frogs 0 and 1. Frog 2 is alone."""
    told = figures(chapter, "duplicates")
    assert told["with a near-duplicate (cosine above 0.95)"] == 6
    assert told["of those compared"] == pytest.approx(6 / 7)
    shots = block(chapter, "duplicates", "The most alike, in pairs").shots
    assert [shot.told["cosine"] for shot in shots[:6]] == pytest.approx([1.0] * 6)
    for one, other in zip(shots[0:6:2], shots[1:6:2], strict=True):
        assert one.told["nearest"] == other.told["instance_id"]


def test_samples_are_the_best_those_at_the_bar_and_some_of_every_reason(chapter):
    galleries = {one.title: one for one in section(chapter, "samples").blocks}
    best = galleries["Best by clip_logit"].shots
    assert [shot.told["clip_logit"] for shot in best[:3]] == [90, 80, 70]
    above = galleries["Just above the bar"].shots
    assert [shot.caption for shot in above[:3]] == ["frog · +1.50", "frog · +2.00", "frog · +3.00"]
    (below,) = galleries["Just below the bar"].shots
    assert below.tone == "rejected" and below.told["outcome"] == "low_clip_logit"
    assert galleries["Rejected: low_clip_logit"].note == "1 of 1, drawn by key."
    assert "Rejected: black_image" not in galleries  # there is no picture of them


def test_every_shot_leads_back_to_its_prompt(chapter):
    shots = [shot for one in section(chapter, "samples").blocks for shot in one.shots]
    for shot in shots:
        assert {"text", "seed", "candidate_id", "category"} <= shot.told.keys(), shot.caption


def test_report_of_a_run_without_instances(tmp_path):
    run = empty_run(tmp_path / "run")
    (chapter,) = gather(str(run.root)).chapters
    assert figures(chapter, "summary")["instances"] == 0
    assert rows(block(chapter, "funnel", "Proposals: one mask each"))["selection"]["left"] == 0
    titles = [one.title for one in section(chapter, "samples").blocks]
    assert titles == ["Just below the bar", "Rejected: low_clip_logit"]
    assert "duplicates" not in [one.key for one in chapter.sections]


def test_report_of_an_empty_pool(tmp_path):
    write_pool(locate(tmp_path / "pool"), [], [Category(1, "cup")], [])
    (chapter,) = gather(str(tmp_path / "pool")).chapters
    assert figures(chapter, "summary")["instances"] == 0
    assert rows(block(chapter, "yield", "By category"))[1]["instances"] == 0


def test_report_of_one_instance_and_of_what_was_not_imported(tmp_path, make_pool):
    pool = make_pool({"banana": 1})
    (chapter,) = gather(str(pool.folder)).chapters
    assert figures(chapter, "summary")["instances"] == 1
    assert len(block(chapter, "samples", "Any of the pool").shots) == 1
    assert "only a run with its candidates has" in section(chapter, "duplicates").note
    row = {**pool.stored(0), "scores": []}
    rejections = [("candidate", "b.png", "frog", "empty_mask"), ("candidate", "c.png", "frog", "unreadable")]
    write_pool(locate(tmp_path / "imported"), [row], pool.categories, rejections)
    (chapter,) = gather(str(tmp_path / "imported")).chapters
    told = rows(block(chapter, "funnel", "Instances"))
    assert told["asked for"]["left"] == 3 and told["import or merge"]["why"] == "empty_mask 1, unreadable 1"


def test_report_of_an_unfinished_run_says_so(tmp_path):
    write_json(tmp_path / "run.json", {"settings": {"seed": 3}, "steps": {}, "times": []})
    (chapter,) = gather(str(tmp_path)).chapters
    assert "not finished" in section(chapter, "summary").note
    assert ("seed", "3") in block(chapter, "asked", "Settings").rows


# --- datasets --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three images: two bananas of half the side, one of them half hidden; a frog of a quarter; an object
    that the background shows."""
    folder = tmp_path_factory.mktemp("dataset") / "mine"
    own = annotation(475, 0, 0, 8, origin="background", source_id="b#1", z_order=0)
    images = [
        [own, annotation(45, 32, 32, 32)],
        [annotation(45, 0, 0, 32, visible_fraction=0.5)],
        [annotation(475, 8, 40, 16)],
    ]
    return write_dataset(folder, images)


@pytest.mark.parametrize("name", ["coco", "yolo", "voc", "lvis", "webdataset", "parquet"])
def test_dataset_of_every_format_shows_its_images(tmp_path, name):
    folder = write_dataset(tmp_path / "mine", [[annotation(45, 0, 0, 32)]] * 3, name)
    (chapter,) = gather(str(folder)).chapters
    (gallery,) = section(chapter, "images").blocks
    assert [shot.told["index"] for shot in gallery.shots] == [0, 1, 2]
    assert gallery.shots[0].told["object 1"]["category"] == "banana"


def test_dataset_is_counted_whole(dataset):
    (chapter,) = gather(str(dataset)).chapters
    told = figures(chapter, "summary")
    assert (told["images"], told["annotations"], told["backgrounds"]) == (3, 4, 3)
    objects = rows(block(chapter, "yield", "By category"))
    assert {one["category"]: one["pasted objects"] for one in objects.values()} == {"banana": 2, "frog": 1}
    made = rows(block(chapter, "funnel", "Objects of the dataset, and images to paste on"))
    assert made["pasted objects"]["made"] == made["pasted objects"]["kept"] == 3


def test_positions_are_those_of_the_pasted_boxes(dataset):
    """Centres at 48, 48 and 16, 16 and 16, 48 (x, y) of 64: 24 cells, so cells 18 and 6."""
    (chapter,) = gather(str(dataset)).chapters
    counts = np.array(block(chapter, "places", "Centres of pasted objects").counts)
    assert np.argwhere(counts).tolist() == [[6, 6], [18, 6], [18, 18]]
    own = np.array(block(chapter, "places", "Centres of the backgrounds' own objects").counts)
    assert np.argwhere(own).tolist() == [[1, 1]]


def test_overlaps_are_told_by_where_objects_come_from(dataset):
    (chapter,) = gather(str(dataset)).chapters
    shown = block(chapter, "places", "Overlaps: how much of an object is visible")
    assert {one.name: sum(one.values) for one in shown.series} == {
        "pasted from the pool": 3,
        "of the backgrounds": 1,
    }
    assert block(chapter, "places", "Objects of an image").series[0].values == (0, 2, 1)


def test_sizes_stand_beside_the_table_that_they_follow(tmp_path, dataset):
    folder = write_dataset(tmp_path / "mine", [[annotation(45, 0, 0, 32)], [annotation(45, 0, 0, 16)]])
    table = tmp_path / "sizes.json"
    write_json(table, {"45": [0.4, 0.1], "overall": [0.2, 0.1]})
    say_composed_by(folder, size={"rule": "prior", "table": str(table)})
    (chapter,) = gather(str(folder)).chapters
    (row,) = block(chapter, "sizes", "Realised and expected, mean and standard deviation").rows
    assert (row.name, row.count, row.mean, row.std) == ("banana", 2, 0.375, 0.125)
    assert (row.expected_mean, row.expected_std) == (0.4, 0.1)


def test_sizes_without_a_table_say_by_which_rule(tmp_path):
    folder = write_dataset(tmp_path / "mine", [[annotation(45, 0, 0, 32)]])
    say_composed_by(folder, size={"rule": "image"})
    (chapter,) = gather(str(folder)).chapters
    assert [one.block for one in section(chapter, "sizes").blocks] == ["histogram"]
    assert "rule 'image'" in section(chapter, "sizes").note


def test_size_table_that_is_gone_is_told_and_hinders_nothing(tmp_path):
    folder = write_dataset(tmp_path / "mine", [[annotation(45, 0, 0, 32)]])
    say_composed_by(folder, size={"rule": "prior", "table": str(tmp_path / "gone.json")})
    (chapter,) = gather(str(folder)).chapters
    assert "gone.json is not a file" in section(chapter, "sizes").note


def test_dataset_without_any_object_has_a_report(tmp_path):
    (chapter,) = gather(str(write_dataset(tmp_path / "mine", [[], []]))).chapters
    assert figures(chapter, "summary")["annotations"] == 0
    assert {"sizes", "places"}.isdisjoint(one.key for one in chapter.sections)


def test_objects_lead_to_the_pool_where_the_run_has_both(run, tmp_path):

    folder = tmp_path / "run"
    shutil.copytree(run.root.path, folder)
    name = Given(locate(folder)).pool.instance_ids[0]
    write_dataset(folder / "dataset", [[annotation(45, 0, 0, 32, source_id=name)]])
    (chapter,) = gather(str(folder)).chapters
    (gallery,) = section(chapter, "images").blocks
    assert gallery.shots[0].told["object 1"]["text"].startswith("a photo of a single banana")
    told = rows(block(chapter, "yield", "By category"))
    assert told[45]["pasted objects"] == 1 and told[45]["instances"] == 4


# --- what cannot be told of ----------------------------------------------------------------------


def test_folder_of_parts_has_a_chapter_for_each(tmp_path, run, dataset):

    shutil.copytree(run.root.path, tmp_path / "foregrounds")
    shutil.copytree(dataset, tmp_path / "dataset")
    assert [one.name for one in gather(str(tmp_path)).chapters] == ["foregrounds", "dataset"]


def test_what_is_no_run_is_refused_with_what_to_give(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "file.txt").write_text("")
    for place, words in (
        ("gone", "does not exist"),
        ("file.txt", "is a file"),
        ("other", "is nothing that a report tells of"),
    ):
        with pytest.raises(ConfigError, match=f"{words}.*give what was --out of"):
            gather(str(tmp_path / place))


def test_one_format_of_a_dataset_is_refused_by_name(tmp_path, dataset):

    shutil.copytree(dataset, tmp_path / "mine")
    (tmp_path / "mine" / "coco").mkdir()
    with pytest.raises(ConfigError, match="one of the formats of a dataset"):
        gather(str(tmp_path / "mine" / "coco"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("run.json", b"{"), ("run.json", b'{"settings": 3}'), ("run.json", b'{"times": [3]}'),
        ("run.json", b'{"settings": {"select": {"rule": "novel"}}}'),
        ("scores/part-00000.parquet", b"PAR1"), ("rejects.parquet", b""), ("pool.json", b"{}"),
    ],
)  # fmt: skip
def test_damaged_file_is_named(tmp_path, run, name, data):

    folder = tmp_path / "run"
    shutil.copytree(run.root.path, folder)
    (folder / name).write_bytes(data)
    with pytest.raises(ConfigError, match=name):
        gather(str(folder))


def test_damaged_instances_are_told_of(tmp_path, run):
    """The shard keeps its end, and loses what lies before it."""
    folder = tmp_path / "run"
    shutil.copytree(run.root.path, folder)
    (shard,) = folder.glob("pools/*/shard-00000.arrow")
    data = shard.read_bytes()
    shard.write_bytes(data[:64] + bytes(len(data) // 2) + data[64 + len(data) // 2 :])
    with pytest.raises(ConfigError, match="damaged"):
        gather(str(folder))


def test_damaged_fragment_is_named(tmp_path, dataset):

    folder = tmp_path / "mine"
    shutil.copytree(dataset, folder)
    fragment = next((folder / "fragments").iterdir())
    fragment.write_text("[]")
    with pytest.raises(ConfigError, match=fragment.name):
        gather(str(folder))


def test_new_kind_of_run_needs_a_builder_and_a_mark(tmp_path, monkeypatch):
    """As training and studies will be told of."""

    def builder(of: Given) -> Section | None:
        file = of.folder / "novel.json"
        return Section("novel", "Novel", (), read_json(file)["said"]) if file.is_file() else None

    monkeypatch.setattr(given, "MARKS", (*given.MARKS, "novel.json"))
    monkeypatch.setattr(sections, "BUILDERS", (*sections.BUILDERS, builder))
    write_json(tmp_path / "novel.json", {"said": "something"})
    (chapter,) = gather(str(tmp_path)).chapters
    assert section(chapter, "novel").note == "something"


def test_json_holds_everything_but_pixels(chapter):
    told = as_json(chapter)
    shown = [one for part in told["sections"] for one in part["blocks"] if one["block"] == "gallery"]
    assert shown[0]["shots"][0]["picture"].keys() == {"height", "width"}
    assert [one["block"] for one in told["sections"][0]["blocks"]] == ["figures"]


def test_pictures_are_bounded(chapter):
    for part in chapter.sections:
        for gallery in part.blocks:
            if isinstance(gallery, Gallery):
                assert len(gallery.shots) <= 24
                assert all(max(shot.picture.size_hw) <= 320 for shot in gallery.shots)
