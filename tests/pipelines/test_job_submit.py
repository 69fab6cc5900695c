"""`ray job submit` of the README's command, on a head that `ray start` started."""

import secrets
import urllib.error

import pytest

from tests.pipelines.ray_head import HeadNotStarted, ray_head

pytestmark = pytest.mark.faults

_SHORT_S = 90  # a job that only starts and ends takes about 10 s


@pytest.fixture
def work(tmp_path):
    """The folder that travels with a job."""
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "names.txt").write_text("banana\nfrog\n")
    return folder


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
