"""Whether the models of a running server embed; for health checks, which ask by exit status.

A script of the standard library alone, because containers run it, too. A server whose Python model
hangs says that it is ready, so a picture and a word go through every model; however often it is
asked, once in `--fresh` seconds.
"""

import argparse
import http.client
import json
import os
import struct
import sys
import tempfile
import time
from pathlib import Path

_BMP = struct.Struct("<2sIHHI IiiHHIIiiII")


def picture() -> bytes:
    """A BMP file of one pixel, of a colour that no response cache knows."""
    head = (b"BM", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 2835, 2835, 0, 0)
    return _BMP.pack(*head) + os.urandom(3) + b"\0"


def ask(server: str, path: str, body: bytes, timeout: float, headers: dict[str, str]) -> bytes:
    """The body of the answer.

    Raises:
        OSError: no answer in time, or one that is an error.
    """
    connection = http.client.HTTPConnection(server, timeout=timeout)
    try:
        connection.request("POST" if body else "GET", path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"HTTP {response.status}: {answer[:300].decode(errors='replace')}")
    return answer


def embed(server: str, model: str, tensor: str, item: bytes, timeout: float) -> None:
    """Have one item embedded, in the binary tensor data extension of the KServe v2 protocol.

    Raises:
        OSError: it is not.
    """
    data = struct.pack("<I", len(item)) + item
    size = {"binary_data_size": len(data)}
    described = {"name": tensor, "shape": [1, 1], "datatype": "BYTES", "parameters": size}
    head = json.dumps({"inputs": [described]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    ask(server, f"/v2/models/{model}/infer", head + data, timeout, length)


def bundles(server: str, timeout: float) -> list[str]:
    """The names of the bundles whose models are ready.

    Raises:
        OSError: there is none, or no answer.
    """
    index = json.loads(ask(server, "/v2/repository/index", b"{}", timeout, {}))
    ready = {model["name"] for model in index if model.get("state") == "READY"}
    names = sorted(m[:-6] for m in ready if m.endswith("_image") and m[:-6] + "_text" in ready)
    if not names:
        raise OSError("no pair of models NAME_image and NAME_text is ready")
    return names


def items(name: str) -> list[tuple[str, str, bytes]]:
    """A picture and a word for a bundle: model, tensor and content of each."""
    word = b"probe " + os.urandom(8).hex().encode()
    return [(f"{name}_image", "IMAGE", picture()), (f"{name}_text", "TEXT", word)]


def check(server: str, timeout: float) -> list[str]:
    """Have every ready model of `server` embed; returns their names.

    Raises:
        OSError: one does not, or there is none; standard error says which.
    """
    names = bundles(server, timeout)
    for model, tensor, item in (item for name in names for item in items(name)):
        try:
            embed(server, model, tensor, item, timeout)
        except OSError as error:
            print(f"{model}: {error}", file=sys.stderr)
            raise
    return names


def silent_model(server: str, timeout: float) -> str | None:
    """A model that does nothing for `timeout` seconds while a picture or a word waits for it.

    A busy server may answer as late, but each of its models has done something by then. It is
    `tritonserver` if not even that says which models there are.

    Raises:
        OSError: the server cannot be asked, or refuses.
    """
    try:
        names = bundles(server, timeout)
    except TimeoutError:
        return "tritonserver"
    for model, tensor, item in (item for name in names for item in items(name)):
        steps = _steps(server, model, timeout)
        before = [_executions(server, step, timeout) for step in steps]
        try:
            embed(server, model, tensor, item, timeout)
        except TimeoutError:
            for step, count in zip(steps, before, strict=True):
                if _executions(server, step, timeout) == count:
                    return step
    return None


def _steps(server: str, ensemble: str, timeout: float) -> list[str]:
    """The models that a request to an ensemble passes."""
    config = json.loads(ask(server, f"/v2/models/{ensemble}/config", b"", timeout, {}))
    return [step["model_name"] for step in config["ensemble_scheduling"]["step"]]


def _executions(server: str, model: str, timeout: float) -> int:
    """How many batches a model has run."""
    (stats,) = json.loads(ask(server, f"/v2/models/{model}/stats", b"", timeout, {}))["model_stats"]
    return int(stats["execution_count"])


def main(words: list[str]) -> int:
    """Exit status: 0 if all is well."""
    parser = argparse.ArgumentParser(description="Whether the models of a server embed.")
    parser.add_argument("--server", default="127.0.0.1:8000", help="HOST:PORT of its HTTP endpoint")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for each answer")
    parser.add_argument("--fresh", type=float, default=10.0, help="seconds a good result lasts")
    given = parser.parse_args(words)
    stamp = Path(tempfile.gettempdir(), f"tritonclip-probe-{given.server.replace(':', '-')}")
    if stamp.exists() and 0 <= time.time() - stamp.stat().st_mtime < given.fresh:
        print("well, a moment ago")
        return 0
    try:
        names = check(given.server, given.timeout)
    except OSError as error:
        print(f"{given.server} does not embed: {error}")
        stamp.unlink(missing_ok=True)
        return 1
    stamp.touch()
    print(f"well: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
