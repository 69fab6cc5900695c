"""A new version is rolled in while requests go on."""

import asyncio
import logging
import shutil
import threading

import pytest

from tests.conftest import seal_discs
from tests.serve.asking import NPZ, Asking, arrays
from xpaste_ray.errors import ConfigError
from xpaste_ray.serve import service as service_module
from xpaste_ray.serve.served import Served
from xpaste_ray.serve.service import Order, Service

LOG = logging.getLogger("tests.serve")


@pytest.fixture(scope="module")
def newer(tmp_path_factory, told):
    """Settings with another pool, of lions alone, under another version."""
    folder = tmp_path_factory.mktemp("newer")
    seal_discs(folder, {"lion": 2})
    manifest = folder / "pools" / "pool" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("f" * 16, "e" * 16))
    return told.model_copy(update={"pool": str(folder / "pools/pool")})


@pytest.fixture
def asking(told):
    with Asking(told) as one:
        yield one


def test_a_new_pool_is_served_without_a_failed_request(asking, newer):
    """Requests go on, one after another in four rows, from before the update to after it."""
    versions = []

    async def go():
        done = asyncio.Event()

        async def ask():
            while not (done.is_set() and versions[-1] == "e" * 16):
                answer = await asking.send("POST", "/v1/compose", json={"size": 32}, headers={"accept": NPZ})
                assert answer.status_code == 200, answer.text
                versions.append(answer.headers["x-pool-version"])

        async def update():
            await asyncio.sleep(0.05)
            await asking.service.update(newer)
            done.set()

        async with asyncio.timeout(30):
            await asyncio.gather(update(), *[ask() for _ in range(4)])

    asking.run(go())
    assert set(versions) == {"f" * 16, "e" * 16} and versions == sorted(versions, reverse=True)
    told = asking.get("/v1/pool").json()
    assert (told["pool_version"], told["instances"], told["update"]) == ("e" * 16, 2, "none")
    assert asking.compose(pool_version="f" * 16).status_code == 409


def test_a_request_keeps_the_version_that_it_began_with(asking, told, newer):
    """Its parts that are composed after the update, too."""
    request = {"count": 3, "seed": 8, "size": 1700}
    expected = arrays(asking.compose(NPZ, **request))
    pieces = []
    run = asking.service.cores.run

    async def run_and_update(work, *args, **more):
        found = await run(work, *args, **more)
        if not pieces:
            await asking.service.update(newer)
            assert asking.service.served.versions.pool == "e" * 16
        pieces.append(1)
        return found

    asking.service.cores.run = run_and_update
    answer = asking.compose(NPZ, **request)
    assert len(pieces) >= 2 and answer.headers["x-pool-version"] == "f" * 16
    found = arrays(answer)
    assert set(found) == set(expected) and all((found[name] == expected[name]).all() for name in found)


@pytest.mark.parametrize(
    "changes",
    [{"pool": "nowhere"}, {"presets": ("nobody",)}, {"token_file": "nowhere"}, {"options": {"x": 1}}],
)
def test_what_cannot_be_served_leaves_the_old_version_and_says_so(asking, told, caplog, changes):
    served = asking.service.served
    asking.run(asking.service.update(told.model_copy(update=changes)))
    assert asking.service.served is served and asking.service.tokens.open_to_all
    assert asking.get("/v1/pool").json()["update"] == "failed"
    assert "the old version is served on, the new one cannot be" in caplog.text
    assert asking.compose().status_code == 200


@pytest.mark.parametrize("name", ["index.arrow", "manifest.json"])
def test_a_damaged_pool_leaves_the_old_version_too(asking, told, newer, tmp_path, name):
    shutil.copytree(newer.pool, tmp_path / "pool")
    (file,) = [one for one in (tmp_path / "pool").iterdir() if one.name == name]
    file.write_bytes(file.read_bytes()[:40])
    asking.run(asking.service.update(told.model_copy(update={"pool": str(tmp_path / "pool")})))
    assert asking.service.update_state == "failed" and asking.compose().status_code == 200


def test_a_good_update_after_a_bad_one_mends_it(asking, told, newer):
    asking.run(asking.service.update(told.model_copy(update={"pool": "nowhere"})))
    asking.run(asking.service.update(newer))
    assert asking.get("/v1/pool").json()["update"] == "none"


def test_while_it_is_opened_the_pool_says_loading(asking, newer, monkeypatch):
    end = threading.Event()

    def slowly(settings):
        assert end.wait(20)
        return Served(settings)

    monkeypatch.setattr(service_module, "Served", slowly)

    async def go():
        update = asyncio.create_task(asking.service.update(newer))
        await asyncio.sleep(0.05)
        loading = (await asking.send("GET", "/v1/pool")).json()
        end.set()
        await update
        return loading

    told = asking.run(go())
    assert (told["update"], told["pool_version"]) == ("loading", "f" * 16)
    assert asking.service.served.versions.pool == "e" * 16


def test_of_two_updates_the_newer_one_stays_whichever_is_opened_first(asking, told, newer, monkeypatch):
    end = threading.Event()

    def older_slowly(settings):
        if settings.pool == newer.pool:
            assert end.wait(20)
        return Served(settings)

    monkeypatch.setattr(service_module, "Served", older_slowly)
    newest = told.model_copy(update={"presets": ("xpaste",)})

    async def go():
        older = asyncio.create_task(asking.service.update(newer))
        await asyncio.sleep(0.05)
        await asking.service.update(newest)
        end.set()
        await older

    asking.run(go())
    assert asking.service.served.settings == newest and asking.service.update_state == "none"


def test_the_same_settings_open_nothing_anew(asking, told):
    served = asking.service.served
    asking.run(asking.service.update(told.model_copy()))
    assert asking.service.served is served


def test_options_ceilings_and_tokens_change_without_a_restart(asking, told, tmp_path, monkeypatch):
    file = tmp_path / "tokens"
    file.write_text("a-token-of-a-test-0123")
    limits = told.limits.model_copy(update={"count": 2, "waiting": 0})
    changed = told.model_copy(
        update={"token_file": str(file), "limits": limits, "allow": ("blend",), "threads": 2}
    )
    asking.run(asking.service.update(changed))
    assert asking.compose().status_code == 401
    bearer = {"authorization": "Bearer a-token-of-a-test-0123"}
    assert asking.get("/v1/pool", headers=bearer).json()["limits"]["count"] == 2
    for request in ({"count": 3}, {"options": {"instances": [1, 2]}}):
        assert asking.post("/v1/compose", request, headers=bearer).status_code == 422
    assert asking.post("/v1/compose", {"count": 2}, headers=bearer).status_code == 200


def test_what_cannot_work_is_an_error_at_the_start(told):
    with pytest.raises(ConfigError, match="nowhere"):
        Service(told.model_copy(update={"pool": "nowhere"}), LOG)


def test_an_order_has_one_name_for_one_answer(asking):
    served = asking.service.served
    rules = served.rules(None, {}, None, ())
    order = Order(served, rules, 1, 2, 3)
    assert order.name("application/zip") == Order(served, rules, 1, 2, 3).name("application/zip")
    others = [Order(served, rules, 2, 2, 3), Order(served, rules, 1, 3, 3), Order(served, rules, 1, 2, 4)]
    assert len({one.name("application/zip") for one in [order, *others]} | {order.name("image/png")}) == 5
