"""What `helm test` runs in the gateway's image: a sentence through everything."""

import json
import os
import urllib.request
from typing import Any

_GATEWAY, _KEY = os.environ["GATEWAY"], os.environ.get("KEY", "")


def ask(path: str, body: dict[str, str] | None = None) -> Any:
    """The gateway's answer."""
    headers = {"Content-Type": "application/json"}
    if _KEY:
        headers["Authorization"] = f"Bearer {_KEY}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(_GATEWAY + path, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


print("ready:", ask("/health/ready"))
if _KEY or "WANTS_KEY" not in os.environ:
    model = ask("/v1/models")["data"][0]["id"]
    vector = ask("/v1/embeddings", {"model": model, "input": "a photo of a cat"})
    print(f"{model}: {len(vector['data'][0]['embedding'])} numbers")
