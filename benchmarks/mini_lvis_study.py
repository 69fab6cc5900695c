"""Does pasted data help? 163 images with exact masks and a long tail, alone and with what both methods add.

python benchmarks/mini_lvis_study.py --work DIR [--at-once 2]

Makes the material (`mini_lvis_material.py`), runs the study `mini_lvis/study.yaml`, seven arms times three
seeds, and measures the pools: how many instances of X-Paste's are invalid (`pool_validity.py`),
and how many masks of EM-Paste's are the true ones. Each part is kept in DIR, and the same command goes on.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import Gate, finish
from mini_lvis.found import compare

from xpaste_ray.studies import Summary, half_interval

HERE = Path(__file__).resolve().parent
MORE = 0.05  # of rare mask AP, or twice as much
MOST_INVALID = 0.07


def run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], cwd=HERE.parent, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} {command[1]} ended with {done.returncode}: run this again to go on")


def make(work: Path, at_once: int) -> None:
    """The material, the study and the pool's measure, as far as they are not there."""
    material, study = work / "material", work / "study"
    if not (material / "backbone" / "measured.json").exists():
        run(sys.executable, HERE / "mini_lvis_material.py", "--out", material)
    backbone = material / "backbone"
    changes = {
        "data.train": material / "train", "data.val": material / "val", "data.test": material / "test",
        "data.images": material / "labelled" / "labels.csv",
        "set.train.detector.weights": backbone,
        "pools.found.set.foregrounds.classifier.weights": backbone,
    }  # fmt: skip
    sets = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    xpaste = Path(sys.executable).with_name("xpaste")
    run(xpaste, "study", HERE / "mini_lvis" / "study.yaml", "--out", study, "--at-once", str(at_once), *sets)
    if not (work / "pool_validity.json").exists():
        run(sys.executable, HERE / "pool_validity.py", study / "pools" / "generated", "--out", work)


def told_of(work: Path) -> dict[str, Any]:
    """Of each arm: AP by bucket, its mean, spread and interval over the seeds, and the gain on real data."""
    study = json.loads((work / "study" / "study.json").read_text())
    return {
        arm["name"]: {
            key: {
                **arm["summary"][key],
                "half_interval": half_interval(Summary(**arm["summary"][key])),
                "difference": arm["difference"].get(key),
            }
            for key in ("segm.ap", "segm.ap50", "segm.rare", "segm.common", "segm.frequent", "bbox.ap")
        }
        for arm in study["arms"]
    }


def gates_of(arms: dict[str, Any], invalid: float) -> list[Gate]:
    real, pasted = arms["real"], arms["x-paste"]
    rare = pasted["segm.rare"]
    gain = max(rare["difference"]["mean"] / MORE, rare["mean"] / (2 * max(real["segm.rare"]["mean"], 1e-9)))
    gap = (rare["mean"] - rare["half_interval"]) - (
        real["segm.rare"]["mean"] + real["segm.rare"]["half_interval"]
    )
    return [
        Gate("rare mask AP, x 2 or + 5 points", gain, ">=", 1.0),
        Gate("gap between its 95 % interval and that of real data, points", 100 * gap, ">=", 0.0),
        Gate("mask AP, difference, points", 100 * pasted["segm.ap"]["difference"]["mean"], ">=", 0.0),
        Gate("invalid instances of the pool", invalid, "<=", MOST_INVALID),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    work = given.work.resolve()
    make(work, given.at_once)
    arms = told_of(work)
    validity = json.loads((work / "pool_validity.json").read_text())
    (invalid,) = (gate["value"] for gate in validity["gates"] if gate["name"].startswith("invalid"))
    files = work / "study" / "pools" / "found" / "annotations.json", work / "material" / "labelled_truth.json"
    found = compare(*(json.loads(path.read_text()) for path in files))
    finish(
        "mini_lvis_study",
        gates_of(arms, invalid),
        {
            "arms": arms,
            "pool": {
                "instances": validity["instances"],
                "bars": validity["bars"],
                "scenes": validity["scenes"],
            },
            "found": asdict(found),
            "backbone": json.loads((work / "material" / "backbone" / "measured.json").read_text()),
        },
        command="python benchmarks/mini_lvis_study.py --work DIR",
    )


if __name__ == "__main__":
    main()
