"""The README's examples of serving run as they stand there, but for the address."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://127.0.0.1:8000"


def example(name, live):
    """The fenced block behind the line that marks it."""
    blocks = re.findall(
        rf"^<!-- example: {name} -->\n```\w+\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S
    )
    (block,) = blocks
    assert ADDRESS in block
    return block.replace(ADDRESS, live.url)


def run(command, folder):
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_gets_a_batch(live, tmp_path):
    told = run(["bash", "-euc", example("serve-curl", live)], tmp_path)
    assert "annotations.json" in told
    with zipfile.ZipFile(tmp_path / "batch.zip") as files:
        images = json.loads(files.read("annotations.json"))["images"]
    assert [(one["id"], one["height"], one["width"]) for one in images] == [
        (n, 512, 512) for n in (1, 2, 3, 4)
    ]


def test_training_sees_each_sample_once(live, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(example("serve-train", live))
    told = run([sys.executable, script], tmp_path)
    seen = [int(n) for found in re.findall(r"samples \[(.*?)\]: loss \d", told) for n in found.split(", ")]
    assert sorted(seen) == list(range(8)) and sorted(seen[:4]) == list(range(4))
