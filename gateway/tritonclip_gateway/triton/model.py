"""A bundle, on all servers that have it: each request goes to the one with the least to do."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tritonclip import AsyncClient
from tritonclip.errors import ServerError, ServerUnavailable
from tritonclip.info import ModelInfo
from tritonclip_gateway.triton.server import Server

T = TypeVar("T")


class Model:
    """One bundle.

    Attributes:
        info: what its servers say about it.
        created: when it was first seen, in seconds since 1970.
        servers: those that have it; of each, whether it embedded when it was last asked.
    """

    def __init__(self, info: ModelInfo) -> None:
        self.info = info
        self.created = int(time.time())
        self.servers: dict[Server, bool] = {}

    @property
    def is_ready(self) -> bool:
        """Whether at least one server embeds with it."""
        return any(self.servers.values())

    async def ask(self, question: Callable[[AsyncClient], Awaitable[T]]) -> T:
        """The answer of the least loaded server; of the next one, if that fails.

        Each server is asked once. One that fails is left alone, unless there is no other, until a
        look at its health finds it well.

        Raises:
            TritonClipError: the last server's, if all fail; or of the question, at once.
        """
        left = dict(self.servers)
        if not left:
            raise ServerUnavailable(f"no server has {self.info.name!r} with the same weights")
        while True:
            server = min(left, key=lambda each: (not left[each], each.in_flight))
            del left[server]
            try:
                with server.asked():
                    answer = await question(server.client(self.info.name))
            except (ServerUnavailable, ServerError):
                self.servers[server] = False
                if not left:
                    raise
            else:
                return answer
