"""Sources `web` and `search` in whole runs on a real Ray, against a real server."""

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from tests.backgrounds.material import encoded
from tests.standins import code
from tests.web.server import answer, serving
from xpaste_ray.config import PoolSettings, WebSource, load
from xpaste_ray.errors import ConfigError
from xpaste_ray.fingerprints import hash_bytes
from xpaste_ray.pictures.decode import decode
from xpaste_ray.pipelines.build import BuildOptions, build_pool, plan_pool
from xpaste_ray.pipelines.host_pace import RemotePace
from xpaste_ray.pipelines.stage_code import StageCode
from xpaste_ray.pipelines.steps import plan_steps, resolve_inputs
from xpaste_ray.pipelines.verify import verify_pool
from xpaste_ray.records import Candidate, Prompt
from xpaste_ray.report import ConsoleProgress
from xpaste_ray.runs import RunDir
from xpaste_ray.sources import search as search_module
from xpaste_ray.stages.fetch import FetchStage

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("banana", "frog")
PER_CATEGORY = 4  # in units of two: an image of each category


class Score:
    """A stand-in that likes everything."""

    def __call__(self, candidates):
        return [
            replace(one, proposals=tuple(replace(p, scores=(("clip_logit", 90.0),)) for p in one.proposals))
            for one in candidates
        ]


STAND_INS = {"segment": code()["segment"], "score": StageCode(f"{__name__}:Score", {})}


@pytest.fixture(scope="module")
def cluster():
    """The address of a Ray for all drivers of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        running = Cluster(True, head_node_args={"num_cpus": 8, "object_store_memory": 200 * 1024**2})
        patch.setenv("RAY_ADDRESS", running.address)
        yield running.address
        ray.shutdown()
        running.shutdown()


@pytest.fixture
def server():
    with serving() as running:
        yield running


def photo(name, turn):
    """A shipped object on grey, each turn in another place."""
    shipped = {"banana": "0045_banana.webp", "frog": "0475_frog.webp"}[name]
    cut = decode((ROOT / "xpaste_ray" / "embedded" / "objects" / shipped).read_bytes())
    image = np.full((128, 160, 3), 255, np.uint8)
    cut = cv2.resize(cut, (80, 80), interpolation=cv2.INTER_AREA)
    image[20:100, 10 + 10 * turn : 90 + 10 * turn] = cut
    return encoded(image, "PNG")


def publish(server, slow=()):
    """PER_CATEGORY photographs of each name; those in `slow` come after a second."""

    def handler(path, body):
        async def write(asked, writer):
            if path in slow:
                await asyncio.sleep(1.0)
            await answer(body)(asked, writer)

        return write

    for name in NAMES:
        for turn in range(PER_CATEGORY):
            path = f"/{name}/{turn}.png"
            server.routes[path] = handler(path, photo(name, turn))


def write_list(server, path):
    lines = ["url,category,licence,page"]
    for name in NAMES:
        lines += [
            f"{server.url(f'/{name}/{turn}.png')},{name},cc0,https://x/{turn}" for turn in range(PER_CATEGORY)
        ]
    path.write_text("\n".join(lines) + "\n")
    return path


def options_of(source, *more):
    usual = "unit_size: 2, requests_per_host_s: 1000, allow_private: true, timeout_s: 5, retries: 0"
    return [
        f"sources={{web: {{{source}, {usual}}}}}",
        f"categories.names=[{','.join(NAMES)}]",
        f"prompts.per_category={PER_CATEGORY}",
        *(f"resources.{stage}.actors=1" for stage in ("source", "segment", "score", "fetch")),
        "select.min_clip_logit=0",
        "select.max_area_fraction=1",
        "select.min_area_fraction=0",
        *more,
    ]


def web(path, *more):
    return options_of(f"kind: web, list: {path}", *more)


class Told:
    def __init__(self):
        self.lines, self.done = [], {}

    def begin(self, totals, unit):
        pass

    def advance(self, stage, done, state=None):
        self.done[stage] = done

    def say(self, text):
        self.lines.append(text)


def build(out, options, stages=STAND_INS, **told):
    progress = Told()
    settings = load(PoolSettings, "demo", options)
    return build_pool(settings, Path(out), progress, BuildOptions(code=stages, **told)), progress


def drive(out, options):
    """The same, in a process of its own."""
    program = f"from {__name__} import build; import sys; build(sys.argv[1], sys.argv[2:])"
    return subprocess.Popen(
        [sys.executable, "-c", program, str(out), *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


def files(out):
    found = (
        path for path in out.rglob("*") if path.is_file() and path.name not in ("run.json", ".lease.json")
    )
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def stored(out):
    """URLs whose bytes the run has."""
    tables = [pq.ParquetFile(path).read() for path in out.glob("fetched/*/*.parquet")]
    return {row["url"] for table in tables for row in table.to_pylist() if row["body"] is not None}


@pytest.mark.timeout(150)
def test_list_becomes_a_pool(server, cluster, tmp_path):
    """With GrabCut and the embedded CLIP."""
    publish(server)
    out = tmp_path / "run"
    summary, _ = build(
        out, web(write_list(server, tmp_path / "urls.csv"), "prompts.per_category=2"), stages={}
    )
    assert summary.counts["candidates"] == {"made": 4, "kept": 4, "rejected": {}}
    rows = pq.ParquetFile(out / "candidates" / "00001" / "unit-00000.parquet").read().to_pylist()
    assert [(row["category"], row["uri"], row["licence"], row["page"]) for row in rows] == [
        (name, server.url(f"/{name}/1.png"), "cc0", "https://x/1") for name in NAMES
    ]
    assert [row["content_hash"] for row in rows] == [hash_bytes(photo(name, 1)) for name in NAMES]
    assert verify_pool(RunDir(out), ConsoleProgress()) == []


@pytest.mark.faults
@pytest.mark.timeout(150)
def test_killed_run_goes_on_without_asking_for_stored_bytes_again(server, cluster, tmp_path):
    """And makes what a run makes that nobody killed."""
    publish(server, slow=[f"/{name}/{turn}.png" for name in NAMES for turn in (2, 3)])
    options = web(write_list(server, tmp_path / "urls.csv"))
    out = tmp_path / "run"
    driver = drive(out, options)
    deadline = time.monotonic() + 90
    while len(stored(out)) < 4:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.communicate()
    time.sleep(2.5)  # what its actors were fetching may still land
    kept = stored(out)
    assert len(kept) >= 4
    build(out, options)
    assert len(stored(out)) == 8
    assert {url: server.count(url.partition(str(server.port))[2]) for url in kept} == dict.fromkeys(kept, 1)
    build(tmp_path / "undisturbed", options)
    assert files(out) == files(tmp_path / "undisturbed")


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_failures_are_counted_by_reason_and_passing_ones_tried_again_when_asked(server, cluster, tmp_path):
    publish(server)
    fine = server.routes.pop("/frog/1.png")
    server.routes["/frog/1.png"] = answer(b"", 503)
    server.routes["/frog/2.png"] = answer(b"<html>")
    path = write_list(server, tmp_path / "urls.csv")
    path.write_text(path.read_text().replace("/banana/3.png", "/gone.png") + "file:///etc/passwd,frog,,\n")
    out = tmp_path / "run"
    summary, told = build(out, web(path))
    assert summary.counts["candidates"]["rejected"] == {"http_404": 1, "http_503": 1, "unsupported_format": 1}
    assert any("1 unusable URL left out: 'file:///etc/passwd'" in line for line in told.lines)
    before = len(server.asked)
    assert build(out, web(path))[0].already_done
    server.routes["/frog/1.png"] = fine
    summary, _ = build(
        out, web(path, "sources.web.timeout_s=20"), retry_failed=True
    )  # more patience is no other run
    assert summary.counts["candidates"]["rejected"] == {"http_404": 1, "unsupported_format": 1}
    assert [asked.path for asked in server.asked[before:]] == ["/frog/1.png"]


def _source_recipe(path, option="unit_size: 2"):
    source = f"sources={{web: {{kind: web, list: {path}, {option}}}}}"
    options = [source, f"categories.names=[{','.join(NAMES)}]"]
    return plan_steps(resolve_inputs(load(PoolSettings, "demo", options)))["source"]


def test_changed_list_is_another_run_and_more_patience_is_not(server, tmp_path):
    path, moved = write_list(server, tmp_path / "urls.csv"), write_list(server, tmp_path / "moved.csv")
    first = _source_recipe(path)
    assert _source_recipe(moved) == first
    for option in ("timeout_s: 20", "retries: 5", "requests_per_host_s: 1", "connections: 2", "contact: me"):
        assert _source_recipe(path, f"unit_size: 2, {option}") == first
    for option in ("max_side_px: 512", "min_side_px: 128", "max_bytes: 5000", "max_redirects: 0"):
        assert _source_recipe(path, f"unit_size: 2, {option}") != first
    path.write_text(path.read_text().replace("/banana/3.png", "/banana/2.png"))
    assert _source_recipe(path) != first


@pytest.fixture
def engine(server, monkeypatch):
    """An Openverse that finds the server's own bananas, and no frogs."""
    monkeypatch.setattr(search_module, "_REQUESTS_PER_S", 1000.0)

    async def write(asked, writer):
        results = []
        if "q=banana" in asked.query:
            results = [
                f'{{"url": "{server.url(f"/banana/{turn}.png")}", "license": "by", "license_version": "2.0", '
                f'"foreign_landing_url": "https://x/{turn}"}}'
                for turn in range(PER_CATEGORY)
            ]
        body = f'{{"result_count": {len(results)}, "page_count": 1, "results": [{", ".join(results)}]}}'
        await answer(body.encode())(asked, writer)

    server.routes["/v1/images/"] = write
    return f"kind: search, engine: openverse, address: '{server.url('/v1/images/')}'"


@pytest.mark.faults
@pytest.mark.timeout(120)
def test_run_searches_once_and_more_images_later_only_add_to_it(server, engine, cluster, tmp_path):
    publish(server)
    out = tmp_path / "run"
    summary, told = build(out, options_of(engine, "prompts.per_category=2"))
    assert summary.counts["candidates"] == {"made": 2, "kept": 2, "rejected": {}}
    assert any("no URL for 1 of 2 categories: 'frog'" in line for line in told.lines)
    assert told.done["search web"] == 2
    assert [asked.query.split("&")[0] for asked in server.asked if asked.path == "/v1/images/"] == [
        "q=banana", "q=frog"
    ]  # fmt: skip
    assert build(out, options_of(engine, "prompts.per_category=2"))[0].already_done
    assert server.count("/v1/images/") == 2
    first = files(out)
    summary, _ = build(out, options_of(engine))
    assert summary.counts["candidates"]["made"] == 4
    assert server.count("/v1/images/") == 4
    later = files(out)
    kept = [name for name in first if name.startswith(("candidates/", "fetched/"))]
    assert len(kept) == 4 and all(later[name] == first[name] for name in kept)
    assert server.count("/banana/0.png") == 1


def test_search_without_a_run_says_what_to_use(engine):
    with pytest.raises(ConfigError, match="only `xpaste pool build` searches: use it, or give what"):
        resolve_inputs(load(PoolSettings, "demo", options_of(engine)))


def test_plan_of_a_search_searches_nothing_and_writes_nothing(server, engine, cluster, tmp_path):
    told = Told()
    plan_pool(load(PoolSettings, "demo", options_of(engine)), tmp_path / "run", told)
    assert server.asked == []
    assert not (tmp_path / "run").exists()
    assert any("2 categories not searched yet" in line for line in told.lines)


@pytest.mark.timeout(120)
def test_hosts_are_asked_so_often_by_all_actors_together(server, cluster, tmp_path):
    """20 a second, by two actors that would each do 20."""
    server.routes["/a"] = answer(photo("frog", 0))
    settings = WebSource(
        kind="web", list="urls.csv", requests_per_host_s=20, allow_private=True, retries=0, timeout_s=5
    )
    if not ray.is_initialized():
        ray.init(address=cluster, log_to_driver=False)

    @ray.remote(num_cpus=0.5)
    class Actor:
        def __init__(self, run, pace):
            self.stage = FetchStage(settings, run, pace)

        def ready(self):
            return True

        def fetch(self, unit, given):
            self.stage.begin_unit(unit)
            return [one.reason for one in self.stage(given)]

    pace = RemotePace(settings.requests_per_host_s)
    actors = [Actor.remote(RunDir(tmp_path), pace) for _ in range(2)]
    ray.get([actor.ready.remote() for actor in actors])
    given = [Candidate(Prompt(f"1-{i}-x", 1, "frog", i, "web", uri=server.url("/a"))) for i in range(10)]
    done = ray.get([actor.fetch.remote(f"00000/unit-0000{n}", given) for n, actor in enumerate(actors)])
    assert done == [[None] * 10] * 2
    moments = sorted(asked.at_s for asked in server.asked)
    assert len(moments) == 20
    assert moments[-1] - moments[0] >= 19 / 20 - 0.1
    assert all(later - first >= 0.5 - 0.1 for first, later in zip(moments, moments[10:], strict=False))
