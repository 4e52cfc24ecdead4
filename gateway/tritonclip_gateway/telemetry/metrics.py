"""Metrics for Prometheus, at `/metrics`.

Asked for OpenMetrics, latencies have exemplars: the id of a request, under which the log has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

# A cached text takes a millisecond, a queue seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_PREFIX = "tritonclip_gateway_"


class Metrics:
    """Those of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "requests", "Requests answered.", "route", "method", "status"
        )
        self._seconds = self._histogram(
            "request_seconds", "Until the end of the answer.", _SECONDS, "route"
        )
        self._items = self._counter("items", "Items embedded.", "kind")
        self._batches = self._histogram(
            "triton_items", "Items of a call to Triton's client.", _ITEMS, "model", "kind"
        )
        self._triton = self._histogram(
            "triton_seconds", "Of a call to Triton's client.", _SECONDS, "model", "kind"
        )
        self.thumbnails = self._counter("thumbnails", "Asked for; known or made.", "cache")
        self.in_work = self._gauge("items_in_work", "Items in work or waiting.")
        self.refused = self._counter("queue_full", "Requests told to come back.")
        self.in_flight = self._gauge("triton_in_flight", "Calls in flight.", "server")
        self.ready = self._gauge("triton_ready", "Whether it embeds.", "server", "model")

    def answered(self, route: str, method: str, status: int, seconds: float, id: str) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds, {"request_id": id})

    @contextmanager
    def asking(self, model: str, kind: str, items: int) -> Iterator[None]:
        """Count a call to Triton's client, and how long the block takes."""
        self._batches.labels(model, kind).observe(items)
        began = perf_counter()
        yield
        self._triton.labels(model, kind).observe(perf_counter() - began)
        self._items.labels(kind).inc(items)

    def written(self, accept: str) -> tuple[bytes, str]:
        """All of them and their media type, in the format of the `Accept` header."""
        encoder, media_type = choose_encoder(accept)
        return encoder(self.registry), media_type

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, what, labels, registry=self.registry)

    def _histogram(
        self, name: str, what: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(_PREFIX + name, what, labels, buckets=buckets, registry=self.registry)
