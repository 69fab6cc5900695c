"""What Ray listens on beside the service's own port: it takes orders from who has Ray's token only."""

import os
import pickle
import secrets
from pathlib import Path

import grpc
import httpx
import pytest
from ray.serve.generated.serve_pb2 import ASGIRequest
from ray.serve.generated.serve_pb2_grpc import ASGIServiceStub

from tests.serve.live import live

_LISTENS = "0A"


class Order:
    """Unpickled, it makes a file."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def ports_of(pid):
    """On which the process listens."""
    sockets = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, here, _, state, *rest = line.split()
            if state == _LISTENS and f"socket:[{rest[5]}]" in sockets:
                found.append(int(here.rpartition(":")[2], 16))
    return found


@pytest.mark.faults
def test_a_replica_unpickles_nothing_for_who_has_not_rays_token(tmp_path):
    token = secrets.token_hex(32)
    with live(env={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}) as server:
        with server.client() as client:
            assert client.get("/v1/pool").status_code == httpx.codes.OK
        (replica,) = server.replicas
        heard = {
            (port, asked): ask(port, asked, tmp_path / f"{port}-{asked}")
            for port in ports_of(replica)
            for asked in ("", secrets.token_hex(32), token)
        }
        refused = [port for (port, _), status in heard.items() if status == grpc.StatusCode.UNAUTHENTICATED]
        (port,) = set(refused)  # the one by which proxies send requests
        assert len(refused) == 2 and heard[port, token] != grpc.StatusCode.UNAUTHENTICATED
        assert [made.name for made in tmp_path.iterdir()] == [f"{port}-{token}"]


def ask(port, token, file):
    """The status of a call that would make the file."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = ASGIServiceStub(channel).HandleRequest
        order = ASGIRequest(pickled_request_metadata=pickle.dumps(Order(file)))
        with pytest.raises(grpc.RpcError) as error:
            call(order, timeout=10, metadata=metadata)
        return error.value.code()
