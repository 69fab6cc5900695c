"""The service on this machine: a Ray of its own, or the cluster that RAY_ADDRESS names."""

import ipaddress
import math
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xpaste_ray.config.serve import ServeLimits, ServeSettings
from xpaste_ray.errors import ConfigError
from xpaste_ray.serve import front
from xpaste_ray.serve.tokens import VARIABLE as TOKEN_VARIABLE

APPLICATION = "xpaste"
_LAST_ANSWERS_S = 3.0  # after a signal to end
_CLIENT_SECONDS = "60"  # HAProxy's own is an hour, in which a half-open connection stays


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


def check_exposure(address: Address, settings: ServeSettings) -> ServeSettings:
    """The settings; without a token open to all, where nobody else can come, by this machine's own names.

    ConfigError if others can come, and nobody said that they may.
    """
    if settings.token_file or os.environ.get(TOKEN_VARIABLE):
        return settings
    if not (address.is_loopback or settings.insecure):
        raise ConfigError(
            f"--host {address.host} lets others in: give --token-file, or --insecure if anyone may compose"
        )
    hosts = settings.hosts or ("localhost", socket.gethostname(), address.host)
    return settings.model_copy(update={"insecure": True, "hosts": hosts})


def with_absolute_paths(settings: ServeSettings) -> ServeSettings:
    """What lies here, told so that a process with another working directory finds it."""
    told = settings.model_dump()
    for name in ("pool", "backgrounds", "background_images", "contexts", "token_file"):
        told[name] = _absolute(told[name])
    told["presets"] = [_absolute(preset) for preset in settings.presets]
    return ServeSettings.model_validate(told)


def _absolute(place: str | None) -> str | None:
    """Not a colour, an address, or the name of a preset, of which there is no file."""
    return str(Path(place).absolute()) if place and Path(place).exists() else place


def serve_here(
    settings: ServeSettings, address: Address, replicas: int, haproxy: bool, ready: Callable[[], None]
) -> None:
    """Serve until a signal to end. ready: is called once requests are answered. ConfigError."""
    _check_port(address)
    with tempfile.TemporaryDirectory(prefix="xpaste-serve-") as folder:
        _set_environment(Path(folder), haproxy, settings.limits)
        _serve(settings, address, replicas, ready)


def _check_port(address: Address) -> None:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((address.host, address.port))
        except OSError as error:
            raise ConfigError(
                f"--host {address.host} --port {address.port} cannot be served on ({error.strerror}): "
                "give another --port"
            ) from None


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel gives to whoever asks for any, as Ray's processes do while they start. Two
    services that start together look in different places."""
    found: list[int] = []
    port = 20_000 + os.getpid() % 10_000
    while len(found) < count:
        with socket.socket() as taken:
            try:
                taken.bind(("", port))
                found.append(port)
            except OSError:
                pass
        port = 20_000 + (port + 1) % 10_000
    return found


def _set_environment(folder: Path, haproxy: bool, limits: ServeLimits) -> None:
    """What Ray reads when it is imported, here and in the processes that it starts."""
    if "ray" in sys.modules:
        raise RuntimeError("ray is imported already: it would not hear what is set now")
    told = {
        front.VARIABLE: front.IMPORT_PATH,
        front.BODY_BYTES_VARIABLE: str(limits.body_bytes),
        front.BODY_SECONDS_VARIABLE: str(limits.body_seconds),
        front.ALONE_VARIABLE: "1",  # of a Ray that is started here
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # our handlers never block, so they need no loops of their own: a millisecond less for an image
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        # two or three more. A replica's port for it is open in any case, to whoever has Ray's token
        "RAY_SERVE_PROXY_USE_GRPC": "1",
    }
    if not os.environ.get("RAY_ADDRESS"):
        told["RAY_AUTH_MODE"] = "token"  # what is told to Ray's own ports is run
    if haproxy:
        stats_port, metrics_port = map(str, _free_ports(2))
        told |= {
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
            "RAY_SERVE_HAPROXY_STATS_PORT": stats_port,  # Ray's fixed ones may be another service's
            "RAY_SERVE_HAPROXY_METRICS_PORT": metrics_port,
            "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": _CLIENT_SECONDS,
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(math.ceil(limits.seconds) + 10),  # after each change
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",  # nobody else sends requests here
        }
    for name, value in told.items():
        os.environ.setdefault(name, value)


def _serve(settings: ServeSettings, address: Address, replicas: int, ready: Callable[[], None]) -> None:
    import logging

    import ray
    from ray import serve

    from xpaste_ray.serve.deployment import Compositor

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # of this process: it tells itself what it does
    end = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local", num_cpus=replicas * settings.threads + 1, include_dashboard=False,
            log_to_driver=False, logging_level=logging.ERROR, object_store_memory=200 * 2**20,
            _node_ip_address="127.0.0.1",
        )  # fmt: skip
    try:
        serve.start(
            proxy_location="HeadOnly",
            logging_config={"enable_access_log": False},  # a replica's own line says more
            http_options={
                "host": address.host, "port": address.port, "request_timeout_s": settings.limits.seconds + 10,
            },
        )  # fmt: skip
        app = Compositor.options(  # type: ignore[attr-defined]
            num_replicas=replicas,
            ray_actor_options={"num_cpus": settings.threads},
            graceful_shutdown_timeout_s=_LAST_ANSWERS_S,
            graceful_shutdown_wait_loop_s=0.2,
            user_config=settings.model_dump(mode="json"),
        ).bind()
        try:
            serve.run(app, name=APPLICATION, route_prefix="/")
            ready()
            end.wait()
        finally:
            serve.delete(APPLICATION)  # no more: what else the cluster serves is not ours
    finally:
        ray.shutdown()
