"""What a composed dataset is known by."""

import json

import pytest

from tests.compose.options import options
from xpaste_ray.compose.recipe import compose_recipe
from xpaste_ray.fingerprints import fingerprint


@pytest.fixture
def recipe(backgrounds):
    """recipe("a.b=c", ...): the fingerprint of the demo's options with changes."""
    return lambda *changes, seed=0: fingerprint(compose_recipe(options(*changes), backgrounds, seed))


def test_no_named_categories_leave_it_as_it_was_before_there_were_any(backgrounds, recipe):
    """So datasets of before are known again."""
    assert "categories" not in compose_recipe(options(), backgrounds, 0)["compose"]
    assert recipe("categories=[]") == recipe()


def test_named_categories_change_it(backgrounds, recipe):
    found = {
        recipe(),
        recipe("categories=[frog]"),
        recipe("categories=[lion]"),
        recipe("categories=[frog, lion]"),
    }
    assert len(found) == 4
    told = compose_recipe(options("categories=[frog]"), backgrounds, 0)["compose"]
    assert json.loads(json.dumps(told["categories"])) == ["frog"]


def test_seed_and_options_change_it_and_what_is_not_used_does_not(recipe):
    """Without contexts, how originals and contexts are mixed."""
    assert len({recipe(), recipe(seed=1), recipe("blend=[hard]"), recipe("instances=[1, 2]")}) == 4
    assert recipe("mix=[3, 1]", "mix_by=image", "background_column=image") == recipe()
