"""Who may ask: bearer tokens, from a file or the environment."""

import base64
import binascii
import hmac
import os
import time
from pathlib import Path

from xpaste_ray.config.serve import ServeSettings
from xpaste_ray.errors import ConfigError

VARIABLE = "XPASTE_SERVE_TOKEN"
_LOOK_AGAIN_S = 1.0
_SHORTEST = 16  # characters


class Tokens:
    """Any of a few tokens opens. A file is read again when it changes: a token that was taken out of it is
    refused a second later, and a file that is gone opens to nobody."""

    def __init__(self, settings: ServeSettings) -> None:
        """ConfigError if there is no token and nobody said that none is wanted, or if one is too short."""
        self._file = Path(settings.token_file) if settings.token_file else None
        self._looked, self._stamp = 0.0, (0, 0)
        self._known: tuple[bytes, ...] = ()
        self.open_to_all = False
        if self._file is not None:
            self._known, self._stamp = _read(self._file), _stamp(self._file)
            self._looked = time.monotonic()
        elif told := os.environ.get(VARIABLE, "").strip():
            self._known = (_checked(told, VARIABLE),)
        elif settings.insecure:
            self.open_to_all = True
        else:
            raise ConfigError(
                f"there is no token: give token_file, or set {VARIABLE}, or insecure: true where nobody else "
                "can reach the service"
            )

    def admits(self, authorization: str | None) -> bool:
        """authorization: the header; `Bearer TOKEN`, or `Basic` with the token as the password, as browsers
        send it. Every comparison takes the same time whatever the token."""
        if self.open_to_all:
            return True
        told = _token_of(authorization or "")
        found = False
        for known in self._now():
            found |= hmac.compare_digest(known, told)
        return found

    def _now(self) -> tuple[bytes, ...]:
        if self._file is not None and time.monotonic() - self._looked >= _LOOK_AGAIN_S:
            self._looked = time.monotonic()
            try:
                if (stamp := _stamp(self._file)) != self._stamp:
                    self._known, self._stamp = _read(self._file), stamp
            except (OSError, ConfigError):
                self._known, self._stamp = (), (0, 0)
        return self._known


def _token_of(authorization: str) -> bytes:
    scheme, _, told = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return told.strip().encode()
        case "basic":
            try:
                return base64.b64decode(told.strip(), validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return b""
    return b""


def _read(file: Path) -> tuple[bytes, ...]:
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"token_file: {file} cannot be read ({error})") from None
    found = tuple(_checked(line, f"token_file {file}") for line in lines if line)
    if not found:
        raise ConfigError(f"token_file: {file} holds no token: write one a line")
    return found


def _checked(token: str, where: str) -> bytes:
    if len(token) < _SHORTEST:
        raise ConfigError(f"{where}: a token has {_SHORTEST} characters at least: try `openssl rand -hex 32`")
    return token.encode()


def _stamp(file: Path) -> tuple[int, int]:
    told = file.stat()
    return told.st_mtime_ns, told.st_ino
