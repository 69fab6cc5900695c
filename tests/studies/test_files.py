"""Studies in YAML: strict, and errors that name the option."""

import pytest
import yaml

from xpaste_ray.errors import ConfigError
from xpaste_ray.studies import load_study

STUDY = {
    "name": "tiny",
    "preset": "demo",
    "data": {"train": "data", "test": "data"},
    "pools": {"made": {"build": "demo"}},
    "arms": {"real": {}, "pasted": {"paste": "made"}},
    "baseline": "real",
}


def loaded(tmp_path, overrides=(), **changes):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    return load_study(str(file), overrides)


def test_grid_makes_an_arm_of_every_combination(tmp_path):
    grid = {
        "bar": {21: {"paste": "made"}, 23: {"paste": "made"}},
        "blend": {"hard": {"set": {"compose.blend": "hard"}}, "soft": {"set": {"compose.blend": "alpha"}}},
    }
    arms = loaded(tmp_path, grid=grid).all_arms
    assert list(arms) == [
        "real", "pasted", "bar=21,blend=hard", "bar=21,blend=soft", "bar=23,blend=hard", "bar=23,blend=soft",
    ]  # fmt: skip
    one = arms["bar=23,blend=soft"]
    assert (one.paste, one.set) == ("made", {"compose.blend": "alpha"})


def test_overrides_reach_settings_whose_paths_have_dots(tmp_path):
    told = loaded(
        tmp_path,
        ["seeds=[4]", "set.train.iterations=7", "arms.real.set.compose.copy_rule=self", "data.val=there"],
    )
    assert (told.seeds, told.set, told.data.val) == ((4,), {"train.iterations": 7}, "there")
    assert told.arms["real"].set == {"compose.copy_rule": "self"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arm": {}}, "arm: there is no such option; did you mean 'arms'?"),
        ({"arms": {"real": {"past": "made"}}}, "arms.real.past: there is no such option; did you mean"),
        ({"baseline": "rael"}, "baseline: there is no arm 'rael', only real, pasted"),
        ({"arms": {"real": {"paste": "found"}}}, "arms.real.paste: there is no 'found' in pools"),
        ({"arms": {}}, "arms: there is none, and no grid"),
        ({"seeds": [1, 1]}, "seeds: needs one at least, and each once"),
        ({"set": {"seed": 3}}, "set.seed: the study's seeds are those of the trainings"),
        ({"pools": {"made": {}}}, "needs one of build, foregrounds, of, merge, take, path, and has none"),
        ({"pools": {"made": {"build": "demo", "path": "p"}}}, "has build and path"),
        ({"pools": {"made": {"take": "made", "per_category": 2}}}, "pools.made: it is made from itself"),
        ({"pools": {"made": {"of": "other"}}}, "pools.made: there is no pool 'other'"),
        ({"pools": {"made": {"path": "p", "set": {"a": 1}}}}, "path has no settings that set could change"),
        ({"arms": {"a/b": {}}}, "names are letters, digits"),
        ({"arms": {"real": None}}, "arms.real: is a section"),
    ],
)  # fmt: skip
def test_errors_name_the_option_and_what_is_wrong(tmp_path, changes, message):
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, **changes)
    assert message in str(error.value)


def test_two_choices_of_a_grid_cannot_set_the_same(tmp_path):
    one = {"set": {"compose.blend": "hard"}}
    with pytest.raises(ConfigError, match=r"grid, a=x,b=y: two of its choices give set.compose.blend"):
        loaded(tmp_path, grid={"a": {"x": one}, "b": {"y": one}})


@pytest.mark.parametrize(
    ("override", "message"),
    [("seeds", "write it as path.to.option=value"), ("arms.raal.paste=made", "arms has no 'raal'")],
)
def test_overrides_that_mean_nothing_are_refused(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, [override])


def test_an_unknown_study_is_told_with_what_is_near():
    with pytest.raises(ConfigError, match="there is no study 'nope'"):
        load_study("nope")
