"""`ray job submit` of the README's command, on a head that `ray start` started."""

import secrets
import urllib.error

import pyarrow.parquet as pq
import pytest

from tests.pipelines.ray_head import HeadNotStarted, ray_head
from xpaste_ray.pool import open_pool

pytestmark = pytest.mark.faults

SMALL = [
    "prompts.per_category=4",
    "sources.diffusion.steps=6",
    "sources.diffusion.unit_size=4",
    "select.min_clip_logit=10",
]
_SHORT_S = 180  # a job that only starts and ends takes about 10 s on an idle machine
_BUILD_S = 400


@pytest.fixture(scope="module")
def head():
    with ray_head({"RAY_AUTH_MODE": "disabled"}) as started:
        yield started


@pytest.fixture
def work(tmp_path):
    """The folder that travels with a job."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "names.txt").write_text("banana\nfrog\n")
    return folder


def _build(out, *overrides):
    command = ["xpaste", "pool", "build", "--preset", "demo", "--categories", "names.txt", "--out", str(out)]
    return [*command, *(f"--set={override}" for override in (*SMALL, *overrides))]


def test_job_builds_a_pool_and_a_second_one_finds_it_done(head, work, tmp_path):
    out = tmp_path / "run"
    done = head.submit("build", work, _build(out), _BUILD_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job 'build' succeeded" in done.stdout and "candidates" in done.stdout  # the log was followed
    assert head.job("build")["driver_exit_code"] == 0
    made = pq.read_table(out / "candidates")["candidate_id"].to_pylist()
    assert len(made) == len(set(made)) == 2 * 4
    pool = open_pool(out)
    assert len(pool) > 0 and {category.name for category in pool.categories} <= {"banana", "frog"}
    again = head.submit("again", work, _build(out), _SHORT_S)
    assert again.returncode == 0 and "done already" in " ".join(again.stdout.split())


@pytest.mark.parametrize(
    ("out", "override", "said"),
    [
        pytest.param("runs/pool", "seed=1", "--out runs/pool: inside a Ray job", id="relative-out"),
        pytest.param(
            "/tmp/xpaste-never", "sources.diffusion.stepz=3", "did you mean 'steps'", id="unknown-setting"
        ),
    ],
)
def test_job_that_must_fail_fails(head, work, request, out, override, said):
    """Ray's command exits with 1 whatever the job's own exit code, which the job server tells."""
    job = request.node.callspec.id
    failed = head.submit(job, work, _build(out, override), _SHORT_S)
    assert failed.returncode == 1 and said in failed.stdout
    told = head.job(job)
    assert told["status"] == "FAILED" and told["driver_exit_code"] == 2


def test_submission_without_the_token_is_refused(work, tmp_path):
    token = tmp_path / "token"
    token.write_text(secrets.token_hex(32))
    with ray_head({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}) as head:
        none = head.submit("none", work, ["true"], _SHORT_S, RAY_AUTH_MODE="disabled")
        assert none.returncode == 1 and "Missing authentication token" in none.stderr
        wrong = head.submit("wrong", work, ["true"], _SHORT_S, RAY_AUTH_TOKEN=secrets.token_hex(32))
        assert wrong.returncode == 1 and "Invalid authentication token" in wrong.stderr
        with pytest.raises(urllib.error.HTTPError) as error:
            head.job("none")
        assert error.value.code == 401
        allowed = head.submit("allowed", work, ["true"], _SHORT_S)
        assert allowed.returncode == 0, allowed.stdout + allowed.stderr


def test_head_without_a_token_does_not_start(tmp_path):
    with (
        pytest.raises(HeadNotStarted, match="no authentication token was found"),
        ray_head({"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}),
    ):
        pass
