"""What was asked: settings, the fingerprints of the steps, and the versions that made it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from xpaste_ray.html_report.blocks import Cell, Column, Section, Table
from xpaste_ray.html_report.given import Given

_MOST_LETTERS = 400


def asked(given: Given) -> Section | None:
    """None if nothing is told."""
    tables = [
        _table("Fingerprints", ("of", "fingerprint"), _fingerprints(given)),
        _table("Settings", ("setting", "value"), flat(given.settings), folded=True),
        _table("Versions", ("package", "version"), given.record.versions.items(), folded=True),
    ]
    blocks = tuple(table for table in tables if table.rows)
    return Section("asked", "What was asked", blocks) if blocks else None


def _fingerprints(given: Given) -> Iterator[tuple[str, Any]]:
    for name, step in given.record.steps.items():
        yield f"step {name}", step.fingerprint
    if given.pool is not None:
        yield "pool", given.pool.fingerprint
    if given.composed is not None:
        yield "dataset", given.composed.spec.recipe
        for name, value in given.composed.spec.info.items():
            yield f"dataset's {name}", value


def _table(title: str, names: tuple[str, str], rows: Any, folded: bool = False) -> Table:
    columns = tuple(Column(name, "text") for name in names)
    return Table(title, columns, tuple((name, _text(value)) for name, value in rows), folded=folded)


def _text(value: Any) -> Cell:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting under its dotted name, as `--set` has it."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
