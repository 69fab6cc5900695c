import base64
import hmac
import os

import pytest

from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.serve.tokens import VARIABLE, Tokens

FIRST, SECOND = "first-" + "1" * 16, "second-" + "2" * 16


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def clock(monkeypatch):
    """clock[0]: the time in seconds."""
    now = [100.0]
    monkeypatch.setattr("xpaste_ray.serve.tokens.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"{FIRST}\n\n  {SECOND}  \n")
    return path


def _tokens(file=None, **more):
    return Tokens(ServeSettings(pool="p", token_file=str(file) if file else None, **more))


def _basic(password, user="anyone"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("token", [FIRST, SECOND])
def test_any_line_of_the_file_opens_as_bearer_or_as_a_browsers_password(file, token):
    tokens = _tokens(file)
    assert tokens.admits(f"Bearer {token}") and tokens.admits(f"bearer  {token} ")
    assert tokens.admits(_basic(token)) and tokens.admits(_basic(token, user=""))


@pytest.mark.parametrize(
    "told",
    [
        None, "", "Bearer", "Bearer ", FIRST, f"Bearer {FIRST[:-1]}", f"Bearer {FIRST}x", f"Token {FIRST}",
        f"Bearer {FIRST}\n{SECOND}", "Basic", "Basic !!!",
        "Basic " + base64.b64encode(FIRST.encode()).decode(),
        _basic("wrong"), _basic(""), "Bearer é", "Bearer " + "x" * 10_000,
    ],
)  # fmt: skip
def test_nothing_else_opens(file, told):
    assert not _tokens(file).admits(told)


def test_every_known_token_is_compared_whatever_is_told(file, monkeypatch):
    """So the time does not tell which one was nearly right, or that the first was."""
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *pair: compared.append(pair) or real(*pair))
    for told in (f"Bearer {FIRST}", f"Bearer {SECOND}", "Bearer wrong", "Bearer", None, "Basic !!!"):
        compared.clear()
        _tokens(file).admits(told)
        assert len(compared) == 2


def test_a_token_that_was_taken_out_is_refused_a_second_later(file, clock):
    tokens = _tokens(file)
    file.write_text(SECOND)
    os.utime(file, ns=(1, 1))  # another time than before, on any clock
    clock[0] += 0.9
    assert tokens.admits(f"Bearer {FIRST}")
    clock[0] += 0.2
    assert not tokens.admits(f"Bearer {FIRST}") and tokens.admits(f"Bearer {SECOND}")


@pytest.mark.parametrize("damage", ["unlink", "empty", "short"])
def test_a_file_that_is_gone_or_no_good_opens_to_nobody_until_it_is_well_again(file, clock, damage):
    tokens = _tokens(file)
    file.unlink() if damage == "unlink" else file.write_text({"empty": "\n", "short": "abc"}[damage])
    clock[0] += 2
    assert not tokens.admits(f"Bearer {FIRST}") and not tokens.admits("Bearer ") and not tokens.admits(None)
    file.write_text(FIRST)
    clock[0] += 2
    assert tokens.admits(f"Bearer {FIRST}")


def test_the_variable_is_the_token_where_there_is_no_file(file, monkeypatch):
    monkeypatch.setenv(VARIABLE, f" {FIRST}\n")
    assert _tokens().admits(f"Bearer {FIRST}") and not _tokens().admits(f"Bearer {SECOND}")
    file.write_text(SECOND)
    assert not _tokens(file).admits(f"Bearer {FIRST}")


def test_a_token_is_wanted_also_of_the_insecure_if_one_is_given(file):
    assert not _tokens(file, insecure=True).admits(None)


def test_without_a_token_only_the_insecure_serve(monkeypatch):
    assert _tokens(insecure=True).admits(None)
    with pytest.raises(ConfigError, match=f"there is no token: give token_file, or set {VARIABLE}"):
        _tokens()
    monkeypatch.setenv(VARIABLE, "  ")
    with pytest.raises(ConfigError, match="there is no token"):
        _tokens()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no token: write one a line"),
        (" \n\n", "holds no token"),
        ("fifteen-letters", "a token has 16 characters at least"),
        (f"{FIRST}\nshort", "a token has 16 characters at least"),
        (b"\xff" * 20, "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_cannot_work_is_an_error_that_says_no_token(tmp_path, text, message):
    file = tmp_path / "tokens"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=message) as raised:
        _tokens(file)
    assert "letters" not in str(raised.value) and FIRST not in str(raised.value)
