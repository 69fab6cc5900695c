import numpy as np
import pytest

from tests.conftest import CATEGORIES, prompt
from tests.pipelines.foreground_runs import WIDTH, make_run, planted, proposal
from tests.pipelines.progress import Told
from xpaste_ray.errors import RunError, SchemaError
from xpaste_ray.foregrounds import COLUMNS, segments_of
from xpaste_ray.pipelines import features
from xpaste_ray.pipelines.features import FeatureFile, feature_file, features_recipe, write_features
from xpaste_ray.pipelines.scores import compact_scores, read_scores
from xpaste_ray.records import Candidate
from xpaste_ray.runs import made_by, open_parquet

BANANA, FROG, LION = CATEGORIES


def write(run, progress=None):
    """Returns the segments of the run's categories, by name."""
    scores = read_scores(run, COLUMNS)
    segments = segments_of(scores)
    write_features(run, scores, segments, features_recipe(run, "classified"), progress or Told())
    return {one.category: one for one in segments}


def files(run):
    return {category.name: feature_file(run, category.id).read_bytes() for category in CATEGORIES}


def test_a_file_a_category_has_its_segments_by_image_then_by_segment(tmp_path):
    """Written in units of four candidates, whose categories take turns."""
    made = planted(images=5)
    run = make_run(tmp_path, made)
    found = write(run)
    table = open_parquet(feature_file(run, FROG.id)).read()
    expected = [
        (one.prompt.candidate_id, each.method, each.ordinal, each.embedding.tolist())
        for one in made if one.prompt.category == "frog"
        for each in one.proposals if each.status == "ok"
    ]  # fmt: skip
    names = ("candidate_id", "method", "ordinal")
    vectors = FeatureFile(feature_file(run, FROG.id))[:].tolist()
    assert list(zip(*(table[name].to_pylist() for name in names), vectors, strict=True)) == expected
    assert len(expected) == 25 == len(found["frog"].rows)
    assert made_by(feature_file(run, FROG.id)) == features_recipe(run, "classified")


def test_only_missing_files_are_written_and_with_the_same_bytes(tmp_path):
    run, progress = make_run(tmp_path, planted()), Told()
    write(run, progress)
    before, stamps = files(run), run.features.stamps()
    feature_file(run, LION.id).remove()
    write(run, progress)
    assert files(run) == before
    kept = {name: stamp for name, stamp in stamps.items() if name != f"{LION.id}.parquet"}
    assert kept.items() <= run.features.stamps().items() and len(kept) == 2
    write(run, progress)
    assert [line.split(" (")[1] for line in progress.lines] == ["3 of them)", "1 of them)"]


def test_files_of_an_earlier_score_table_are_written_again(tmp_path):
    """An image that could not be read was got after all: the settings, and so the recipe, are the same."""
    made = planted()
    run = make_run(tmp_path, made)
    write(run)
    assert len(FeatureFile(feature_file(run, BANANA.id))) == 60
    made[-1] = Candidate(made[-1].prompt, proposals=(proposal(0, 0.1, 0.5, np.ones(WIDTH)),))
    make_run(tmp_path, made)
    write(run)
    assert len(FeatureFile(feature_file(run, BANANA.id))) == 61
    assert FeatureFile(feature_file(run, BANANA.id))[60:].tolist() == [[1] * WIDTH]


def test_a_file_that_is_cut_short_is_written_again(tmp_path):
    run = make_run(tmp_path, planted())
    write(run)
    before, file = files(run), feature_file(run, FROG.id)
    file.path.write_bytes(file.read_bytes()[:-40])
    write(run)
    assert files(run) == before


def test_how_many_categories_are_gathered_at_once_changes_no_byte(tmp_path, monkeypatch):
    run = make_run(tmp_path, planted())
    write(run)
    before = files(run)
    for rows in (70, 121):  # of 60 each: one by one; two and one
        monkeypatch.setattr(features, "_ROWS_AT_ONCE", rows)
        for category in CATEGORIES:
            feature_file(run, category.id).remove()
        write(run)
        assert files(run) == before


@pytest.mark.parametrize("group", [1, 7, 60, 100])
def test_any_part_of_a_file_can_be_read_whatever_its_row_groups(tmp_path, monkeypatch, group):
    monkeypatch.setattr(features, "ROWS_PER_GROUP", group)
    run = make_run(tmp_path, planted())
    write(run)
    file = FeatureFile(feature_file(run, FROG.id))
    whole = file[:]
    assert len(file) == 60 and whole.shape == (60, WIDTH) and whole.dtype == np.float16
    assert len(np.unique(whole, axis=0)) == 60
    for part in (slice(0, 0), slice(60, 70), slice(5, 6), slice(6, 15), slice(50, 99), slice(3, 2)):
        assert np.array_equal(file[part], whole[part]) and file[part].shape[1] == WIDTH


def test_a_segment_without_a_feature_has_one_that_is_no_number(tmp_path):
    """So it is never chosen, where zeros might be."""
    segments = (proposal(0, 0.1, 0.5, None), proposal(1, 0.1, 0.5, np.ones(WIDTH)))
    run = make_run(tmp_path, [Candidate(prompt(FROG), proposals=segments)])
    write(run)
    found = FeatureFile(feature_file(run, FROG.id))[:]
    assert np.isnan(found[0]).all() and found[1].tolist() == [1] * WIDTH


def test_unit_files_of_another_score_table_are_an_error(tmp_path):
    """And no file is left that looks as if it were whole."""
    run = make_run(tmp_path, planted())
    make_run(tmp_path / "other", planted(segments=4))
    scores = read_scores(run, COLUMNS)
    other = type(run)(tmp_path / "other")
    with pytest.raises(SchemaError, match="00000/unit-00000.parquet has 19 proposals, the score table 23"):
        write_features(other, scores, segments_of(scores), "recipe", Told())
    assert other.features.files() == {}


def test_a_damaged_part_of_a_file_says_what_to_do(tmp_path):
    run = make_run(tmp_path, planted())
    write(run)
    file = feature_file(run, FROG.id)
    data = bytearray(file.read_bytes())
    column = open_parquet(file).metadata.row_group(0).column(3)
    data[column.data_page_offset + column.total_compressed_size - 20] ^= 0xFF
    file.path.write_bytes(data)
    assert made_by(file) is not None, "its end is whole, so it is taken for done"
    with pytest.raises(RunError, match=f"{FROG.id}.parquet is damaged .*remove it"):
        FeatureFile(file)[:]


def test_scores_must_be_there(tmp_path):
    run = make_run(tmp_path, planted())
    before = features_recipe(run, "classified")
    assert features_recipe(run, "otherwise") != before
    compact_scores(run, "otherwise")
    assert features_recipe(run, "classified") != before
    run.scores.remove()
    with pytest.raises(FileNotFoundError):
        features_recipe(run, "classified")
