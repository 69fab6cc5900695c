"""Shared material: small hand-made pools, backgrounds and candidates."""

import atexit
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from PIL import Image

from tests.backgrounds.material import small_dataset
from xpaste_ray.backgrounds import open_or_index, resolve_source
from xpaste_ray.categories import Category, lvis_categories, pick_categories
from xpaste_ray.config import CutoutSettings
from xpaste_ray.masks import encode_png
from xpaste_ray.pool import Pool, open_pool, seal_pool
from xpaste_ray.records import SCORES, Candidate, Prompt, candidates_schema, unit_id
from xpaste_ray.runs import RunDir, write_parquet
from xpaste_ray.storage import Location

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="xpaste-tests-")  # not the user's own cache
os.environ["RAY_AUTH_MODE"] = "disabled"  # Ray 2.60's default differs between its doors
os.environ.update(  # of the tests' own S3; a Ray that starts before it must have them too
    AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_EC2_METADATA_DISABLED="true"
)
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], True)

CATEGORIES = pick_categories(lvis_categories(), ["banana", "frog", "lion"])


def prompt(category: Category = CATEGORIES[0], index: int = 0, seed: int = 7) -> Prompt:
    text = f"a photo of {category.name}"
    return Prompt(f"{category.id}-{index}-test", category.id, category.name, index, "diffusion", text, seed)


def candidates(count: int) -> list[Candidate]:
    return [Candidate(prompt(CATEGORIES[i % 3], i // 3, seed=i)) for i in range(count)]


def disc(side_px: int, radius_px: float) -> np.ndarray:
    """(S, S) bool, a centred disc."""
    y, x = np.mgrid[:side_px, :side_px] - (side_px - 1) / 2
    return x * x + y * y <= radius_px * radius_px


def seal_discs(root: Path | Location, counts: dict[str, int], fingerprint: str = "f" * 16) -> Pool:
    """A pool of discs: `counts[name]` instances of each category, the k-th of radius 8 + k."""
    run = RunDir(root)
    rows, scores = [], []
    for category in CATEGORIES:
        for index in range(counts.get(category.name, 0)):
            mask = disc(40, 8 + index)
            image = np.full((40, 40, 3), 200, np.uint8)
            image[mask] = (category.id % 256, 10 * index, 90)
            one = prompt(category, index)
            head = {"round": 0, "unit": 0, "candidate_id": one.candidate_id, "category_id": category.id,
                    "category": category.name, "index": index}  # fmt: skip
            proposal = {"method": "hand", "ordinal": 0, "status": "ok", "reason": None,
                        "area_fraction": float(mask.mean())}  # fmt: skip
            rows.append(
                head
                | {"text": one.text, "seed": one.seed, "source": "hand", "model": None, "status": "ok",
                   "reason": None, "degraded_shape": False, "transient": False, "height": 40, "width": 40,
                   "image_png": encode_png(image)}
                | {"proposals": [proposal | {"mask_png": encode_png(mask.astype(np.uint8) * 255),
                                             "scores": [("clip_logit", 30.0)], "embedding": [0.0]}]}
            )  # fmt: skip
            scores.append(
                head | {"candidate_status": "ok", "transient": False} | proposal | {"clip_logit": 30.0}
            )
    table = pa.Table.from_pylist(rows, schema=candidates_schema(1))
    write_parquet(run.unit_file(unit_id(0, 0)), table, "test")
    kept = pa.Table.from_pylist(scores, schema=SCORES)
    assert seal_pool(kept, run.unit_file, CATEGORIES, CutoutSettings(), fingerprint, run.pools / "pool") == []
    return open_pool(run.pools / "pool")


@pytest.fixture(scope="module", autouse=True)
def end_ray() -> Iterator[None]:
    """A module leaves no Ray behind: the next one may need another."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


@pytest.fixture(scope="session")
def s3() -> Iterator[Callable[[], str]]:
    """s3(): the address of a new bucket, "s3://bucket-1", of a server of our own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
    numbers = itertools.count(1)

    def new_bucket() -> str:
        name = f"bucket-{next(numbers)}"
        store = pafs.S3FileSystem(
            endpoint_override=os.environ["AWS_ENDPOINT_URL"], allow_bucket_creation=True
        )
        store.create_dir(name)
        return f"s3://{name}"

    try:
        _wait_until_open(port, seconds=60)
        yield new_bucket
    finally:
        del os.environ["AWS_ENDPOINT_URL"]
        server.terminate()
        server.wait(30)


def _wait_until_open(port: int, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


@pytest.fixture
def make_pool(tmp_path: Path) -> Callable[..., Pool]:
    """make(counts): a pool of discs, see `seal_discs`."""
    return lambda counts, folder="run": seal_discs(tmp_path / folder, counts)


@pytest.fixture
def backgrounds(tmp_path):
    """Two grey photographs of 48 x 32 px, "0.png" (100) and "1.png" (101)."""
    folder = tmp_path / "backgrounds"
    folder.mkdir()
    for number in range(2):
        Image.new("RGB", (48, 32), (100 + number,) * 3).save(folder / f"{number}.png")
    return open_or_index(resolve_source(folder), tmp_path / "cache")


@pytest.fixture
def annotated_backgrounds(tmp_path):
    """Three photographs with objects that overlap, one in two parts, and a crowd; see `small_dataset`."""
    return open_or_index(resolve_source(small_dataset(tmp_path / "dataset")), tmp_path / "cache")
