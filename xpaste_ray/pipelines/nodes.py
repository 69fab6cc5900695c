"""Whether every machine of the cluster sees the same files: a loss that would otherwise stay silent."""

import secrets
from collections.abc import Callable
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from xpaste_ray.errors import ConfigError, XPasteError
from xpaste_ray.storage import Location

_ANSWER_WITHIN_S = 120  # a node may have to start its first process


def check_shared(folder: Location, option: str) -> None:
    """ConfigError unless what is written into `folder` here can be read on every node. `option` names it."""
    if sum(node["Alive"] for node in ray.nodes()) == 1:
        return
    nonce = secrets.token_hex(8)
    probe = folder / f".nonce-{nonce}"
    probe.write_whole(nonce.encode())
    try:
        answers = on_every_node(_read, probe)
    finally:
        probe.remove()
    blind = [node for node, answer in answers.items() if answer != nonce]
    if blind:
        raise ConfigError(
            f"{option} {folder}: {len(blind)} of {len(answers)} nodes do not see what is written there "
            f"({blind[0]}: {answers[blind[0]]}): give a folder on a disk that all nodes share, s3://... or "
            "gs://..."
        )


def on_every_node(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What `function` returns on each machine that is up, by its address; a text where it gave no answer."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(function)
    asked = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ref = task.options(num_cpus=0, scheduling_strategy=there, max_retries=1).remote(*arguments)
        asked[ref] = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_WITHIN_S)
    answers: dict[str, Any] = dict.fromkeys(asked.values(), f"no answer within {_ANSWER_WITHIN_S} s")
    for ref in ready:
        try:
            answers[asked[ref]] = ray.get(ref)
        except ray.exceptions.RayError as error:
            answers[asked[ref]] = str(error).strip().splitlines()[-1]
    return answers


def _read(probe: Location) -> str:
    try:
        return probe.read_text()
    except FileNotFoundError:
        return "no such file"
    except XPasteError as error:
        return str(error)
