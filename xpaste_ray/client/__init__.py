"""Clients of the compositing service, for programs that train elsewhere or look.

client = ComposeClient("http://host:8000")
batch = client.compose(count=16, seed=7)

`calls` says what may be asked and how an answer is read, `session` what both clients share; `blocking` and
`asynchronous` only send and receive. `torch` puts a dataset on top.
"""

from xpaste_ray.client.asynchronous import AsyncComposeClient
from xpaste_ray.client.batches import Batch, LabelledObject, ReceivedSample
from xpaste_ray.client.blocking import ComposeClient
from xpaste_ray.client.calls import Asked
from xpaste_ray.client.errors import (
    Busy,
    ClientError,
    DamagedAnswer,
    Passing,
    RequestRefused,
    ServiceFailed,
    Unavailable,
    Unreachable,
    VersionChanged,
)
from xpaste_ray.client.retries import Retries
from xpaste_ray.client.versions import Versions

__all__ = [
    "Asked",
    "AsyncComposeClient",
    "Batch",
    "Busy",
    "ClientError",
    "ComposeClient",
    "DamagedAnswer",
    "LabelledObject",
    "Passing",
    "ReceivedSample",
    "RequestRefused",
    "Retries",
    "ServiceFailed",
    "Unavailable",
    "Unreachable",
    "VersionChanged",
    "Versions",
]
