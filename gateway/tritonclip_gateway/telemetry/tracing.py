"""Traces with OpenTelemetry, from HTTP through gRPC into Triton's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import Scope

from tritonclip.errors import InvalidArgument

if TYPE_CHECKING:
    from opentelemetry.trace import Span

# A caller may write anything into a URL; the route says what was asked.
_ADDRESSES = ("http.url", "http.target", "url.full", "url.path", "url.query")


def trace(app: FastAPI, endpoint: str) -> None:
    """Send a span of each request and of each call to Triton to an OTLP endpoint over HTTP.

    Args:
        app: whose requests; their traces go on where the caller's `traceparent` says.
        endpoint: e.g. `http://127.0.0.1:4318/v1/traces`.

    Raises:
        InvalidArgument: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.instrumentation.grpc import GrpcAioInstrumentorClient
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise InvalidArgument(
            f'traces need {error.name}, which is not installed. pip install "tritonclip[otel]"'
        ) from error
    # Sends what is left when the process ends.
    provider = TracerProvider(resource=Resource({SERVICE_NAME: "tritonclip-gateway"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    GrpcAioInstrumentorClient().instrument(tracer_provider=provider)
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls="health,metrics",
        exclude_spans=["receive", "send"],
        server_request_hook=_forget_address,
    )


def _forget_address(span: Span, _: Scope) -> None:
    if span.is_recording():
        for name in _ADDRESSES:
            span.set_attribute(name, "")
