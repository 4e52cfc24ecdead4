"""The bundles that a gateway offers, and their names."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence

from tritonclip.errors import TritonClipError
from tritonclip_gateway.errors import ApiError
from tritonclip_gateway.triton.model import Model
from tritonclip_gateway.triton.server import Server

_LOG = logging.getLogger(__name__)

# Between two looks at the servers, in seconds.
_PAUSE = 5.0


class Models:
    """Knows what is served where, by looking every few seconds."""

    def __init__(
        self, servers: Sequence[Server], aliases: Mapping[str, str], default: str | None
    ) -> None:
        """Know nothing yet; see `Settings` for the names."""
        self.servers = servers
        self.aliases = aliases
        self._default = default
        self._models: dict[str, Model] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    @property
    def is_ready(self) -> bool:
        """Whether all bundles that were ever seen, and at least one, can be asked."""
        return bool(self._models) and all(model.is_ready for model in self)

    def get(self, name: str | None) -> Model:
        """A bundle by its name or an alias; the default for None.

        Raises:
            ApiError: there is none of that name, or it is not clear which is meant.
        """
        wanted = name or self._default
        if wanted is None and len(self._models) == 1:
            return next(iter(self))
        found = self._models.get(self.aliases.get(wanted or "", wanted or ""))
        if found is not None:
            return found
        if not self._models:
            raise ApiError(
                503,
                "model_unavailable",
                "no model is served yet",
                headers={"Retry-After": "1"},
            )
        names = ", ".join(sorted({*self._models, *self.aliases}))
        if wanted is None:
            raise ApiError(
                400, "model_required", f"say which model, one of: {names}", param="model"
            )
        raise ApiError(
            404,
            "model_not_found",
            f"there is no model {wanted!r}; there are: {names}",
            param="model",
        )

    async def watch(self) -> None:
        """Look at the servers, for ever."""
        while True:
            await asyncio.sleep(_PAUSE)
            await self.look()

    async def look(self) -> None:
        """Find out what is served where, and whether it is well."""
        await asyncio.gather(*map(self._look_at, self.servers))

    async def _look_at(self, server: Server) -> None:
        try:
            found = await server.discover()
        except TritonClipError as error:
            _LOG.warning("a Triton server does not answer", extra={"reason": str(error)})
            for model in self:
                if server in model.servers:
                    model.servers[server] = False
            return
        for name, info in found.items():
            model = self._models.setdefault(name, Model(info))
            if info.weights_sha256 != model.info.weights_sha256:
                _LOG.error(
                    "a Triton server has other weights under this name", extra={"model": name}
                )
                model.servers.pop(server, None)
                continue
            model.servers.setdefault(server, False)
            model.servers[server] = await server.is_well(name)

    async def close(self) -> None:
        """Disconnect from all servers."""
        for server in self.servers:
            await server.close()
