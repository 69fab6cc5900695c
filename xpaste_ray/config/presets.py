"""Presets and settings files, overrides, and what is said of a wrong one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from xpaste_ray.categories import did_you_mean
from xpaste_ray.config.base import Section
from xpaste_ray.config.classifier import AnyClassifier
from xpaste_ray.config.contexts import AnyCaptions, ContextSettings
from xpaste_ray.config.foregrounds import ForegroundSettings
from xpaste_ray.config.segment import AnyMethod
from xpaste_ray.config.settings import (
    DatasetSettings,
    EmPasteSettings,
    PoolSettings,
    Settings,
    TrainSettings,
)
from xpaste_ray.config.sources import AnySource
from xpaste_ray.errors import ConfigError, StorageError
from xpaste_ray.storage import locate
from xpaste_ray.yaml12 import dump_yaml, load_yaml

# Sections whose keys are names of the user's own, each of some kind, and sections that are of some kind.
_NAMED = {"sources": AnySource, "segment.methods": AnyMethod, "foregrounds.segment.methods": AnyMethod}
_OF_A_KIND = {"foregrounds.classifier": AnyClassifier, "contexts.captions": AnyCaptions}
_KNOWN = {**Settings.model_fields, **EmPasteSettings.model_fields}
PRESETS_DIR = Path(__file__).resolve().parent.parent / "presets"

_Job = TypeVar("_Job", bound=Section)


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def preset_descriptions() -> dict[str, str]:
    """The first line of every preset, a comment, by the preset's name."""
    files = {name: PRESETS_DIR / f"{name}.yaml" for name in preset_names()}
    return {name: path.read_text(encoding="utf-8").split("\n")[0][2:] for name, path in files.items()}


AnySettings = DatasetSettings | TrainSettings | PoolSettings | ForegroundSettings | ContextSettings


def kind_of(preset: str) -> type[AnySettings]:
    """What a preset sets: a dataset, a pool, foregrounds, or all that one method needs."""
    sections = set(_read(preset))
    kinds: tuple[type[AnySettings], ...] = (
        DatasetSettings, TrainSettings, PoolSettings, ForegroundSettings, ContextSettings,
    )  # fmt: skip
    for kind in kinds:
        if sections <= set(kind.model_fields):
            return kind
    return EmPasteSettings if sections <= set(EmPasteSettings.model_fields) else Settings


def load_settings(preset: str, overrides: Sequence[str] = ()) -> Settings:
    """Everything that a run is made from, see `load`."""
    return load(Settings, preset, overrides)


def load(
    kind: type[_Job],
    preset: str,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> _Job:
    """A preset with `path.to.option=value` overrides applied, read as YAML, then `values` by path.

    preset: the name of one that ships, or the path of a YAML file, such as `dump_settings` makes, that
    ends in .yaml or .yml or has a slash in it. Relative paths in a file are relative to the working
    directory, not to the file.

    Raises ConfigError that names the field, what was given and what is allowed or near.
    """
    where = f"{preset}: " if _is_path(preset) else ""
    return change(parse_settings(kind, _read(preset), where), overrides, values)


def change(
    settings: _Job, overrides: Sequence[str], values: Mapping[str, Any] = MappingProxyType({})
) -> _Job:
    """The settings with overrides and values as for `load`. ConfigError as there."""
    found = settings.model_dump(mode="json")  # with defaults: to be set, too
    for override in overrides:
        _set(found, *_parse(override))
    for path, value in values.items():
        _set(found, path, value)
    return parse_settings(type(settings), found)


def _is_path(preset: str) -> bool:
    return "/" in preset or preset.endswith((".yaml", ".yml"))


def _read(preset: str) -> dict[str, Any]:
    """The sections of a preset that ships or of a file; none that no command knows."""
    if not _is_path(preset) and preset not in preset_names():
        raise ConfigError(
            f"unknown preset {preset!r}{did_you_mean(preset, preset_names())} "
            "(to use a file of your own, give its path, which ends in .yaml or .yml or has a / in it)"
        )
    path = preset if _is_path(preset) else str(PRESETS_DIR / f"{preset}.yaml")
    try:
        values = load_yaml(locate(path).read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such settings file; `xpaste config show --preset demo` prints one to "
            "begin with"
        ) from None
    except StorageError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is no YAML file: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings: it needs sections, such as {', '.join(_KNOWN)}")
    for name in values:
        if name not in _KNOWN:
            raise ConfigError(f"{path}: there is no section {name!r}{did_you_mean(str(name), _KNOWN)}")
    return values


def parse_settings(kind: type[_Job], values: Any, where: str = "") -> _Job:
    """Settings from plain values, such as `run.json` has. ConfigError; `where` begins its message."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        told = dict.fromkeys(where + _explain(detail) for detail in error.errors())
        raise ConfigError("\n".join(told)) from None


def dump_settings(settings: AnySettings) -> str:
    """The settings as YAML, as a preset has them."""
    return dump_yaml(settings.model_dump(mode="json"))


def _parse(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set {override!r}: write it as path.to.option=value")
    try:
        return path.strip(), load_yaml(text)
    except ValueError:
        raise ConfigError(f"--set {override!r}: {text!r} is not a YAML value") from None


def _set(settings: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    node: Any = settings
    for depth, key in enumerate(keys):
        if path.rpartition(".")[0] in _NAMED and depth == len(keys) - 1:
            break  # the user's own name
        if not isinstance(node, dict) or key not in node:
            where = f"{'.'.join(keys[:depth])} has" if depth else "the settings have"
            hint = did_you_mean(key, node) if isinstance(node, dict) else ""
            raise ConfigError(f"unknown option {path!r}: {where} no {key!r}{hint}")
        if depth < len(keys) - 1:
            node = node[key]
    node[keys[-1]] = value


def _explain(detail: Any) -> str:
    """One of pydantic's errors, by what a settings file has: options, sections and lists."""
    given, loc = detail["input"], _path(detail["loc"])
    match detail["type"]:
        case "union_tag_not_found":
            message = f"needs a kind, one of {_kinds(loc)}"
        case "union_tag_invalid":
            kind = detail["ctx"]["tag"]
            return f"{_dotted(loc)}.kind must be one of {_kinds(loc)}, got {kind!r}"
        case "missing" if len(loc) == 1:
            known = "demo" if loc[0] in Settings.model_fields else "empaste-demo"
            return f"{loc[0]}: the preset does not set it: choose one that does, such as {known!r}"
        case "missing" if isinstance(loc[-1], int):  # a list of fixed length that is too short
            loc, example = loc[:-1], _example(loc[:-1])
            message = f"needs {len(example)} values, such as {example}"
        case "missing":
            example = _example(loc)
            such_as = (
                "" if example is None or isinstance(example, dict) else f", such as {loc[-1]}: {example}"
            )
            return f"{_dotted(loc)} is missing: set it{such_as}"
        case "too_long":
            message = f"takes {detail['ctx']['max_length']} values, such as {_example(loc)}"
        case "tuple_type":
            message = f"must be a list, such as {_example(loc)}"
        case "model_type":
            message = "is a section: set its options, such as {option: value}"
        case "extra_forbidden":
            section = _example(loc[:-1])
            hint = did_you_mean(str(loc[-1]), section) if isinstance(section, dict) else ""
            return f"{_dotted(loc)}: there is no such option{hint}"
        case _:
            message = detail["msg"].removeprefix("Value error, ")
    return f"{_dotted(loc)}: {message}" + ("" if isinstance(given, dict) else f", got {_shown(given)}")


def _path(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without what pydantic adds for unions: tags, and the kind of a section that has one."""
    if (depth := _depth_of_kind(loc)) and len(loc) > depth:
        loc = (*loc[:depth], *loc[depth + 1 :])
    return tuple(part for part in loc if not str(part).startswith("("))


def _depth_of_kind(loc: tuple[int | str, ...]) -> int:
    """Of the section of some kind that an option stands in; 0 if there is none."""
    for sections, below in ((_NAMED, 2), (_OF_A_KIND, 1)):  # parts of a path down to the section
        for name in sections:
            depth = name.count(".") + below
            if _dotted(loc[: name.count(".") + 1]) == name:
                return depth
    return 0


def _kinds(loc: tuple[int | str, ...]) -> str:
    """Those that a section may have."""
    sections = {**_NAMED, **_OF_A_KIND}
    choices = next(sections[name] for name in sections if f"{_dotted(loc)}.".startswith(f"{name}."))
    return ", ".join(get_args(choice.model_fields["kind"].annotation)[0] for choice in get_args(choices))


def _dotted(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "settings"


def _shown(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else repr(value)


def _example(loc: tuple[int | str, ...]) -> Any:
    """What a demo's preset, which sets everything, has at `loc`."""
    known = not loc or loc[0] in Settings.model_fields
    kind, preset = (Settings, "demo") if known else (EmPasteSettings, "empaste-demo")
    value: Any = kind.model_validate(_read(preset)).model_dump(mode="json")
    for key in loc:
        value = value.get(key) if isinstance(value, dict) else None
    return value
