"""Write the tables of README.md from the files in benchmarks/results: no figure is typed by hand.

python benchmarks/tables.py
"""

import json
from pathlib import Path
from statistics import median
from typing import Any

from xpaste_ray.studies import Difference, Summary
from xpaste_ray.studies.tables import difference_text, mean_text

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def table(script: str) -> str:
    """The gates of `results/<script>.json` as Markdown, with the machine below."""
    result = json.loads((ROOT / "benchmarks" / "results" / f"{script}.json").read_text())
    lines = ["| measured | value | gate |", "|---|---|---|"]
    lines += [f"| {gate['name']} | {gate['value']:.3g} | {gate['gate']} |" for gate in result["gates"]]
    lines += _cases(result.get("cases", []))
    lines += _encodings(result.get("encodings", []))
    lines += _steps(result.get("steps", []))
    lines += _study(result.get("study", []))
    lines += _fronts(result.get("fronts", {}))
    lines += _arms(result.get("arms", {}))
    machine = result["environment"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['gpu'] or 'no GPU'}"
    source = f"[benchmarks/results/{script}.json](benchmarks/results/{script}.json)"
    return "\n".join([*lines, "", f"{where}; from {source}."])


def _cases(cases: list[dict[str, Any]]) -> list[str]:
    """The compositor's: milliseconds a sample, medians of the rounds."""
    if not cases:
        return []
    titles = ("side/pastes, blend", "ours, ms", "floor, ms", "x floor", "full canvas: x our compositing")
    head = ["", f"| {' | '.join(titles)} |", "|---|---|---|---|---|"]
    return head + [
        f"| {case['case']} | {median(case['ours_ms']):.2f} | {median(case['floor_ms']):.2f} "
        f"| {case['ratio_to_floor']:.2f} | {case['full_canvas_to_ours_compositing_alone']:.0f} |"
        for case in cases
    ]


def _encodings(encodings: list[dict[str, Any]]) -> list[str]:
    """The pool's: what each way to keep pixels costs, medians of the rounds."""
    if not encodings:
        return []
    titles = ("encoding", "kB an instance", "sealed/s a core", "ms a composed image (640/10)")
    head = ["", f"| {' | '.join(titles)} |", "|---|---|---|---|"]
    return head + [
        f"| {one['encoding']} | {one['bytes_per_instance'] / 1000:.1f} "
        f"| {median(one['sealed_per_core_s']):.0f} | {median(one['compose_ms']):.2f} |"
        for one in encodings
    ]


def _steps(steps: list[dict[str, Any]]) -> list[str]:
    """The foregrounds': how good the segments are that step 1 chose, and each iteration."""
    if not steps:
        return []
    titles = ("chosen by", "IoU >= 0.5", "IoU >= 0.75", "mean IoU", "another kind's")
    names = ["step 1", *(f"iteration {number}" for number in range(1, len(steps)))]
    return ["", f"| {' | '.join(titles)} |", "|---|---|---|---|---|"] + [
        f"| {name} | {step['above_50']:.1%} | {step['above_75']:.1%} | {step['mean_iou']:.3f} "
        f"| {step['impure']:.1%} |"
        for name, step in zip(names, steps, strict=True)
    ]


def _study(rows: list[dict[str, Any]]) -> list[str]:
    """The foregrounds' with other options: before and after all iterations."""
    if not rows:
        return []
    titles = ("option", "value", "IoU >= 0.5 in step 1", "after EM", "another kind's")
    return ["", f"| {' | '.join(titles)} |", "|---|---|---|---|---|"] + [
        f"| `{row['option']}` | {row['value']} | {row['step_1']['above_50']:.1%} "
        f"| {row['last']['above_50']:.1%} | {row['last']['impure']:.1%} |"
        for row in rows
    ]


def _fronts(fronts: dict[str, dict[str, Any]]) -> list[str]:
    """The service's: requests for one image, beside the time offline, and batches at full load."""
    if not fronts:
        return []
    titles = (
        "in front",
        "1 image offline, ms",
        "p50, ms",
        "p99, ms",
        "p99 at 70 % load, ms",
        "batches: images/s",
    )
    return ["", f"| {' | '.join(titles)} |", "|---|---|---|---|---|---|"] + [
        f"| {name} | {front['singles']['offline_ms']:.1f} | {front['singles']['p50_ms']:.1f} "
        f"| {front['singles']['p99_ms']:.1f} | {front['singles']['at_70_percent']['p99_ms']:.1f} "
        f"| {front['overload']['peak']['images_per_s']:.0f} |"
        for name, front in fronts.items()
    ]


def _arms(arms: dict[str, dict[str, Any]]) -> list[str]:
    """A study's: mask AP in %, mean and standard deviation over the seeds, and what rare ones gain."""
    if not arms:
        return []
    buckets = {
        "segm.ap": "mask AP",
        "segm.rare": "rare",
        "segm.common": "common",
        "segm.frequent": "frequent",
    }
    titles = ("arm", *buckets.values(), "rare, gained [95 % interval]")
    return ["", f"| {' | '.join(titles)} |", "|---|---|---|---|---|---|"] + [
        f"| {name} | {' | '.join(_mean(arm[key]) for key in buckets)} | {_gained(arm['segm.rare'])} |"
        for name, arm in arms.items()
    ]


def _mean(told: dict[str, Any]) -> str:
    return mean_text(Summary(told["n"], told["mean"], told["std"]))


def _gained(told: dict[str, Any]) -> str:
    return difference_text(Difference(**told["difference"])) if told["difference"] else "-"


def with_tables(readme: str) -> str:
    """The text with everything between `<!-- results: NAME -->` and `<!-- end -->` made anew."""
    parts = readme.split("<!-- results: ")
    for number, part in enumerate(parts[1:], 1):
        script, _, rest = part.partition(" -->")
        _, _, after = rest.partition("<!-- end -->")
        parts[number] = f"{script} -->\n{table(script)}\n<!-- end -->{after}"
    return "<!-- results: ".join(parts)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
