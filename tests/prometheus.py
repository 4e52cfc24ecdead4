"""A Prometheus that watches servers of a test, with the labels that a cluster would give them."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from charts import tool


class Prometheus:
    """Runs in a folder of its own and looks every half second.

    Args:
        folder: for its configuration and data.
        targets: HOST:PORT of the metrics by the name of the pod that they would be in.
    """

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pods = [
            {"targets": [target], "labels": {"namespace": "clip", "pod": pod}}
            for pod, target in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
            "scrape_configs": [{"job_name": "clip", "static_configs": pods}],
        }
        self._folder = folder
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Prometheus:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._url = f"http://{address}/api/v1/query?"
        self._log = (self._folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 30
        while not self._is_up():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "Prometheus does not start"
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def query(self, expression: str, *, at: float | None = None) -> list[dict[str, Any]]:
        """What an expression gives now, or at a time in seconds since 1970.

        Raises:
            AssertionError: Prometheus refuses it.
        """
        given = {"query": expression, **({} if at is None else {"time": f"{at:.3f}"})}
        try:
            with urllib.request.urlopen(self._url + urllib.parse.urlencode(given)) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error

    def _is_up(self) -> bool:
        try:
            return len(self.query("up")) > 0
        except (urllib.error.URLError, AssertionError):
            return False
