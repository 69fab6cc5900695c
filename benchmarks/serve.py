"""The compositing service beside offline compositing in the same run, on the compositor's own case.

The service is started as a user starts it; the load comes from a second process over loopback, see
`serve_load`, and is the same samples. offline: this process plans, composes, annotates and encodes them to
JPEG, as `xpaste compose` does in a worker, and writes nothing, so it is a little less than that: the service
also packs a zip, writes COCO and plans as JSON, and sends it all. CPU seconds of the service are those of its
replicas and proxies, from /proc; what Ray's other processes and the load itself take is in none of them.

Rates of a machine change within minutes: offline and service are measured in turns, and compared in each.

python benchmarks/serve.py    about 8 minutes on 2 cores
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from compose import Case, options_of, settings_of
from material import large_pool, object_pool, photo_folder
from measuring import Gate, finish
from serve_host import Server, by_role
from serve_load import LONGEST_S, Answer, Load, Outcome

from xpaste_ray.backgrounds import Backgrounds, open_or_index, resolve_source
from xpaste_ray.compose.compositor import Compositor
from xpaste_ray.formats.images import ImageEncoding, encode_image
from xpaste_ray.pool import Pool
from xpaste_ray.worker import prepare_worker

CASE = Case(640, 10, "alpha")
BATCH = 16
ROUNDS = 3
ROUND_S = 8
OVERLOAD = 10
OVERLOAD_S = 12
AFTERWARDS_S = 13
FRONTS = {"Ray's proxy": (), "HAProxy": ("--haproxy",)}
MORE_MS = {"Ray's proxy": 8, "HAProxy": 4}
LARGE = 100_000
LOAD_SCRIPT = Path(__file__).with_name("serve_load.py")
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Material:
    pool: Pool
    backgrounds: Backgrounds
    work: Path

    def options(self, *more: str) -> list[str]:
        """Of `xpaste serve`: the same backgrounds and settings as offline."""
        told = ("--pool", self.pool.folder, "--backgrounds", self.backgrounds.source.root)
        options = ", ".join(f"{path}: {value}" for path, value in options_of(CASE).items())
        return [*map(str, told), f"--set=options={{{options}}}", *more]


@dataclass(frozen=True, slots=True)
class Use:
    """What a load got, and what it took. images: in answers that are whole. load_cpu_s: of the generator."""

    images: int
    images_per_s: float
    cpu_ms_per_image: dict[str, float]
    mib: dict[str, float]
    statuses: dict[int, int]
    load_cpu_s: float

    @property
    def cpu_ms(self) -> float:
        return sum(self.cpu_ms_per_image.values())


def apply(load: Load) -> Outcome:
    """In a process of its own."""
    command = [sys.executable, str(LOAD_SCRIPT), json.dumps(asdict(load))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=load.seconds + 120)
    told = json.loads(done.stdout)
    return Outcome([Answer(**answer) for answer in told["answers"]], told["cpu_s"])


def measure(server: Server, load: Load) -> tuple[Use, list[Answer]]:
    before = server.cpu_s()
    outcome = apply(load)
    spent = by_role({process: cpu - before.get(process, 0) for process, cpu in server.cpu_s().items()})
    good = [answer for answer in outcome.answers if answer.status == 200]
    images = load.count * len(good)
    in_time = load.count * sum(answer.ends_s <= load.seconds for answer in good)
    use = Use(
        images=images,
        images_per_s=in_time / load.seconds,
        cpu_ms_per_image={role: 1000 * seconds / images for role, seconds in spent.items()},
        mib=server.mib(),
        statuses=dict(Counter(answer.status for answer in outcome.answers)),
        load_cpu_s=outcome.cpu_s,
    )
    return use, outcome.answers


class Offline:
    """Without a service, in this process, on one core."""

    def __init__(self, material: Material) -> None:
        self._compositor = Compositor(material.pool, material.backgrounds, settings_of(CASE), seed=0)
        self._encoding = ImageEncoding()

    def compose(self, first: int, count: int) -> None:
        plans = [self._compositor.plan(number) for number in range(first, first + count)]
        for composed in self._compositor.render_all(plans):
            encode_image(composed.image, self._encoding)

    def batches(self, seconds: float) -> dict[str, float]:
        """Images a second, and milliseconds of CPU an image, in batches as the service gets them."""
        images, began, cpu = 0, time.perf_counter(), time.process_time()
        while (took := time.perf_counter() - began) < seconds:
            self.compose(images, BATCH)
            images += BATCH
        return {
            "images_per_s": images / took,
            "cpu_ms_per_image": 1000 * (time.process_time() - cpu) / images,
        }

    def single_ms(self, seconds: float) -> float:
        """Median of images one by one."""
        found, ends = list[float](), time.perf_counter() + seconds
        while (began := time.perf_counter()) < ends:
            self.compose(len(found), 1)
            found.append(1000 * (time.perf_counter() - began))
        return median(found)


def batches(server: Server, offline: Offline, replicas: int) -> dict[str, Any]:
    """Batches in a closed loop, two requests a replica: one is composed while another is sent."""
    rounds = []
    load = Load(server.url, ROUND_S, BATCH, at_a_time=2 * replicas)
    measure(server, Load(server.url, 3, BATCH, at_a_time=2 * replicas))  # warms up
    for _ in range(ROUNDS):
        alone = offline.batches(ROUND_S / 2)
        use, _ = measure(server, load)
        rounds.append({"offline": alone, "service": asdict(use) | {"cpu_ms": use.cpu_ms}})
    return {
        "rounds": rounds,
        "cpu_to_offline": median(
            one["service"]["cpu_ms"] / one["offline"]["cpu_ms_per_image"] for one in rounds
        ),
        "rate_to_offline": median(
            one["service"]["images_per_s"] / one["offline"]["images_per_s"] for one in rounds
        ),
        "images_per_s": median(one["service"]["images_per_s"] for one in rounds),
    }


def singles(server: Server, offline: Offline) -> dict[str, Any]:
    """Requests for one image: one at a time; as many as it can, and 70 % of those at random times, in turns.

    One server with a queue whose answers all take the same time, and nothing else, has a p99 of 4.3 x p50 at
    70 % load in the long run, and of 3.5 with as many of these arrivals as come in a round.
    """
    measure(server, Load(server.url, 2, at_a_time=1))
    over, alone_ms = [], []
    times_ms = list[float]()
    for _ in range(ROUNDS):
        alone = offline.single_ms(ROUND_S / 4)
        _, answers = measure(server, Load(server.url, ROUND_S / 2, at_a_time=1))
        found = milliseconds(answers)
        over.append(median(found) - alone)
        alone_ms.append(alone)
        times_ms += found
    rounds = []
    for _ in range(ROUNDS):
        peak, _ = measure(server, Load(server.url, ROUND_S / 2, at_a_time=4))
        busy, answers = measure(server, Load(server.url, 2 * ROUND_S, per_s=0.7 * peak.images_per_s))
        loaded_ms = milliseconds(answers)
        p50_ms, p99_ms = median(loaded_ms), percentile(loaded_ms, 99)
        times = {"p50_ms": p50_ms, "p99_ms": p99_ms, "p99_to_p50": p99_ms / p50_ms}
        rounds.append({"peak": asdict(peak), "busy": asdict(busy)} | times)
    return {
        "offline_ms": median(alone_ms),
        "p50_ms": median(times_ms),
        "p99_ms": percentile(times_ms, 99),
        "p50_over_offline_ms": median(over),
        "at_70_percent": {
            "rounds": rounds,
            "p50_ms": median(one["p50_ms"] for one in rounds),
            "p99_ms": median(one["p99_ms"] for one in rounds),
        },
        "p99_to_p50": median(one["p99_to_p50"] for one in rounds),
    }


def overload(server: Server) -> dict[str, Any]:
    """Ten times as many batches as it can compose, answered or not; then what comes after."""
    measure(server, Load(server.url, 3, BATCH, at_a_time=4))
    peak, _ = measure(server, Load(server.url, ROUND_S, BATCH, at_a_time=4))
    _, answers = measure(server, Load(server.url, 3, BATCH, at_a_time=1))
    usual_ms = median(milliseconds(answers))
    rate = OVERLOAD * peak.images_per_s / BATCH
    begun, _ = measure(server, Load(server.url, OVERLOAD_S / 4, BATCH, per_s=rate))
    flood, answers = measure(server, Load(server.url, OVERLOAD_S, BATCH, per_s=rate))
    _, after = measure(server, Load(server.url, AFTERWARDS_S, BATCH, at_a_time=1))
    others = [answer for answer in answers if answer.status != 200]
    told_when = sum(answer.status in (429, 503) and answer.told_when for answer in others)
    slow = [a.ends_s for a in after if a.status != 200 or 1000 * a.seconds > 2 * usual_ms]
    return {
        "peak": asdict(peak),
        "overload": asdict(flood),
        "goodput_to_peak": flood.images_per_s / peak.images_per_s,
        "others_told_when": told_when / max(len(others), 1),
        "memory_growth": max(flood.mib[role] / begun.mib[role] for role in flood.mib),
        "usual_ms": usual_ms,
        "normal_after_s": max(slow, default=0.0),
    }


def milliseconds(answers: list[Answer]) -> list[float]:
    """Whoever gets no image waits as long as anybody would."""
    return [1000 * (answer.seconds if answer.status == 200 else LONGEST_S) for answer in answers]


def percentile(values: list[float], which: int) -> float:
    return quantiles(values, n=100, method="inclusive")[which - 1]


def start(material: Material) -> dict[str, Any]:
    """With a large pool: seconds until it is ready, and what two replicas hold of it."""
    pool = large_pool(material.work / "large", LARGE)
    large = Material(pool, material.backgrounds, material.work)
    pool_mib = sum(file.stat().st_size for file in pool.folder.rglob("*.arrow")) / 1024**2
    with Server(material.work / "start.log", large.options("--replicas=2")) as server:
        for _ in range(4):  # the same samples each time: soon both replicas have seen all of them
            measure(server, Load(server.url, 2, BATCH, at_a_time=4))
        replicas = server.replicas()
        held = [{name: one.mapped_mib(pool.folder, name) for name in ("Rss", "Pss")} for one in replicas]
        return {
            "instances": len(pool),
            "pool_mib": pool_mib,
            "seconds_to_ready": server.seconds_to_ready,
            "mapped_mib": held,
            "own_mib": [one.mib("RssAnon") for one in replicas],
            "pages_to_one": sum(one["Pss"] for one in held) / max(one["Rss"] for one in held),
        }


def measure_front(name: str, server: Server, offline: Offline) -> dict[str, Any]:
    """One replica behind one of Ray's two proxies."""
    return {
        "batches": told(name, batches(server, offline, 1)),
        "singles": told(name, singles(server, offline)),
        "overload": told(name, overload(server)),
    }


def gates_of(fronts: dict[str, Any], two_to_one: dict[str, float], large: dict[str, Any]) -> list[Gate]:
    alone = fronts["Ray's proxy"]["batches"]
    gates = [
        Gate("batches: CPU s an image, x offline", alone["cpu_to_offline"], "<=", 1.2),
        Gate("batches: images/s, x one offline core", alone["rate_to_offline"], ">=", 0.8),
        Gate("2 replicas: CPU s an image, x 1", two_to_one["cpu"], "<=", 1.15),
    ]
    if CORES >= 4:
        gates.append(Gate("2 replicas: images/s, x 1", two_to_one["rate"], ">=", 1.6))
    for name, front in fronts.items():
        single, flood = front["singles"], front["overload"]
        gates += [
            Gate(f"{name}: 1 image, p50, ms + offline", single["p50_over_offline_ms"], "<=", MORE_MS[name]),
            Gate(f"{name}: 70 % load, p99, x p50", single["p99_to_p50"], "<=", 4),
            Gate(f"{name}: 10 x load, goodput, x peak", flood["goodput_to_peak"], ">=", 0.9),
            Gate(f"{name}: 10 x load, others told when", flood["others_told_when"], ">=", 1),
            Gate(f"{name}: 10 x load, memory, x at first", flood["memory_growth"], "<=", 1.05),
            Gate(f"{name}: as before after it, s", flood["normal_after_s"], "<=", 10),
        ]
    return [
        *gates,
        Gate(f"start, {LARGE:,} instances, s", large["seconds_to_ready"], "<=", 20),
        Gate("pool pages in 2 replicas, x in one", large["pages_to_one"], "<=", 1.2),
    ]


def main() -> None:
    prepare_worker()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photos = resolve_source(photo_folder(work / "photos", CASE.side_px))
        material = Material(object_pool(work / "pool"), open_or_index(photos, work / "cache"), work)
        offline = Offline(material)
        offline.compose(0, BATCH)
        fronts = {}
        for front, options in FRONTS.items():
            with Server(work / "server.log", material.options(*options)) as server:
                fronts[front] = measure_front(front, server, offline)
        with Server(work / "server.log", material.options("--replicas=2")) as server:
            two = told("2 replicas", batches(server, offline, 2))
        large = told("start", start(material))
    one = fronts["Ray's proxy"]["batches"]
    two_to_one = {
        "cpu": two["cpu_to_offline"] / one["cpu_to_offline"],
        "rate": two["rate_to_offline"] / one["rate_to_offline"],
    }
    details = {"fronts": fronts, "two_replicas": two, "two_to_one": two_to_one, "start": large}
    finish("serve", gates_of(fronts, two_to_one, large), details)


def told(name: str, result: dict[str, Any]) -> dict[str, Any]:
    short = {key: value for key, value in result.items() if not isinstance(value, list | dict)}
    print(f"{name:<12}", "  ".join(f"{key} {value:.4g}" for key, value in short.items()), flush=True)
    return result


if __name__ == "__main__":
    main()
