"""Studies in YAML: those that the package ships, and a user's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from xpaste_ray.categories import did_you_mean
from xpaste_ray.config import PRESETS_DIR, StudySettings
from xpaste_ray.config.study import Arm, StudyContexts, StudyData, StudyPool
from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.storage import locate
from xpaste_ray.yaml12 import load_yaml

STUDIES_DIR = PRESETS_DIR / "studies"

_NAMED = ("pools", "contexts", "arms", "grid")
"""Sections whose keys are names of the study's own."""

_OPTIONS: Mapping[str, type] = {
    "data": StudyData, "pools": StudyPool, "contexts": StudyContexts, "arms": Arm, "grid": Arm,
}  # fmt: skip


def study_names() -> list[str]:
    return sorted(path.stem for path in STUDIES_DIR.glob("*.yaml"))


def study_descriptions() -> dict[str, str]:
    """The first line of every study that ships, a comment, by the study's name."""
    files = {name: STUDIES_DIR / f"{name}.yaml" for name in study_names()}
    return {name: path.read_text(encoding="utf-8").split("\n")[0][2:] for name, path in files.items()}


def load_study(study: str, overrides: Sequence[str] = ()) -> StudySettings:
    """One that ships, by its name, or a YAML file, with `path.to.option=value` overrides. In a path, all that
    follows `set` is one key: set.train.iterations=500, arms.real.set.train.batch=4.

    ConfigError that names the option, what was given and what is allowed or near.
    """
    values = _read(study)
    for override in overrides:
        _apply(values, override)
    try:
        return StudySettings.model_validate(values)
    except ValidationError as error:
        told = dict.fromkeys(f"{study}: {_explained(detail)}" for detail in error.errors())
        raise ConfigError("\n".join(told)) from None


def _read(study: str) -> dict[str, Any]:
    is_path = "/" in study or study.endswith((".yaml", ".yml"))
    if not is_path and study not in study_names():
        raise ConfigError(
            f"there is no study {study!r}{did_you_mean(study, study_names())} (`xpaste study --list` tells "
            "of those that ship; for a file of your own give its path, which ends in .yaml)"
        )
    path = study if is_path else str(STUDIES_DIR / f"{study}.yaml")
    try:
        values = load_yaml(locate(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file: give a study's file or name") from None
    except StorageError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no YAML file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no study: it needs sections, such as arms: {{real: {{}}}}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r}: write it as path.to.option=value")
    try:
        value = load_yaml(text)
    except ValueError:
        raise ConfigError(f"--set {override!r}: {text!r} is not a YAML value") from None
    keys = _keys(path.strip())
    node = values
    for depth, key in enumerate(keys[:-1]):
        below = node.get(key)
        if below is None and depth == 1 and keys[0] in _NAMED:
            raise ConfigError(f"--set {override!r}: {keys[0]} has no {key!r}{did_you_mean(key, node)}")
        if below is not None and not isinstance(below, dict):
            raise ConfigError(f"--set {override!r}: {key} is no section")
        node = node.setdefault(key, {}) if below is None else below
    node[keys[-1]] = value


def _keys(path: str) -> list[str]:
    keys = path.split(".")
    if "set" in keys[:-1]:
        first = keys.index("set")
        keys = [*keys[: first + 1], ".".join(keys[first + 1 :])]
    return keys


def _explained(detail: Any) -> str:
    """One of pydantic's errors, in a study's words."""
    where = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    match detail["type"]:
        case "extra_forbidden":
            *above, name = detail["loc"]
            known = _OPTIONS[above[0]].model_fields if above else StudySettings.model_fields  # type: ignore[attr-defined]
            return f"{where}: there is no such option{did_you_mean(str(name), known)}"
        case "missing":
            return f"{where} is missing: set it"
        case "model_type" | "dict_type":
            return f"{where}: is a section: set its options, such as {{option: value}}, or {{}} for none"
    message = detail["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(detail["input"], dict) else f", got {detail['input']!r}"
    return f"{where}: {message}{shown}" if where else message
