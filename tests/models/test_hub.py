"""Models of the Hub: pinned, safetensors only, never downloaded by a run. The Hub is a server of our own."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from xpaste_ray.errors import ConfigError
from xpaste_ray.models.hub import parse_hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = f"hub:tests/mini@{COMMIT}"
XPASTE = str(Path(sys.executable).with_name("xpaste"))
WEIGHTS = "open_clip_model.safetensors"
FILES = {
    "open_clip_config.json": b'{"model_cfg": {"embed_dim": 3}}',
    WEIGHTS: save({"a": np.arange(3.0)}),
    "open_clip_pytorch_model.bin": b"a pickle",
    "vae/diffusion_pytorch_model.fp16.safetensors": b"half",
    "README.md": b"# Mini",
}


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a snapshot needs: the list of files at a commit, and each file."""

    asked: list[str]

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        self.server.asked.append(self.path)
        if self.path.startswith(f"/api/models/tests/mini/revision/{COMMIT}"):
            found = json.dumps(
                {"id": "tests/mini", "sha": COMMIT, "siblings": [{"rfilename": n} for n in FILES]}
            )
            return self._send(found.encode(), body, {"Content-Type": "application/json"})
        if self.path.startswith(f"/api/models/tests/mini/tree/{COMMIT}"):
            files = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in FILES.items()
            ]
            return self._send(json.dumps(files).encode(), body, {"Content-Type": "application/json"})
        name = self.path.partition(f"/resolve/{COMMIT}/")[2]
        if name not in FILES:
            return self.send_error(404, "Not Found")
        return self._send(FILES[name], body, {"X-Repo-Commit": COMMIT, "ETag": self._etag(name)})

    def _etag(self, name):
        """As the Hub names large files and small ones: SHA-256, and git's SHA-1."""
        kind = hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1
        return f'"{kind(FILES[name]).hexdigest()}"'

    def _send(self, data, body, headers):
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path, hub):
    """The command, beside a Hub and with a cache of its own."""
    environment = {
        **os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
    }  # fmt: skip

    def call(*arguments, model=MODEL):
        return subprocess.run(
            [XPASTE, *arguments, "--set", f"score.model={model}"],
            capture_output=True, text=True, timeout=120, env=environment, cwd=tmp_path,
        )  # fmt: skip

    return call


def test_models_of_a_preset_are_fetched_once_without_pickles(run, hub):
    done = run("models", "fetch", "--preset", "demo")
    assert done.returncode == 0, done.stderr
    option, _, folder = done.stdout.strip().partition(": ")
    assert option == "score.model" and Path(folder).name == COMMIT
    names = {path.name for path in Path(folder).rglob("*") if path.is_file()}
    assert names == {"open_clip_config.json", "open_clip_model.safetensors"}
    hub.asked.clear()
    assert run("models", "fetch", "--preset", "demo").returncode == 0
    assert not any("/resolve/" in path and "safetensors" in path for path in hub.asked)


def test_run_without_its_model_says_how_to_fetch_it_and_asks_nobody(run, hub, tmp_path):
    done = run("pool", "build", "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 2 and not hub.asked
    assert (
        "score.model: tests/mini at 0123456789ab is not on this machine: run `xpaste models fetch`"
        in done.stderr
    )


def test_damaged_weights_are_refused(run, tmp_path):
    folder = Path(run("models", "fetch", "--preset", "demo").stdout.strip().partition(": ")[2])
    blob = (folder / "open_clip_model.safetensors").resolve()
    blob.chmod(0o644)
    blob.write_bytes(save({"a": np.arange(3.0) + 1}))
    done = run("pool", "build", "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 2 and "is damaged (its SHA-256 is another)" in done.stderr


def test_fetched_models_may_be_copied_to_a_machine_without_network(run, hub, tmp_path, monkeypatch):
    """Without the cache's blobs, which the files beside them are then not links to."""
    run("models", "fetch", "--preset", "demo")
    shutil.copytree(
        tmp_path / "hf" / "hub", tmp_path / "copied" / "hub", ignore=shutil.ignore_patterns("blobs")
    )
    hub.asked.clear()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "copied"))
    code = f"from xpaste_ray.models.hub import *; print(hub_folder(parse_hub({MODEL!r}, ''), ''))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.strip().startswith(str(tmp_path / "copied")), done.stderr
    assert (Path(done.stdout.strip()) / "open_clip_model.safetensors").read_bytes() == FILES[WEIGHTS]


def test_commit_that_the_hub_does_not_have_is_told(run):
    done = run("models", "fetch", "--preset", "demo", model=MODEL.replace("0123", "3210", 1))
    assert done.returncode == 2 and "cannot be fetched" in done.stderr and "check the network" in done.stderr


@pytest.mark.parametrize("model", ["hub:tests/mini", "hub:tests/mini@main", "hub:mini@" + COMMIT])
def test_model_that_is_not_pinned_is_refused(model):
    with pytest.raises(ConfigError, match="score.model: .* must be hub:owner/name@commit, with the 40 hex"):
        parse_hub(model, "score.model")
