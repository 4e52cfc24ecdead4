"""Our gateway as a service to load: the bundle of a server, over HTTP in OpenAI's shape."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tritonclip.endpoint import Endpoint, parse_endpoint
from tritonclip_export.bench.measure import Service
from tritonclip_export.bench.sending import Request, Target
from tritonclip_export.bench.workloads import Workload

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class _Requests:
    """Ready-made; picklable."""

    workload: Workload

    def __call__(self, number: int) -> Request:
        item = self.workload.item(number)
        if self.workload.kind == "text":
            given: object = item.decode()
        else:
            given = {"image": base64.b64encode(item).decode()}
        body = {"input": given, "encoding_format": "base64", "truncate": True}
        return Request(json.dumps(body).encode(), _JSON)


@contextmanager
def gateway(triton: str, name: str = "gateway") -> Iterator[tuple[Service, psutil.Process]]:
    """One in a process of its own, and that process."""
    with running(triton) as (url, pid):
        yield _service(name, parse_endpoint(url), pid), psutil.Process(pid)


@contextmanager
def running(triton: str, *options: str) -> Iterator[tuple[str, int]]:
    """The address and the number of one that runs with these options of the command."""
    command = [
        *(str(Path(sys.executable).with_name("tritonclip")), "gateway", "--triton", triton),
        *("--port", "0", "--json", "--log-level", "warning", *options),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["http"], process.pid
        finally:
            process.terminate()


def _service(name: str, endpoint: Endpoint, pid: int) -> Service:
    return Service(
        name=name,
        target=lambda _: Target(endpoint, "/v1/embeddings"),
        requests=lambda workload, _: _Requests(workload),
        pid=pid,
    )
