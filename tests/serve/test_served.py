"""What a request's options may be: the operator's ceilings, and nothing that names a file."""

import json

import pytest

from tests.conftest import seal_discs
from xpaste_ray.cache import default_cache_dir
from xpaste_ray.config import DatasetSettings, dump_settings, load
from xpaste_ray.errors import ConfigError
from xpaste_ray.serve.bodies import ZIP
from xpaste_ray.serve.problems import Problem
from xpaste_ray.serve.served import Served
from xpaste_ray.serve.service import Order
from xpaste_ray.storage import locate


@pytest.fixture(scope="module")
def served(told):
    return Served(told)


def _refused(served, options=None, preset=None, size_hw=None, categories=()):
    with pytest.raises(Problem) as raised:
        served.rules(preset, options or {}, size_hw, categories)
    assert raised.value.status == 422
    (field, what), *_ = raised.value.fields
    return field, what


@pytest.mark.parametrize(
    "options",
    [
        {"size": {"table": "/etc/passwd"}}, {"size.table": "lvis"}, {"size": {"table": None}},
        {"backgrounds": "/etc"}, {"background_images": "/"}, {"background_column": "x"},
        {"contexts": "black"}, {"exclude_categories": []}, {"output": {"provenance": True}},
        {"output.formats": ["lvis"]},
        {"canvas": {"size_hw": [9999, 9999]}}, {"categories": ["frog"]}, {"count": 10},
        {"samples_per_shard": 1},
    ],
)  # fmt: skip
def test_what_names_files_or_is_said_otherwise_is_refused_whatever_is_allowed(served, told, options):
    assert _refused(served, options)[1] == "is not for requests here: leave it out"
    everything = told.model_copy(update={"allow": ("size", "output", "canvas", "mix")})  # their parents
    assert _refused(Served(everything), options)[1] == "is not for requests here: leave it out"


@pytest.mark.parametrize(
    "options",
    [
        {"size": "{table: /etc/passwd}"}, {"size": ["table", "/etc/passwd"]}, {"size": {"": {"table": "x"}}},
        {"size.": {"table": "x"}}, {"size": {"table.": "x"}}, {".size.table": "x"}, {"size..table": "x"},
        {"SIZE": {"TABLE": "x"}}, {"size": {" table": "x"}}, {"size": {"table\u0000": "x"}},
        {"size": {"factor.table": "x"}}, {"size": {"rule": {"table": "x"}}}, {"": {"size": {"table": "x"}}},
    ],
)  # fmt: skip
def test_no_other_spelling_gets_there(served, options, told):
    _refused(served, options)
    everything = told.model_copy(update={"allow": ("size", "output", "canvas")})
    _refused(Served(everything), options)


def test_options_are_refused_that_the_operator_does_not_allow(told):
    served = Served(told.model_copy(update={"allow": ("blend", "size.factor")}))
    served.rules(None, {"blend": ["hard"], "size": {"factor": [0.1, 0.2]}}, None, ())
    for path, options in {
        "options.instances": {"instances": [1, 2]},
        "options.size.rule": {"size": {"rule": "object"}},
        "options.blending": {"blending": 1},
        "options.size.factory": {"size.factory": 1},
    }.items():
        assert _refused(served, options) == (path, "is not for requests here: leave it out")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"size": {"factor": [1e300, 1e301]}}, "options.size.factor"),
        ({"size": {"pixels": [1, 1e6 + 1]}}, "options.size.pixels"),
        ({"rotation_deg": float("nan")}, "options.rotation_deg"),
        ({"rotation_deg": float("-inf")}, "options.rotation_deg"),
        ({"category": {"rule": "weights", "weights": {"frog": 1e7}}}, "options.category.weights"),
        ({"instances": [0, 10**30]}, "options.instances"),
        ({"colour": {"jitter": [0, 0, [[[float("nan")]]], 0]}}, "options.colour.jitter"),
    ],
)
def test_absurd_numbers_are_refused(served, options, field):
    assert _refused(served, options) == (field, "has a number that is not within 1000000")


@pytest.mark.parametrize(
    ("given", "field", "what"),
    [
        ({"options": {"instances": [0, 101]}}, "options.instances", "must not be above 100"),
        ({"size_hw": (64, 2049)}, "size", "must not be above 2048 px"),
        ({"size_hw": (2049, 64)}, "size", "must not be above 2048 px"),
        ({"preset": "demon"}, "preset", "must be one of demo, xpaste"),
        ({"preset": "/etc/passwd.yaml"}, "preset", "must be one of demo, xpaste"),
        ({"options": {"canvas": {"fit": "keep"}}, "size_hw": (64, 64)}, "size",
         "has no effect where options.canvas.fit is keep: set that, too"),
    ],
)  # fmt: skip
def test_ceilings_are_told_with_the_field(served, given, field, what):
    assert _refused(served, **given) == (field, what)


def test_a_ceiling_may_be_reached(served):
    served.rules(None, {"instances": [0, 100]}, (2048, 2048), ())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"blend": ["x"]}, "blend.0: Input should be 'hard'"),
        ({"blend": []}, "blend needs at least one method"),
        ({"size": {"rule": "circle"}}, "need each other"),
        ({"category": {"rule": "weights", "weights": {"frgo": 1}}}, "did you mean 'frog'"),
        ({"category": {"rule": "frequency", "weights": {"c": 0, "f": 0}}}, "no category can be drawn"),
        ({"size": {"facto": [1, 2]}}, "facto"),
        ({"canvas": {"fit": "crop", "scale": [1, 2]}}, "scale must not exceed 1"),
    ],
)
def test_options_that_cannot_work_say_why_and_not_where_the_pool_is(served, place, options, what):
    field, told = _refused(served, options)
    assert field == "options" and what in told and str(place) not in told and "compose." not in told


def test_unknown_categories_are_told_with_what_is_meant(served):
    """Also those of the vocabulary that the pool has nothing of."""
    assert _refused(served, categories=("frogs",)) == (
        "categories", "the pool has no instance of 'frogs'; did you mean 'frog'?"
    )  # fmt: skip
    assert _refused(served, categories=("frog", "dog"))[0] == "categories"


def test_equal_requests_share_their_rules_also_in_another_order(served):
    first = served.rules(None, {"blend": ["hard"], "instances": [1, 2]}, None, ("frog", "lion", "frog"))
    assert served.rules(None, {"instances": [1, 2], "blend": ["hard"]}, None, ("lion", "frog")) is first
    assert served.rules(None, {"instances": [1, 2], "blend": ["hard"]}, None, ("lion",)) is not first


def test_only_some_rules_are_kept(served):
    first = served.rules(None, {"rotation_deg": 0.5}, None, ())
    for number in range(40):
        served.rules(None, {"rotation_deg": number}, None, ())
    again = served.rules(None, {"rotation_deg": 0.5}, None, ())
    assert again is not first and again.recipe == first.recipe and len(served._ready) <= 32


def test_all_categories_are_those_of_pool_and_backgrounds(served):
    assert {"banana", "frog", "lion", "cat", "dog", "cup"} == set(served.name_of.values())
    assert {one["name"] for one in json.loads(served.categories_json)} == set(served.name_of.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"presets": ("xpast",)}, "unknown preset 'xpast'; did you mean 'xpaste'"),
        ({"options": {"blend": ["x"]}}, "options: .*blend.0"),
        ({"options": {"nothing": 1}}, "options: .*nothing"),
        ({"recipes": {"a": {"preset": "nobody"}}}, "unknown preset 'nobody'"),
        ({"recipes": {"a": {"preset": "demo", "options": {"instances": [2, 1]}}}}, "recipes.a: .*instances"),
        ({"pool": "nowhere"}, "nowhere"),
        ({"backgrounds": "nowhere/at/all"}, "nowhere/at/all"),
        ({"limits": {"instances": 2}}, "demo: options.instances must not be above 2"),
        ({"limits": {"side_px": 32}}, "demo: size must not be above 32 px: change it, or `limits`"),
        (
            {"recipes": {"a": {"preset": "demo", "options": {"instances": [0, 101]}}}},
            "recipes.a: .* above 100",
        ),
        ({"presets": ("demo", "xpaste"), "options": {"category.rule": "weights"}}, "options: .*category"),
    ],
)
def test_what_cannot_be_served_is_an_error_at_the_start(told, changes, message):
    with pytest.raises(ConfigError, match=message):
        Served(type(told).model_validate(told.model_dump() | changes))


def test_a_preset_of_a_file_is_known_by_its_name_and_not_by_its_place(told, tmp_path):
    file = tmp_path / "my-own.yaml"
    file.write_text(dump_settings(load(DatasetSettings, "demo")))
    served = Served(told.model_copy(update={"presets": (str(file), "xpaste"), "recipes": {}}))
    assert served.presets == ["my-own", "xpaste"]
    assert served.rules("my-own", {}, None, ()).settings == served.rules(None, {}, None, ()).settings


def test_a_pool_in_an_object_store_is_copied_once_a_node_and_answers_as_the_local_one(told, s3, tmp_path):
    bucket = s3()
    seal_discs(locate(f"{bucket}/run"), {"banana": 2, "frog": 1})
    here = seal_discs(tmp_path / "run", {"banana": 2, "frog": 1})
    remote = Served(told.model_copy(update={"pool": f"{bucket}/run/pools/pool"}))
    again = Served(told.model_copy(update={"pool": f"{bucket}/run/pools/pool"}))
    local = Served(told.model_copy(update={"pool": str(here.folder)}))
    assert remote.pool.folder == again.pool.folder and remote.pool.folder.is_relative_to(default_cache_dir())
    assert remote.versions == local.versions
    orders = [Order(one, one.rules(None, {}, None, ()), seed=3, first=0, count=2) for one in (remote, local)]
    first, second = (b"".join(part for part, _ in one.parts(one.body(ZIP))) for one in orders)
    assert first == second
