"""What the two clients say to a server, with the waiting left out.

A conversation yields one `Call` after the other and is sent each answer, or has the error of a
failed call thrown into it; what it returns is the result. The blocking client and the asynchronous
one each drive these same generators.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeAlias, TypeVar

from tritonclip.batch import Batch
from tritonclip.errors import (
    InvalidInput,
    ModelNotFound,
    RequestTimeout,
    ServerError,
    ServerUnavailable,
    WrongProtocol,
)
from tritonclip.info import (
    IMAGE_SUFFIX,
    TEXT_SUFFIX,
    ModelInfo,
    bundles_of,
    choose_model,
    parse_info,
)
from tritonclip.probe import Probe
from tritonclip.types import Health
from tritonclip.wire import Call, Wire

T = TypeVar("T")
Conversation: TypeAlias = Generator[Call[Any], Any, T]


def embed(wire: Wire, batch: Batch) -> Conversation[None]:
    """Have an encoded batch embedded; items that the server names as bad cost only themselves."""
    while (request := batch.request()) is not None:
        try:
            vectors = yield wire.infer(request)
        except InvalidInput as refusal:
            batch.reject(refusal)
        else:
            batch.accept(vectors)


def discover(wire: Wire, wanted: str | None) -> Conversation[ModelInfo]:
    """Find the model and read what the server tells about it.

    Raises:
        ModelNotFound: it is not there, or the choice is not clear.
        ModelMismatch: it was not assembled by tritonclip.
    """
    name = wanted if wanted is not None else choose_model((yield wire.models()), None)
    try:
        image = yield wire.model_config(name + IMAGE_SUFFIX)
        text = yield wire.model_config(name + TEXT_SUFFIX)
    except (ModelNotFound, InvalidInput) as error:
        models: Mapping[str, str] = yield wire.models()
        choose_model(models, name)
        # The two are ensembles: what did not load may be one of their parts.
        parts = (f"{m}: {why}" for m, why in models.items() if m.startswith(f"{name}_") and why)
        raise ModelNotFound(
            f"model {name!r} is on this server but did not load; {'; '.join(parts) or error}"
        ) from error
    return parse_info(name, image, text)


def list_bundles(wire: Wire) -> Conversation[list[str]]:
    """The names of the bundles on a server."""
    return bundles_of((yield wire.models()))


def check_health(wire: Wire, wanted: str | None, probe: Probe) -> Conversation[Health]:
    """Ask how server and model are; a server that cannot be reached is an answer, too."""
    live = ready = False
    version = None
    try:
        live = yield wire.server_live()
        version = yield wire.server_version()
        ready = yield wire.server_ready()
        name = wanted if wanted is not None else choose_model((yield wire.models()), None)
        for model in (name + IMAGE_SUFFIX, name + TEXT_SUFFIX):
            if not (yield wire.model_ready(model)):
                return Health(live, ready, False, version, f"model {model!r} is not ready")
        if not probe.is_fresh:
            for request in probe.requests(name):
                yield wire.infer(request)
            probe.passed()
    except (
        *(ServerUnavailable, ServerError, RequestTimeout),
        *(WrongProtocol, ModelNotFound, InvalidInput),
    ) as error:
        return Health(live, ready, False, version, str(error))
    return Health(live, ready, True, version, "" if ready else "the server is not ready")
