"""The three ports of a server, and finding free ones."""

import errno
import socket
from contextlib import ExitStack
from dataclasses import dataclass

from tritonclip.errors import InvalidArgument, TritonClipError

_USUAL = {"http": 8000, "grpc": 8001, "metrics": 8002}


class PortInUseError(TritonClipError):
    """Another program listens on a port that was asked for.

    Attributes:
        port: its number.
    """

    def __init__(self, port: int, host: str) -> None:
        super().__init__(
            f"port {port} on {host} is taken by another program: stop it (`ss -ltnp` names it), "
            f"choose another port, or 0 for any free one"
        )
        self.port = port


@dataclass(frozen=True)
class Ports:
    """Where a server listens.

    Attributes:
        http: a port; 0 for any free one; None for the usual 8000, or any free one if that is busy.
        grpc: likewise, usually 8001.
        metrics: likewise, usually 8002.
    """

    http: int | None = None
    grpc: int | None = None
    metrics: int | None = None

    def resolve(self, host: str) -> "Ports":
        """Three different ports of `host` that are free now; nothing keeps them free.

        Raises:
            PortInUseError: a port that was asked for by number is busy.
            InvalidArgument: `host` is no address of this machine, or a port is asked for twice.
        """
        wanted = {"http": self.http, "grpc": self.grpc, "metrics": self.metrics}
        numbers = [port for port in wanted.values() if port]
        if len(set(numbers)) < len(numbers):
            raise InvalidArgument(
                f"HTTP, gRPC and metrics need three different ports, not {numbers}"
            )
        with ExitStack() as held:  # all at once, so that no free port is given twice
            found: dict[str, int] = {}
            # Those asked for by number first, lest another one is given their port.
            for name, port in sorted(wanted.items(), key=lambda item: not item[1]):
                listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if port:
                    if not _bind(listener, host, port):
                        raise PortInUseError(port, host)
                elif port == 0 or not _bind(listener, host, _USUAL[name]):
                    _bind(listener, host, 0)
                listener.listen()  # bound alone would not keep others with SO_REUSEADDR away
                found[name] = listener.getsockname()[1]
            return Ports(**found)


def _bind(listener: socket.socket, host: str, port: int) -> bool:
    try:
        listener.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise InvalidArgument(
                f"{host} is not an IPv4 address of this machine: {error}"
            ) from error
        if isinstance(error, PermissionError):
            raise InvalidArgument(f"port {port} needs privileges: choose one above 1023") from error
        return False
    return True
