"""A running server under one setting after another.

Triton loads a model again under a config that comes with the request, from the files that it has,
while the one before answers until the new one is there; under the config that it has already it
does nothing. A model that cannot be loaded leaves the one before in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritonclip import Client
from tritonclip.endpoint import Endpoint, parse_endpoint
from tritonclip_export.bench.results import Measurement
from tritonclip_export.errors import BenchmarkError, SettingRefusedError, TuningError
from tritonclip_export.repository.setting import Setting, write_setting
from tritonclip_export.served.model_config import read_config
from tritonclip_export.server.ports import Ports
from tritonclip_export.server.server import Server
from tritonclip_export.tuning.search import Figures

if TYPE_CHECKING:
    from tritonclient.grpc import InferenceServerClient

# ONNX Runtime with TensorRT inside builds engines while it loads.
LOAD_SECONDS = 600.0


@dataclass(frozen=True)
class Host:
    """Where settings are tried.

    Attributes:
        address: of the server, which is started if it does not run and is ours.
        alive: whether it runs; of somebody else's, True.
    """

    address: Callable[[], Endpoint]
    alive: Callable[[], bool]


@contextmanager
def own_server(repository: Path, bundle: str) -> Iterator[Host]:
    """The server from PyPI on a bundle's two ensembles, without response cache.

    Nothing of its log is shown: what it says about settings that do not work comes with the answer.
    """
    server = Server(
        repository,
        ports=Ports(0, 0, 0),
        control="explicit",
        load=[f"{bundle}_image", f"{bundle}_text"],
        cache_bytes=0,
        log=lambda _: None,
        extra_args=["--disable-auto-complete-config"],  # they are complete, and it takes seconds
    )

    def address() -> Endpoint:
        server.start()
        return parse_endpoint(server.grpc_url)

    try:
        yield Host(address, lambda: server.is_running)
    finally:
        server.stop()


@contextmanager
def running_server(
    url: str, repository: Path, bundle: str, models: Sequence[str]
) -> Iterator[Host]:
    """A server of somebody else's; before and after, it runs `models` as the repository says.

    Raises:
        TuningError: it is no gRPC address, or the server lets nobody load models.
        ModelNotFound: it does not serve the bundle.
    """
    endpoint = parse_endpoint(url)
    if endpoint.protocol != "grpc":
        raise TuningError(f"cannot tune over {endpoint}: give the gRPC address, HOST:PORT")
    with Client(url, model=bundle) as client:
        client.info()

    def restore() -> None:
        with connection(endpoint) as server:
            load(server, [read_config(repository / model / "config.pbtxt") for model in models])

    restore()
    try:
        yield Host(lambda: endpoint, lambda: True)
    finally:
        restore()


@contextmanager
def connection(endpoint: Endpoint) -> Iterator[InferenceServerClient]:
    """Triton's own client, closed with the block."""
    from tritonclient.grpc import InferenceServerClient

    client = InferenceServerClient(endpoint.authority, ssl=endpoint.tls)
    try:
        yield client
    finally:
        client.close()


def load(server: InferenceServerClient, configs: Sequence[Any]) -> None:
    """Have models run under these configs.

    Raises:
        SettingRefusedError: the server cannot; says why.
        TuningError: it lets nobody load models, or has gone.
    """
    from google.protobuf import json_format
    from tritonclient.utils import InferenceServerException

    for config in configs:
        text = json_format.MessageToJson(config, preserving_proto_field_name=True)
        try:
            server.load_model(config.name, config=text, client_timeout=LOAD_SECONDS)
        except InferenceServerException as error:
            message = (error.message() or "no reason given").partition("\n")[0]
            if "not allowed" in message:
                raise TuningError(
                    f"the server lets nobody load models ({message}): start it with `tritonclip "
                    "serve --explicit`, or tritonserver with --model-control-mode=explicit "
                    "--load-model=*"
                ) from error
            if error.status() == "StatusCode.UNAVAILABLE":
                raise TuningError(f"the server has gone ({message}): start it again") from error
            raise SettingRefusedError(f"cannot load {config.name}: {message}") from error


def measure_under(
    host: Host, configs: tuple[Any, Any], measure: Callable[[Endpoint], Measurement]
) -> Callable[[Setting], Figures]:
    """What `search` measures with.

    Args:
        host: where the settings are tried.
        configs: of a tower's encoder and of the model before it, as they are now.
        measure: puts load on a server.
    """

    def once(setting: Setting) -> Figures:
        changed = tuple(_copy(config) for config in configs)
        write_setting(setting, *changed)
        endpoint = host.address()
        with connection(endpoint) as server:
            load(server, changed)
        try:
            measured = measure(endpoint)
        except BenchmarkError as error:
            raise SettingRefusedError(str(error)) from error
        if measured.failures or measured.latency is None:
            reasons = "; ".join(measured.failures) or "no request was answered in time"
            raise SettingRefusedError(f"requests fail: {reasons}")
        # By Little's law, from callers that never pause. What was answered within a second depends
        # on where in a batch that second ends, which for short measurements is most of the noise.
        throughput = 1000 * measured.concurrency * measured.batch / measured.latency.mean
        return Figures(throughput, measured.latency.p99)

    def figures(setting: Setting) -> Figures:
        try:
            return once(setting)
        except TuningError:
            if host.alive():
                raise
        # Replacing a model of Triton's Python backend takes the whole server with it now and then
        # (`boost::interprocess::lock_exception`), which says nothing about the setting.
        try:
            return once(setting)
        except TuningError as error:
            if host.alive():
                raise
            raise SettingRefusedError(f"the server ended twice: {error}") from error

    return figures


def _copy(config: Any) -> Any:
    copy = type(config)()
    copy.CopyFrom(config)
    return copy
