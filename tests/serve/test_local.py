"""Who can reach a server on this machine, and what is told before Ray starts."""

import socket

import pytest
from typer.testing import CliRunner

from tests.conftest import seal_discs
from xpaste_ray.cli import app
from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.serve.local import Address, check_exposure, with_absolute_paths
from xpaste_ray.serve.tokens import VARIABLE as TOKEN


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    seal_discs(folder, {"banana": 2})
    return folder / "pools" / "pool"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("192.0.2.7", False),
     ("example.org", False)],
)  # fmt: skip
def test_only_loopback_goes_without_a_token(host, loopback, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    settings, address = ServeSettings(pool="runs/demo"), Address(host, 8000)
    if loopback:
        assert check_exposure(address, settings).insecure
    else:
        with pytest.raises(ConfigError, match="--token-file, or --insecure"):
            check_exposure(address, settings)


def test_a_token_or_an_explicit_word_opens_to_others(monkeypatch):
    everybody = Address("0.0.0.0", 8000)
    with_file = ServeSettings(pool="runs/demo", token_file="tokens.txt")
    assert not check_exposure(everybody, with_file).insecure
    assert check_exposure(everybody, ServeSettings(pool="runs/demo", insecure=True)).insecure
    monkeypatch.setenv(TOKEN, "a-token-of-enough-characters")
    assert not check_exposure(everybody, ServeSettings(pool="runs/demo")).insecure


def test_a_token_in_the_environment_is_asked_for_on_loopback_too(monkeypatch):
    monkeypatch.setenv(TOKEN, "a-token-of-enough-characters")
    assert not check_exposure(Address("127.0.0.1", 8000), ServeSettings(pool="runs/demo")).insecure


def test_addresses_are_written_as_urls():
    assert Address("127.0.0.1", 80).url == "http://127.0.0.1:80"
    assert Address("::1", 8000).url == "http://[::1]:8000"


def test_what_lies_here_is_found_from_another_folder(pool, tmp_path, monkeypatch):
    monkeypatch.chdir(pool.parent)
    (pool.parent / "mine.yaml").write_text("")
    told = ServeSettings(pool="pool", backgrounds="black", presets=("xpaste", "./mine.yaml"))
    found = with_absolute_paths(told)
    assert found.pool == str(pool) and found.backgrounds == "black"
    assert found.presets == ("xpaste", str(pool.parent / "mine.yaml"))
    assert with_absolute_paths(found) == found
    elsewhere = ServeSettings(pool="s3://bucket/run", backgrounds="embedded:photos")
    assert with_absolute_paths(elsewhere) == elsewhere


def error_of(*arguments):
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)])
    assert isinstance(result.exception, ConfigError), result.output
    return str(result.exception)


def test_what_is_missing_is_told_before_ray_starts(pool, tmp_path):
    assert "holds no sealed pool" in error_of("--pool", tmp_path)
    assert "is not a folder" in error_of("--pool", pool, "--backgrounds", tmp_path / "nothing.json")
    assert "unknown preset 'xpasta'; did you mean 'xpaste'?" in error_of("--pool", pool, "--preset", "xpasta")
    assert "limits.count" in error_of("--pool", pool, "--set", "limits.count=0")
    assert "limits has no 'cont'" in error_of("--pool", pool, "--set", "limits.cont=2")
    assert "recipes.small" in error_of(
        "--pool", pool, "--set", "recipes={small: {preset: xpaste, options: {blend: [glue]}}}"
    )
    assert "cannot be read" in error_of(
        "--pool", pool, "--token-file", tmp_path / "none", "--host", "0.0.0.0"
    )
    assert "--insecure" in error_of("--pool", pool, "--host", "0.0.0.0")


def test_a_port_that_is_taken_is_told(pool):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert "give another --port" in error_of("--pool", pool, "--port", port)
