"""What a gateway is told: by arguments, or by the environment as TRITONCLIP_GATEWAY_NAME."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Listed: TypeAlias = Annotated[tuple[str, ...], NoDecode]
"""In the environment, separated by commas."""


class Settings(BaseSettings):
    """How a gateway runs."""

    model_config = SettingsConfigDict(env_prefix="TRITONCLIP_GATEWAY_", frozen=True)

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    """0: any free one."""

    triton: Listed = ("127.0.0.1:8001",)
    """Addresses of the servers, as the client takes them."""
    aliases: Annotated[dict[str, str], NoDecode] = {}
    """Other names of bundles; in the environment `ALIAS=BUNDLE,...`."""
    default_model: str | None = None
    """The bundle, or an alias of one, of requests that name none; the only one without."""

    archive: str | None = None
    """The store in which a collection is searched."""
    collection: str | None = None

    policy: Path | None = None
    """What pictures are moderated by."""
    heads: Annotated[dict[str, Path], NoDecode] = {}
    """Small models on top of embeddings by their names; in the environment `NAME=FILE,...`."""

    keys_file: Path | None = None
    """Hashes of the API keys that let callers in; see `guards.keys`."""
    keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """Further keys, as they are: for the environment."""
    rate: str | None = None
    """Requests of each caller, e.g. `100/minute`."""
    cors: Listed = ()
    """Origins whose pages may ask from a browser."""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    """Listen on other than loopback addresses without keys."""

    allow_urls: Listed = ()
    """Hosts from which pictures may be fetched, each `HOST` or `HOST:PORT`."""
    traces: str | None = None
    """An OTLP endpoint over HTTP, to which spans are sent."""

    timeout: PositiveFloat = 60.0
    """Seconds that a request may take, waiting included; it may ask for fewer itself."""
    concurrency: PositiveInt = 64
    """Requests in flight to each server at a time."""
    queue: PositiveInt = 1024
    """Items being embedded or waiting; beyond that requests are told to come back."""
    max_items: PositiveInt = 2048
    """Of one request."""
    max_body_bytes: PositiveInt = 64 * 2**20
    """Of one request, but for streams, which have no end; those have it for each line."""

    @field_validator("triton", "allow_urls", "cors", "keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("aliases", "heads", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [pair.strip().partition("=") for pair in value.split(",")]
        if any(not (name and separator and other) for name, separator, other in pairs):
            raise ValueError("expected NAME=VALUE")
        return {name: other for name, _, other in pairs}
