"""The service as its clients see it, in one process."""

import asyncio
import copy
import json
import threading

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serve.asking import ARROW, FORMS, MULTIPART, NPZ, PLAIN, ZIP, arrays, fields_of
from tests.serve.test_requests import WHOLE
from xpaste_ray.compose.plan import plan_to_row
from xpaste_ray.pool import open_pool

LARGE = {"count": 3, "seed": 5, "size": 1700}  # 2.89 megapixels each, of which two make a part


# --- The same request, the same bytes --------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_same_request_gets_the_same_bytes_after_others_and_by_more_threads(asking, ask_with, form):
    request = {"count": 4, "seed": 9, "options": {"instances": [1, 5], "blend": ["gaussian", "poisson"]}}
    first = asking.compose(form, **request)
    assert first.status_code == 200
    asking.compose(form, **request | {"seed": 10})
    asking.compose(form, count=2, seed=9)
    assert asking.compose(form, **request).content == first.content
    other = ask_with(threads=3)

    async def at_once():
        body = {"headers": {"accept": form}, "json": request}
        return await asyncio.gather(*[other.send("POST", "/v1/compose", **body) for _ in range(5)])

    assert {answer.content for answer in other.run(at_once())} == {first.content}


def test_a_batch_is_its_samples_one_by_one(asking):
    """Four from number 7 on, or two and two."""
    whole = arrays(asking.compose(NPZ, count=4, seed=3, first=7))
    for first in (7, 9):
        for name, array in arrays(asking.compose(NPZ, count=2, seed=3, first=first)).items():
            assert np.array_equal(whole.pop(name), array)
    assert not whole


@pytest.mark.parametrize("form", FORMS)
def test_what_is_too_large_for_one_part_comes_in_several_and_is_the_same(asking, form, monkeypatch):
    chunks = _chunks(asking, form, LARGE)
    assert len(chunks) >= 2
    monkeypatch.setattr("xpaste_ray.compose.compositor._GROUP_PIXELS", 10**9)
    whole = _chunks(asking, form, LARGE)
    assert len(whole) == 1 and whole[0] == b"".join(chunks)
    monkeypatch.setattr("xpaste_ray.compose.compositor._GROUP_PIXELS", 1)
    assert b"".join(_chunks(asking, form, LARGE)) == whole[0]


def test_what_takes_long_to_plan_is_planned_in_several_pieces_and_is_the_same(asking, monkeypatch):
    """Three circles on 0.49 megapixels are foretold to take 20 ms."""
    circles = {"size": {"rule": "circle"}, "place": {"rule": "space-maximize"}, "instances": [3, 3]}
    request = {"count": 3, "size": 700, "options": circles}
    expected = asking.compose(**request)
    plans = asking.post("/v1/plans", request)
    assert expected.status_code == plans.status_code == 200
    ran = _count_pieces(asking, monkeypatch)
    asking.compose(**request)
    assert len(ran) == 1
    monkeypatch.setattr("xpaste_ray.serve.cost._PIECE_S", 1e-3)
    assert asking.compose(**request).content == expected.content
    assert len(ran) == 1 + 3 + 2  # the last of three pieces of plans goes with the first image
    assert asking.post("/v1/plans", request).json() == plans.json()


def _count_pieces(asking, monkeypatch):
    ran, run = [], asking.service.cores.run
    monkeypatch.setattr(
        asking.service.cores, "run", lambda work, *a, **k: ran.append(1) or run(work, *a, **k)
    )
    return ran


def _scope(form=ZIP):
    headers = [(b"content-type", b"application/json"), (b"accept", form.encode())]
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "POST", "path": "/v1/compose", "raw_path": b"/v1/compose", "root_path": "",
        "scheme": "http", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("service", 80),
    }  # fmt: skip


def _receiver(value):
    left = [{"type": "http.request", "body": json.dumps(value).encode(), "more_body": False}]

    async def receive():
        if left:
            return left.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    return receive


def _chunks(asking, form, value):
    """The parts of an answer that have anything in them, as a server gets them."""
    sent = []

    async def send(message):
        sent.append(message)

    asking.run(asking.app(_scope(form), _receiver(value), send))
    assert sent[0]["status"] == 200
    return [message["body"] for message in sent[1:] if message["body"]]


# --- Who waits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stuck", [False, True], ids=["slow", "stuck"])
def test_a_reader_that_is_too_slow_is_left(ask_with, caplog, stuck):
    """It takes a part in 1.5 s, or none at all, and the whole may take 1 s."""
    asking = ask_with(limits={"seconds": 1.0})
    request = {"count": 3, "size": 1700, "options": {"instances": [0, 0]}}

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(30 if stuck else 1.5)

    async def read():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking.app(_scope(), _receiver(request), send), 10)

    with caplog.at_level("INFO", "tests.serve"):
        asking.run(read())
    (heard,) = asking.exchanges
    assert not heard.finished and heard.status == 200 and 0.9 < heard.seconds < 5
    assert [one.levelname for one in caplog.records] == ["INFO"] and "read too slowly" in caplog.text
    assert asking.compose(NPZ, size=32).status_code == 200  # its core is free


def test_a_request_that_takes_too_long_is_told_so_and_its_core_is_free_after_it(ask_with, monkeypatch):
    asking = ask_with(limits={"seconds": 0.2})
    end = threading.Event()
    monkeypatch.setattr("xpaste_ray.serve.app._image", lambda *_: end.wait(20) and b"")
    answer = asking.get("/v1/samples/small/1/1", "image/png")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
    assert answer.json()["detail"] == "this cannot be answered within 0.2 s: ask for less, or again later"
    end.set()
    assert asking.compose(NPZ).status_code == 200


def test_requests_beyond_those_that_may_wait_are_told_to_come_again_and_the_rest_are_served(ask_with):
    asking = ask_with(limits={"waiting": 2})

    async def at_once():
        request = {"json": {"size": 1000, "count": 2}}
        return await asyncio.gather(*[asking.send("POST", "/v1/compose", **request) for _ in range(8)])

    answers = asking.run(at_once())
    found = sorted(answer.status_code for answer in answers)
    assert found == [200] * 3 + [429] * 5
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1 and answer.headers["content-type"] == PLAIN
    assert asking.compose().status_code == 200


def test_health_and_the_pool_are_answered_while_all_cores_are_busy(ask_with):
    asking = ask_with(limits={"waiting": 0})
    end, began = threading.Event(), threading.Event()

    async def look():
        busy = asyncio.create_task(asking.service.cores.run(lambda: began.set() or end.wait(20)))
        while not began.is_set():
            await asyncio.sleep(0.001)
        looked = [
            (await asking.send("GET", path)).status_code
            for path in ("/healthz", "/readyz", "/v1/pool", "/v1/categories", "/v1/instances")
        ]
        composed = await asking.send("POST", "/v1/compose", json={})
        end.set()
        await busy
        return looked, composed.status_code

    assert asking.run(look()) == ([200] * 5, 429)


# --- Plans ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plans(asking):
    """Of a recipe with everything in it, by JSON."""
    request = {"count": 6, "seed": 4, "options": {"copy_rule": "both", "blend": ["motion", "gaussian", "box"],
               "rotation_deg": 90, "colour": {"jitter": [0.2, 0.2, 0.2, 0.1], "probability": 1}}}  # fmt: skip
    answer = asking.post("/v1/plans", request)
    assert answer.status_code == 200 and answer.json()["pool_version"] == "f" * 16
    found = answer.json()["plans"]
    assert [plan["sample"] for plan in found] == list(range(6))
    assert any(plan["copied"] for plan in found) and any(plan["placements"] for plan in found)
    return request, found


def test_a_plan_is_rendered_to_the_very_image_that_is_composed(asking, plans):
    request, found = plans
    composed = arrays(asking.compose(NPZ, **request))
    for plan in found:
        png = asking.post("/v1/render", {"plan": plan}, "image/png")
        assert png.status_code == 200 and png.headers["content-type"] == "image/png"
        image = cv2.cvtColor(cv2.imdecode(np.frombuffer(png.content, np.uint8), 1), cv2.COLOR_BGR2RGB)
        assert np.array_equal(image, composed[f"image_{plan['sample']:06d}"])
        rendered = arrays(asking.post("/v1/render", {"plan": plan}, NPZ))
        for name, array in rendered.items():
            assert np.array_equal(array, composed[name]), name


def test_a_plan_may_name_its_pool_version(asking, plans):
    plan = plans[1][0]
    assert asking.post("/v1/render", {"plan": plan, "pool_version": "f" * 16}).status_code == 200
    assert asking.post("/v1/render", {"plan": plan, "pool_version": "e" * 16}).status_code == 409


@pytest.fixture(scope="module")
def good(asking, plans):
    """A plan with placements and copied objects."""
    return next(plan for plan in plans[1] if plan["copied"] and plan["placements"])


def _with(plan, path, value):
    changed = at = copy.deepcopy(plan)
    *parents, last = path.split(".")
    for name in parents:
        at = at[int(name)] if isinstance(at, list) else at[name]
    at[int(last) if isinstance(at, list) else last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("background_id", "../../etc/passwd", "plan.background_id"),
        ("copied.background_id", "nowhere.jpg", "plan.copied.background_id"),
        ("copied.annotation_ids", [4, 999], "plan.copied.annotation_ids"),
        ("placements.0.instance_id", "../pool", "plan.placements.0.instance_id"),
        ("placements.0.category_id", 1, "plan.placements.0.category_id"),
        ("view.crop_xywh", [0, 0, 1000, 1], "plan.view.crop_xywh"),
        ("view.crop_xywh", [999_999, 0, 1, 1], "plan.view.crop_xywh"),
        ("copied.view.crop_xywh", [0, 60, 5, 50], "plan.copied.view.crop_xywh"),
        ("canvas_hw", [2049, 64], "plan.canvas_hw"),
        ("canvas_hw", [8193, 64], "plan.canvas_hw.0"),
        ("placements.0.size_hw", [100, 10], "plan.placements.0.size_hw"),
        ("placements.0.size_hw", [0, 10], "plan.placements.0.size_hw.0"),
        ("placements.0.top_left_yx", [-(10**7), 0], "plan.placements.0.top_left_yx.0"),
        ("placements.0.angle_deg", float("nan"), "plan.placements.0.angle_deg"),
        ("placements.0.motion", {"length_px": 6, "direction_deg": 0}, "plan.placements.0.motion.length_px"),
        ("placements.0.motion", {"length_px": 5, "direction_deg": float("inf")},
         "plan.placements.0.motion.direction_deg"),
        ("mask_rate", 1e9, "plan.mask_rate"), ("match", [2, 0], "plan.match.0"),
        ("sample", -1, "plan.sample"),
        ("path", "/etc/passwd", "plan.path"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_rendered_is_refused_by_the_field(asking, good, path, value, field):
    answer = asking.post("/v1/render", {"plan": _with(good, path, value)})
    assert fields_of(answer)[0] == field and "passwd" not in answer.text


def test_more_placements_than_any_request_may_have_are_refused(asking, good):
    many = _with(good, "placements", good["placements"][:1] * 101)
    assert fields_of(asking.post("/v1/render", {"plan": many})) == ["plan.placements"]
    most = _with(good, "placements", good["placements"][:1] * 100)
    assert asking.post("/v1/render", {"plan": most}).status_code == 200


def test_a_plan_of_another_pool_is_refused(asking):
    assert fields_of(asking.post("/v1/render", {"plan": json.loads(json.dumps(plan_to_row(WHOLE)))}))


_WILD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.integers(-3, 80), st.floats(),
    st.text(max_size=5),
    st.sampled_from(["alpha", "hard", "poisson", "motion", "box5", 1e400, -0.0, 2**53, 64, 63, 0.5]),
    st.lists(st.integers(-5, 70), max_size=4), st.just({}), st.just([]),
)  # fmt: skip


def _paths(value, prefix=()):
    """Of everything in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield (*prefix, name)
        yield from _paths(one, (*prefix, name))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_change_of_a_plan_fails_in_any_other_way(asking, good, data):
    """One to three values anywhere in it become anything: it is rendered or refused."""
    plan = copy.deepcopy(good)
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(sorted(_paths(plan), key=repr)))
        at = plan
        for name in parents:
            at = at[name]
        at[last] = data.draw(_WILD)
    answer = asking.post("/v1/render", {"plan": plan}, data.draw(st.sampled_from(["image/png", ZIP, NPZ])))
    assert answer.status_code in (200, 422), (answer.status_code, answer.text[:300], plan)


# --- ETags and versions ---------------------------------------------------------------------------


def test_equal_requests_have_one_etag_and_every_other_another(asking, ask_with, place):
    base = {"count": 2, "seed": 3}

    def tag(app=asking, form=ZIP, **changes):
        answer = app.compose(form, **base | changes)
        assert answer.status_code == 200 and answer.headers["vary"] == "Accept"
        return answer.headers["etag"]

    different = [
        tag(), tag(seed=4), tag(first=1), tag(count=1), tag(form=NPZ), tag(form=ARROW), tag(form=MULTIPART),
        tag(options={"blend": ["hard"]}), tag(size=32), tag(size=[32, 64]), tag(categories=["frog"]),
        tag(preset="xpaste"), tag(options={"output": {"quality": 50}}),
        tag(ask_with(backgrounds="#808080")),
        tag(ask_with(options={"canvas.size_hw": [64, 64], "instances": [1, 1]})),
    ]  # fmt: skip
    assert len(set(different)) == len(different)
    assert tag() == tag(preset="demo") == tag(size=64) == tag(options={}) == tag(pool_version="f" * 16)
    assert tag(categories=["frog", "lion"]) == tag(categories=["lion", "frog", "frog"])
    assert all(one.startswith('"') and one.endswith('"') for one in different)


def test_answers_say_which_versions_made_them(asking):
    for answer in (asking.compose(), asking.post("/v1/plans", {}), asking.get("/v1/samples/small/1/1")):
        assert answer.headers["x-pool-version"] == "f" * 16
        assert answer.headers["x-package-version"] and answer.headers["x-backgrounds-version"]
    assert asking.exchanges[-1].told == {"count": 1, "pool_version": "f" * 16}


@pytest.mark.parametrize("path", ["/v1/samples/small/7/3", "/v1/instances/{}.png"])
def test_what_a_cache_has_is_not_sent_again_nor_composed(asking, path, monkeypatch):
    path = path.format(asking.get("/v1/instances").json()["instances"][0]["instance_id"])
    first = asking.get(path)
    etag = first.headers["etag"]
    ran = _count_pieces(asking, monkeypatch)
    for told in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = asking.get(path, headers={"if-none-match": told})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert ran == []
    assert asking.get(path, headers={"if-none-match": '"other"'}).content == first.content and len(ran) == 1


def test_a_sample_differs_by_seed_index_recipe_and_form(asking):
    paths = ["/v1/samples/small/7/3", "/v1/samples/small/8/3", "/v1/samples/small/7/4"]
    answers = [asking.get(path) for path in paths] + [asking.get(paths[0], "image/png")]
    assert len({answer.headers["etag"] for answer in answers}) == 4 == len({a.content for a in answers})


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_sample_may_be_an_image_alone(asking, kind):
    answer = asking.get("/v1/samples/small/7/3", f"image/{kind}")
    assert answer.headers["content-type"] == f"image/{kind}"
    image = cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1)
    if kind == "png":
        expected = arrays(asking.get("/v1/samples/small/7/3", NPZ))["image_000003"]
        assert np.array_equal(image[..., ::-1], expected)
    assert image.shape == (64, 64, 3)


def test_another_pool_version_is_a_conflict_that_says_which_is_served(asking):
    for answer in (
        asking.compose(pool_version="0" * 16),
        asking.post("/v1/plans", {"pool_version": "0" * 16}),
        asking.get("/v1/samples/small/1/1?pool_version=0000"),
    ):
        assert answer.status_code == 409 and answer.json()["pool_version"] == "f" * 16
    assert asking.compose(pool_version="f" * 16).status_code == 200


def test_accept_decides_the_form(asking):
    assert asking.compose("application/x-npz;q=0.2, application/zip;q=0.9").headers["content-type"] == ZIP
    assert asking.compose("application/zip;q=0.2, */*;q=0.9").headers["content-type"] == ARROW
    assert asking.get("/v1/samples/small/1/1", "image/*").headers["content-type"] == "image/png"
    answer = asking.compose("text/html, image/png")
    assert answer.status_code == 406 and ZIP in answer.json()["detail"]


def test_an_answer_has_a_file_name(asking):
    told = asking.compose(NPZ, count=2, seed=3, first=4).headers["content-disposition"]
    assert told == 'attachment; filename="xpaste-3-4-2.npz"'


# --- Ceilings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"count": 65}, "count"), ({"count": 10**9}, "count"), ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"size": 2049}, "size"), ({"size": 0}, "size"), ({"count": 64, "size": 1001}, "count"),
        ({"options": {"instances": [0, 101]}}, "options.instances"),
        ({"options": {"size": {"table": "/etc/passwd"}}}, "options.size.table"),
        ({"options": {"backgrounds": "/etc"}}, "options.backgrounds"),
        ({"options": {"resources": {}, "nothing": 1}}, "options.nothing"),
        ({"options": {"size": {"factor": [1e7, 1e8]}}}, "options.size.factor"),
        ({"categories": ["frogs"]}, "categories"), ({"preset": "x" * 101}, "preset"),
        ({"preset": "../xpaste.yaml"}, "preset"), ({"prompt": "x" * 10**6}, "prompt"),
        ({"x" * 10**6: 1}, None), ({"options": {"x" * 10**6: 1}}, None),
        ({"options": {"category": {"rule": "weights", "weights": {"x" * 10**6: 1}}}}, "options"),
        ({"categories": ["x"] * 2001}, "categories"), ([], "body"), (1, "body"), (None, "body"),
        ("x", "body"),
    ],
)  # fmt: skip
def test_a_request_beyond_a_ceiling_is_refused_by_its_field(asking, place, request_, field):
    answer = asking.post("/v1/compose", request_)
    told = fields_of(answer)
    assert field is None or told[0].split(".constrained")[0].split(".tuple")[0] == field
    assert str(place) not in answer.text and len(answer.content) < 5000


def test_unknown_categories_are_told_with_what_is_meant(asking):
    answer = asking.compose(categories=["lion", "frgo"])
    assert fields_of(answer) == ["categories"] and "did you mean 'frog'" in answer.json()["detail"]


def test_only_the_categories_that_are_named_are_pasted(asking):
    ids = {one["name"]: one["id"] for one in asking.get("/v1/categories").json()["categories"]}
    found = arrays(asking.compose(NPZ, count=8, categories=["frog", "frog"], options={"instances": [3, 3]}))
    pasted = [
        label
        for number in range(8)
        for label, is_pasted in zip(found[f"labels_{number:06d}"], found[f"pasted_{number:06d}"], strict=True)
        if is_pasted
    ]
    assert len(pasted) > 8 and set(pasted) == {ids["frog"]}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[1,", b'{"seed": NaN}', b'{"seed": Infinity}', b'{"seed": 1e400}',
        b'{"seed": 1' + b"0" * 5000 + b"}", b'{"seed": "\\ud800"}', b'{"preset": "\\ud800"}',
        b'{"options": {"\\ud800": 1}}',
        b'{"options": {"blend": ["\\ud800"]}}', b'{"categories": ["\\ud800"]}',
        b'{"options": {"blend": NaN}}',
        b"[" * 100_000, b'{"options":' * 50_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"options":' + b'{"size":' * 400 + b"1" + b"}" * 401,
        b'{"options":' + b'{"size":' * 950 + b"1" + b"}" * 951,
        b'{"options": {"blend":' + b"[" * 400 + b"]" * 400 + b"}}",
        b'{"options": {"blend":' + b"[" * 950 + b"]" * 950 + b"}}",
        b'{"options": {"category": {"weights":' + b'{"size":' * 900 + b"1" + b"}" * 903,
        b'{"seed": 1, "seed": -1}', b"\x00", b'{"preset": "\\u0000"}', b"null",
    ],
)  # fmt: skip
def test_no_body_makes_the_service_fail(asking, body):
    answer = asking.post("/v1/compose", body)
    assert answer.status_code in (400, 422), (answer.status_code, answer.text[:200])
    assert answer.headers["content-type"] == PLAIN and "Traceback" not in answer.text


def test_images_as_they_are_keep_to_the_ceilings_too(ask_with):
    """Backgrounds of 48 x 64, 40 x 60 and 64 x 48 px: 2,400 to 3,072 pixels."""
    kept = {"options": {"canvas": {"fit": "keep"}}}
    asking = ask_with(limits={"megapixels": 0.01})
    assert asking.compose(NPZ, count=3, **kept).status_code == 200
    answer = asking.compose(NPZ, count=6, **kept)
    assert fields_of(answer) == ["count"]
    assert "must not have more than 0.01 megapixels" in answer.json()["detail"]
    assert fields_of(asking.post("/v1/plans", {"count": 6, **kept})) == ["count"]


# --- Problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/v1/samples/none/1/1", 404), ("GET", "/v1/instances/none", 404),
        ("GET", "/v1/instances/none.png", 404), ("GET", "/v1/instances?category=frogs", 404),
        ("GET", "/v1/compose", 405), ("DELETE", "/v1/pool", 405), ("PUT", "/v1/render", 405),
        ("POST", "/", 415),
        ("GET", "/v1/samples/small/-1/1", 422), ("GET", "/v1/samples/small/x/1", 422),
        ("GET", f"/v1/samples/small/{2**63}/1", 422), ("GET", f"/v1/samples/small/1/{2**53}", 422),
        ("GET", "/v1/instances?limit=0", 422), ("GET", "/v1/instances?limit=1001", 422),
        ("GET", "/v1/instances?offset=-1", 422), ("GET", f"/v1/instances?offset={2**53}", 422),
        ("GET", "/v1/instances/" + "x" * 1025, 422),
        ("GET", "/v1/samples/small/1/1?pool_version=" + "x" * 101, 422),
        ("GET", "/v1/instances/..%2F..%2Fetc%2Fpasswd", 404), ("GET", "/v1/samples/..%2f/1/1", 404),
        ("GET", "/v1/instances/%00%ff", 404), ("POST", "/v1/compose", 415),
    ],
)  # fmt: skip
def test_every_error_is_problem_details_with_the_id_of_the_log(asking, place, method, path, status):
    answer = asking.run(asking.send(method, path))
    heard = asking.exchanges[-1]
    assert answer.status_code == status == heard.status, answer.text
    assert answer.headers["content-type"] == PLAIN
    told = answer.json()
    assert told["status"] == status and told["request_id"] == heard.request_id and told["detail"]
    assert (
        "Traceback" not in answer.text
        and str(place) not in answer.text
        and "site-packages" not in answer.text
    )
    if status == 405:
        assert answer.headers["allow"]


def test_did_you_mean_also_for_a_filter(asking):
    assert "did you mean 'frog'" in asking.get("/v1/instances?category=frogs").json()["detail"]
    assert "small" in asking.get("/v1/samples/none/1/1").json()["detail"]


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_is_no_json_is_refused(asking, media_type):
    answer = asking.post("/v1/compose", {"seed": 1}, headers={"content-type": media_type})
    assert answer.status_code in (415, 422) and answer.headers["content-type"] == PLAIN


def test_a_failure_is_in_the_log_and_not_in_the_answer(asking, monkeypatch, caplog, place):
    def fail(*_):
        raise RuntimeError(f"no room in {place}")

    monkeypatch.setattr("xpaste_ray.serve.app._image", fail)
    answer = asking.get("/v1/samples/small/1/1", "image/png", headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500 and answer.headers["content-type"] == PLAIN
    assert answer.json()["request_id"] == "mine-1" == asking.exchanges[-1].request_id
    assert "RuntimeError" not in answer.text and str(place) not in answer.text
    (record,) = (one for one in caplog.records if one.name == "tests.serve")
    assert "mine-1" in record.getMessage() and "no room in" in str(record.exc_info[1])
    monkeypatch.undo()
    assert asking.get("/v1/samples/small/1/1", "image/png").status_code == 200


def test_a_failure_of_one_request_leaves_those_beside_it_alone(asking):
    async def at_once():
        bodies = [b'{"seed": 1}', b'{"seed": NaN}', b"\xff", b'{"seed": 2}', b"[" * 10_000]
        head = {"content-type": "application/json"}
        return await asyncio.gather(
            *[asking.send("POST", "/v1/compose", content=body, headers=head) for body in bodies]
        )

    assert [answer.status_code for answer in asking.run(at_once())] == [200, 422, 422, 200, 400]


# --- The pool -------------------------------------------------------------------------------------


def test_the_pool_is_told_with_what_may_be_asked_for(asking):
    told = asking.get("/v1/pool").json()
    assert (told["instances"], told["categories"], told["backgrounds"]) == (12, 3, 3)
    assert told["presets"] == ["demo", "xpaste"] and told["recipes"] == ["small"] and told["update"] == "none"
    assert told["limits"]["count"] == 64 and "blend" in told["allow"] and "size.table" not in told["allow"]


def test_categories_are_told_with_how_many_instances_each_has(asking):
    told = asking.get("/v1/categories").json()["categories"]
    counts = {one["name"]: one["instances"] for one in told}
    assert counts == {"banana": 4, "frog": 3, "lion": 5, "cat": 0, "dog": 0, "cup": 0}


def test_pages_of_instances_are_all_of_them_once(asking):
    found, offset = [], 0
    while offset is not None:
        page = asking.get(f"/v1/instances?limit=5&offset={offset}").json()
        assert page["total"] == 12 and len(page["instances"]) <= 5
        found += [one["instance_id"] for one in page["instances"]]
        offset = page["next_offset"]
    assert found == list(asking.service.served.pool.instance_ids) and len(set(found)) == 12
    assert asking.get("/v1/instances?offset=99999").json()["instances"] == []


def test_instances_may_be_of_one_category(asking):
    page = asking.get("/v1/instances?category=frog&limit=2").json()
    assert page["total"] == 3 and page["next_offset"] == 2
    assert {one["category"] for one in page["instances"]} == {"frog"}
    assert asking.get("/v1/instances?category=dog").json()["total"] == 0  # of the backgrounds only


def test_an_instance_is_its_pixels_and_where_it_comes_from(asking, place):
    (one,) = asking.get("/v1/instances?category=lion&limit=1").json()["instances"]
    png = asking.get(f"/v1/instances/{one['instance_id']}.png")
    rgba = cv2.cvtColor(cv2.imdecode(np.frombuffer(png.content, np.uint8), -1), cv2.COLOR_BGRA2RGBA)
    pool = open_pool(str(place / "run/pools/pool"))
    assert np.array_equal(rgba, pool.instance(pool.row_of_id[one["instance_id"]]).rgba)
    told = asking.get(f"/v1/instances/{one['instance_id']}").json()
    assert told["category"] == "lion" and told["provenance"]["text"] == "a photo of lion"
    assert str(place) not in json.dumps(told)
