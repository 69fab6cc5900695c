"""What is asked for comes, as it was composed: by both clients, from the running service."""

import inspect
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from tests.client.servers import COUNTS, TOKEN
from xpaste_ray.client import AsyncComposeClient, ComposeClient, RequestRefused, VersionChanged, Versions
from xpaste_ray.errors import ConfigError

PNG = {"output": {"image": "png"}}


@pytest.fixture
def client(make_client, live):
    return make_client(live.url)


def composed(live, number, size_hw=None, **options):
    """What the service composes, without HTTP; of which COCO's files do not tell LVIS's lists."""
    rules = live.service.served.rules(None, options, size_hw, ())
    made = rules.compositor.with_seed(7).compose(number)
    return replace(made, sample=replace(made.sample, not_exhaustive_category_ids=None))


def test_batch_is_what_was_composed(client, live):
    batch = client.compose(count=3, seed=7, first=5, size=(48, 64), options=PNG)
    assert [one.number for one in batch.samples] == [5, 6, 7]
    for received in batch.samples:
        made = composed(live, received.number, (48, 64), **PNG)
        assert received.image.shape == (48, 64, 3) and np.array_equal(received.image, made.image)
        assert received.sample == made.sample
        assert received.plan["background_id"] == made.plan.background_id
        assert len(received.plan["placements"]) == len(made.plan.placements)
    assert batch.pool_version == live.service.served.versions.pool
    assert batch.backgrounds_version == live.service.served.versions.backgrounds
    assert batch.etag == client.compose(count=3, seed=7, first=5, size=(48, 64), options=PNG).etag
    assert batch.etag != client.compose(count=3, seed=8, first=5, size=(48, 64), options=PNG).etag


def test_objects_have_names_boxes_and_masks(client):
    (received,) = client.compose(seed=7, size=96, options={"instances": [4, 4]}, categories=["frog"]).samples
    assert received.annotations and received.image.dtype == np.uint8
    for one in received.annotations:
        mask = one.mask()
        assert one.category == "frog" and mask.shape == (96, 96) and mask.dtype == bool
        assert mask.sum() == one.annotation.area
        rows, columns = np.nonzero(mask)
        x, y, width, height = one.bbox
        assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.segmentation["size"] == [96, 96] and one.annotation.origin == "pool"


def test_masks_asked_for_as_polygons_are_the_same(client):
    plain = client.compose(count=4, seed=7, options=PNG)
    polygons = client.compose(count=4, seed=7, options={"output": {"image": "png", "polygons": True}})
    assert [s.sample for s in plain.samples] == [s.sample for s in polygons.samples]
    assert sum(len(s.annotations) for s in plain.samples) > 4


def test_plans_can_be_changed_and_rendered(client, live):
    plans = client.plans(count=2, seed=7, first=3)
    assert [plan["sample"] for plan in plans] == [3, 4]
    rendered = client.render(plans[1])
    assert rendered.number == 4 and rendered.plan == plans[1]
    assert rendered.sample == composed(live, 4).sample
    assert client.render(plans[1] | {"placements": []}).annotations == ()


def test_sample_of_a_recipe(client):
    received = client.sample("small", 7, 12)
    assert received.number == 12 and received.image.shape == (48, 64, 3)
    with pytest.raises(RequestRefused, match="no such recipe; these are: small") as refused:
        client.sample("large", 7, 12)
    assert refused.value.status == 404


def test_pool_and_its_instances_page_by_page(client, live):
    assert client.pool()["instances"] == 12 and client.pool()["recipes"] == ["small"]
    counts = {one["name"]: one["instances"] for one in client.categories() if one["instances"]}
    assert counts == COUNTS
    before = len(live.heard)
    found = list(client.instances(page=5))
    assert len(live.heard) - before == 3 and len({one["instance_id"] for one in found}) == 12
    lions = list(client.instances("lion", page=5))
    assert [one["category"] for one in lions] == ["lion"] * 5
    rgba = client.instance_png(lions[0]["instance_id"])
    assert rgba.shape == (lions[0]["height"], lions[0]["width"], 4)
    assert client.instance(lions[0]["instance_id"])["provenance"]["source"] == "hand"


def test_download_is_the_same_zip_as_a_file(client, tmp_path):
    path = client.download(tmp_path / "new" / "batch.zip", count=3, seed=7, first=2)
    with zipfile.ZipFile(path) as files:
        coco = json.loads(files.read("annotations.json"))
    assert [one["id"] for one in coco["images"]] == [3, 4, 5]
    assert [one.name for one in path.parent.iterdir()] == ["batch.zip"]


def test_refusal_tells_fields_and_request_id(client, live):
    before = len(live.heard)
    with pytest.raises(RequestRefused, match="count: must not be above 64") as refused:
        client.compose(count=65)
    error = refused.value
    assert (error.status, error.fields) == (422, (("count", "must not be above 64"),))
    assert error.detail == "count: must not be above 64"
    assert [one.request_id for one in live.heard[before:]] == [error.request_id]  # it was not sent again


def test_misspelt_argument_is_named(client):
    with pytest.raises(RequestRefused, match="cuont: Extra inputs"):
        client.compose(cuont=2)


def test_token_is_the_arguments_or_the_environments(make_client, live, monkeypatch):
    assert make_client(live.url, TOKEN + "\n").pool()["instances"] == 12  # as a file has it
    with pytest.raises(RequestRefused, match="XPASTE_SERVE_TOKEN") as refused:
        make_client(live.url, "not-the-token-of-the-tests").pool()
    assert refused.value.status == 401 and "not-the-token" not in str(refused.value)
    monkeypatch.delenv("XPASTE_SERVE_TOKEN")
    with pytest.raises(RequestRefused, match="401"):
        make_client(live.url).pool()


@pytest.mark.parametrize(
    "url", ["localhost:8000", "http://", "ftp://host", "http://user:pw@host", "http://host/?a=1"]
)
def test_address_that_cannot_be_one_is_refused_at_once(make_client, url):
    with pytest.raises(ConfigError, match="address"):
        make_client(url)


def test_token_that_cannot_be_one_is_refused_and_not_shown(make_client):
    for token in ("two words", "line\nbreak", "naïve-token-naïve"):
        with pytest.raises(ConfigError) as refused:
            make_client("http://host", token)
        assert token not in str(refused.value)


def test_other_pool_version_is_told(client, live):
    with pytest.raises(VersionChanged, match="another version of the pool") as changed:
        client.compose(pool_version="0123456789abcdef")
    assert changed.value.served == live.service.served.versions.pool


def test_pin_holds_given_versions(make_client, live):
    versions = make_client(live.url).compose().versions
    assert make_client(live.url, pin=versions).compose().versions == versions
    other = Versions(versions.pool, "0" * 16, versions.package)
    with pytest.raises(VersionChanged, match="backgrounds version"):
        make_client(live.url, pin=other).compose()


def test_both_clients_have_the_same_methods_in_the_same_words():
    public = {name for name in vars(ComposeClient) if not name.startswith("_")} - {"close"}
    assert public == {name for name in vars(AsyncComposeClient) if not name.startswith("_")} - {"aclose"}
    for name in public:
        told = inspect.getdoc(getattr(ComposeClient, name))
        assert told and told == inspect.getdoc(getattr(AsyncComposeClient, name))
