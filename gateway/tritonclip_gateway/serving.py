"""Runs the application on a socket until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from tritonclip.errors import InvalidArgument
from tritonclip_gateway.app import create_app
from tritonclip_gateway.gateway import Gateway
from tritonclip_gateway.settings import Settings

# For requests in flight when told to stop, in seconds.
_STOP_SECONDS = 10


class HttpServer(uvicorn.Server):
    """The gateway on its own socket.

    `run` serves until SIGINT, SIGTERM or `should_exit`: it takes no more connections, answers what
    is in flight, and ends within seconds whatever that does.

    Attributes:
        url: where it listens.
        gateway: what its requests share.
    """

    def __init__(
        self, settings: Settings, on_start: Callable[[HttpServer], object] = lambda _: None
    ) -> None:
        """Listen; nothing is answered yet.

        Args:
            settings: how to run.
            on_start: told when requests are answered.

        Raises:
            InvalidArgument: the address cannot be listened on.
        """
        app = create_app(settings)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
            )
        )
        self.gateway: Gateway = app.state.gateway
        self._on_start = on_start
        self._socket = _listen(settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "http" if settings.tls_certificate is None else "https"
        self.url = f"{scheme}://{host}:{self._socket.getsockname()[1]}"

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop."""
        with self._socket:
            super().run(sockets or [self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        if self.started:
            self._on_start(self)


def _listen(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise InvalidArgument(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening
