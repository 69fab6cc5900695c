"""The studies that the package ships."""

import pytest

from tests.backgrounds.material import small_dataset
from xpaste_ray.pipelines.study import plan_study
from xpaste_ray.studies import load_study, study_descriptions, study_names


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("name", study_names())
def test_each_can_be_planned_for_any_data_and_without_its_models(name, data, tmp_path):
    own = "train" if name.startswith("xpaste") else "images"
    study = load_study(name, [f"data.test={data}", f"data.{own}={data}"])
    plan = plan_study(study, str(tmp_path / "out"))
    assert {part.what for part in plan} >= {"pool", "arm"}
    assert len([part for part in plan if part.what == "arm"]) == len(study.all_arms) > 1
    assert study.baseline in study.all_arms and study.name == name
    assert not (tmp_path / "out").exists()


def test_each_says_what_it_is_about():
    told = study_descriptions()
    assert list(told) == study_names() and len(told) >= 10
    assert all(text.startswith(("X-Paste", "EM-Paste")) for text in told.values())


def test_every_pool_of_each_is_used():
    for name in study_names():
        study = load_study(name)
        used = [arm.paste for arm in study.all_arms.values()] + [arm.train for arm in study.all_arms.values()]
        named = [one for one in [*used, study.data.train] if one in study.pools]
        assert set(study.pools_needed(named)) == set(study.pools), name
