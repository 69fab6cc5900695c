"""YAML as settings are written in: scalars by the core schema of YAML 1.2.

PyYAML reads YAML 1.1, where 4:2:0 is 14520 (base 60), 010 is 8, 1e-4 is a string, no is false and
2026-11-21 is a date. Here they are a string, 10, a number and two strings.
"""

import re
from typing import Any

import yaml

_SCALARS = [  # YAML 1.2.2, section 10.3.2; beside each, what such a scalar begins with
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("merge", r"<<", "<"),  # of YAML 1.1, and wanted in files with anchors
]


class _Loader(yaml.SafeLoader):
    """Without YAML 1.1's rules."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either version would take for something else than a string."""


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in _SCALARS:
    for _kind in (_Loader, _Dumper):
        _kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})\\Z"), list(_first)
        )


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def load_yaml(text: str) -> Any:
    """The one document in `text`. ValueError that says where it is no YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def dump_yaml(value: Any) -> str:
    """Maps and lists without nested ones on one line each; `load_yaml` and YAML 1.1 readers give `value`."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None)
