"""What every benchmark shares: the machine it ran on, its gates, its result file."""

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "xpaste-ray", "torch", "diffusers", "transformers", "open_clip_torch", "segment-anything",
    "opencv-python", "numpy", "pyarrow", "ray",
)  # fmt: skip


RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Gate:
    """A measured value and the bound that it must keep; `sign` is "<=" or ">="."""

    name: str
    value: float
    sign: str
    limit: float

    @property
    def passed(self) -> bool:
        return self.value >= self.limit if self.sign == ">=" else self.value <= self.limit


def peak_gib() -> float:
    """Resident memory of this process at its largest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024**2


def finish(
    script: str,
    gates: list[Gate],
    details: dict[str, Any],
    folder: Path = RESULTS,
    command: str | None = None,
) -> None:
    """Write `<script>.json` to the folder, print the gates, and exit with 1 if one is missed. command: how it
    was made, if not by the script of that name alone."""
    result = {
        "command": command or f"python benchmarks/{script}.py",
        "environment": environment(),
        "gates": [
            {
                "name": gate.name,
                "value": gate.value,
                "gate": f"{gate.sign} {gate.limit:g}",
                "passed": gate.passed,
            }
            for gate in gates
        ],
        **details,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{script}.json").write_text(json.dumps(result, indent=2) + "\n")
    for gate in gates:
        outcome = "ok" if gate.passed else "MISSED"
        print(f"{gate.name:<28}{gate.value:>9.3f}   {gate.sign} {gate.limit:<7g} {outcome}")
    sys.exit(0 if all(gate.passed for gate in gates) else 1)


def environment() -> dict[str, Any]:
    """Processor, cores, memory, device, packages and the commit, without the host's name."""
    import torch  # not by a process whose memory is measured

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_bytes() / 1024**3, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "commit": _commit(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    return done.stdout.strip() or "unknown"
