"""Runs `tritonserver` from PyPI on a model repository, in the foreground of a program.

    with Server("repository") as server:
        client = tritonclip.Client(server.grpc_url)

The server is a child process that listens on the loopback interface, ends with the `with` block or
with the program, and leaves nothing behind (see `keeper`).
"""

import http.client
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from tritonclip_export.errors import RepositoryError
from tritonclip_export.server import tritonserver
from tritonclip_export.server.log import Level, LogLine, load_failures, still_loading
from tritonclip_export.server.ports import PortInUseError, Ports
from tritonclip_export.server.process import ServerFailedError, ServerProcess, indented

Control = Literal["none", "poll", "explicit"]

# An embedding takes a few KiB with its bookkeeping, so this remembers some ten thousand texts.
CACHE_BYTES = 64 * 2**20

# How many models load at a time. By default two for each core do, and where there are two cores,
# the last models of a bundle wait for the processes of the first.
_LOADING = max(8, 2 * (os.cpu_count() or 1))

# A parameter of every config that `assemble` writes, none of which leaves anything to the server.
_ASSEMBLED = b'"tritonclip_bundle"'

# How soon after the announcement of a service the server complains that its port is taken.
_BIND_SECONDS = 0.2
_ATTEMPTS = 3


class ModelLoadError(ServerFailedError):
    """The server refused models of the repository.

    Attributes:
        failures: model name -> the server's reason.
    """

    def __init__(self, repository: Path, failures: dict[str, str], log: Sequence[str]) -> None:
        listed = "\n".join(f"  {model}: {indented(reason)}" for model, reason in failures.items())
        super().__init__(f"tritonserver cannot load these models of {repository}:\n{listed}", log)
        self.failures = failures


class ServerTimeoutError(ServerFailedError, TimeoutError):
    """The server was not ready in time."""


def control_arguments(control: Control, poll_seconds: int, load: Sequence[str]) -> list[str]:
    """The arguments that tell tritonserver when to load which models."""
    polling = [f"--repository-poll-secs={poll_seconds}"] if control == "poll" else []
    return [
        f"--model-control-mode={control}",
        *polling,
        *(f"--load-model={model}" for model in load),
    ]


def cache_arguments(size: int, control: Control) -> list[str]:
    """The arguments that give tritonserver a response cache of `size` bytes; none for 0.

    None either where models may change: Triton (2.51) goes on giving the answers of the model that
    had the name before, which may be vectors of another space.
    """
    return [f"--cache-config=local,size={size}"] if size and control == "none" else []


def loading_arguments(repository: Path, control: Control) -> list[str]:
    """The arguments that tell tritonserver how to load models.

    By default it starts every Python model twice, the first time to ask it for what its config
    lacks. Nothing lacks in what `assemble` writes; others' models may stand beside it, or come
    later to a server that may load more.
    """
    configs = [
        folder / "config.pbtxt"
        for folder in repository.iterdir()
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    whole = control == "none" and all(
        config.is_file() and _ASSEMBLED in config.read_bytes() for config in configs
    )
    return [
        f"--model-load-thread-count={_LOADING}",
        *(["--disable-auto-complete-config"] if whole else []),
    ]


def tracing_arguments(collector: str | None) -> list[str]:
    """The arguments that make tritonserver send a span of each step of each request.

    A request whose metadata have a `traceparent` goes on with that trace.
    """
    if collector is None:
        return []
    wanted = ("mode=opentelemetry", "rate=1", "level=TIMESTAMPS", f"opentelemetry,url={collector}")
    return [f"--trace-config={setting}" for setting in wanted]


def to_stderr(line: str) -> None:
    """Where the server's log goes unless told otherwise."""
    print(line, file=sys.stderr, flush=True)


class Server:
    """One `tritonserver` on one model repository.

    Usable as a context manager or by `start` and `stop`; a stopped server can be started again.

    Args:
        repository: the model repository.
        host: the IPv4 address to listen on, for all three endpoints.
        ports: where to listen.
        control: Triton's model control mode: load everything once (`none`), follow changes of the
            repository (`poll`), or load what requests ask for (`explicit`).
        poll_seconds: how often `poll` looks for changes.
        load: the models to load at the start in mode `explicit`; `["*"]` for all.
        cache_bytes: size of the response cache for the models that switch it on; 0 for none. There
            is none either where models may change.
        traces: where to send spans (OpenTelemetry, OTLP over HTTP), as in
            `http://127.0.0.1:4318/v1/traces`; None for nowhere.
        log: takes the lines of the server's log, one by one, from another thread.
        log_level: the least severe lines that `log` gets; VERBOSE also makes the server say more.
        start_timeout: seconds from the start of the process until every model is ready.
        stop_timeout: seconds for requests in flight when the server is told to stop.
        restart: whether a server that breaks is started again, on the same ports: it was killed,
            or the process of a Python model died or hangs. Requests in that gap fail as those to a
            server that cannot be reached. If the keeper is killed itself, `wait` starts both again.
        answer_timeout: with `restart`, seconds after which a model hangs that has done nothing
            while something waited for it.
        extra_args: further arguments of tritonserver.
    """

    def __init__(
        self,
        repository: str | os.PathLike[str],
        *,
        host: str = "127.0.0.1",
        ports: Ports = Ports(),  # noqa: B008 (immutable)
        control: Control = "none",
        poll_seconds: int = 5,
        load: Sequence[str] = (),
        cache_bytes: int = CACHE_BYTES,
        traces: str | None = None,
        log: Callable[[str], None] = to_stderr,
        log_level: Level = Level.WARNING,
        start_timeout: float = 120.0,
        stop_timeout: float = 10.0,
        restart: bool = False,
        answer_timeout: float = 60.0,
        extra_args: Sequence[str] = (),
    ) -> None:
        self.repository = Path(repository).absolute()
        self.host = host
        self._wanted_ports = ports
        self._ports: Ports | None = None
        self._control: Control = control
        self._poll_seconds = poll_seconds
        self._load = tuple(load)
        self._cache_bytes = cache_bytes
        self._traces = traces
        self._log = log
        self._log_level = log_level
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._restart = restart
        self._answer_timeout = answer_timeout
        self._extra_args = tuple(extra_args)
        self._process: ServerProcess | None = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def http_url(self) -> str:
        """HOST:PORT of the HTTP endpoint, as Triton's own clients take it."""
        return self._url(self._listening.http)

    @property
    def grpc_url(self) -> str:
        """HOST:PORT of the gRPC endpoint."""
        return self._url(self._listening.grpc)

    @property
    def metrics_url(self) -> str:
        """HOST:PORT of the Prometheus metrics, which are at /metrics."""
        return self._url(self._listening.metrics)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.is_running

    @property
    def log_tail(self) -> list[str]:
        """The last lines of the log at every level, also of a server that has ended."""
        return [line.text for line in self._process.log()] if self._process else []

    def start(self) -> None:
        """Start the process and wait until every model is ready.

        Raises:
            RepositoryError: the repository does not exist or holds no model.
            ServerMissingError: this environment cannot run the server.
            PortInUseError: a port that was asked for by number is taken.
            ModelLoadError: a model cannot be loaded.
            ServerTimeoutError: the models were not ready in time.
            ServerDiedError: the server ended for another reason.
        """
        if self.is_running:
            return
        self._check_repository()
        installation = tritonserver.locate()
        for attempt in range(1, _ATTEMPTS + 1):
            self._ports = self._wanted_ports.resolve(self.host)
            self._process = process = ServerProcess(
                installation,
                self.repository,
                self._arguments(installation),
                self._stop_timeout,
                self._show,
                restart=self._restart,
                answer_timeout=self._answer_timeout,
            )
            try:
                self._await_ready(process)
            except _PortTakenMeanwhile as taken:
                process.stop()
                if attempt == _ATTEMPTS:
                    raise PortInUseError(taken.port, self.host) from None
            except BaseException:
                process.stop()
                raise
            else:
                return

    def stop(self) -> None:
        """Let requests in flight finish, then end the process and all that belongs to it."""
        if self._process is not None:
            self._process.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the server has ended, for `timeout` seconds at most; whether it has.

        Raises:
            ServerDiedError: it ended without being told to.
        """
        if self._process is None:
            return True
        status = self._process.wait(timeout)
        if status is None or self._process.told_to_stop:
            return status is not None
        if self._restart and self._process.keeper_was_killed:
            self._log("the server's keeper was killed: starting both again")
            self._wanted_ports = self._listening
            self.start()
            return self.wait(timeout)
        raise self._process.death(status)

    @property
    def _listening(self) -> Ports:
        if self._ports is None:
            raise RuntimeError("the server has not been started")
        return self._ports

    def _url(self, port: int | None) -> str:
        return f"{'127.0.0.1' if self.host == '0.0.0.0' else self.host}:{port}"

    def _check_repository(self) -> None:
        if not self.repository.is_dir():
            raise RepositoryError(
                f"{self.repository} is not a folder: `tritonclip assemble` makes a repository"
            )
        if self._control == "none" and not any(self.repository.glob("*/config.pbtxt")):
            raise RepositoryError(
                f"{self.repository} holds no model (no */config.pbtxt): "
                "`tritonclip assemble` makes a repository"
            )

    def _arguments(self, installation: tritonserver.TritonServer) -> list[str]:
        ports = self._listening
        arguments = [
            f"--http-address={self.host}",
            f"--grpc-address={self.host}",
            f"--metrics-address={self.host}",
            f"--http-port={ports.http}",
            f"--grpc-port={ports.grpc}",
            f"--metrics-port={ports.metrics}",
            f"--exit-timeout-secs={max(1, round(self._stop_timeout))}",
            f"--cache-directory={installation.caches}",
            *control_arguments(self._control, self._poll_seconds, self._load),
            *loading_arguments(self.repository, self._control),
            *cache_arguments(self._cache_bytes, self._control),
            *tracing_arguments(self._traces),
        ]
        if self._log_level == Level.VERBOSE:
            arguments.append("--log-verbose=1")
        return [*arguments, *self._extra_args]

    def _show(self, line: LogLine) -> None:
        if line.level >= self._log_level:
            self._log(line.text)

    def _await_ready(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + self._start_timeout
        process.announced.wait(self._start_timeout)
        quiet_until = time.monotonic() + _BIND_SECONDS
        while process.is_running and not process.port_taken:
            quiet = process.announced.is_set() and time.monotonic() > quiet_until
            if quiet and self._answers_ready():
                return
            if time.monotonic() > deadline:
                loading = still_loading(process.log())
                raise ServerTimeoutError(
                    f"tritonserver was not ready within {self._start_timeout:g} s"
                    + (f"; still loading: {', '.join(loading)}" if loading else ""),
                    self.log_tail,
                )
            time.sleep(0.02)
        if process.port_taken:
            raise _PortTakenMeanwhile(process.port_taken)
        failures = load_failures(process.log())
        if failures:
            raise ModelLoadError(self.repository, failures, self.log_tail)
        raise process.death(process.wait())

    def _answers_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.http_url, timeout=1.0)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class _PortTakenMeanwhile(Exception):  # noqa: N818 (never leaves this module)
    """Another program took the port between our look and the server's."""

    def __init__(self, port: int) -> None:
        self.port = port
