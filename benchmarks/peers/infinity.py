"""infinity 0.0.78: torch, dynamic batching, an API in the style of OpenAI's."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

from benchmarks.peers.peer import Peer, Place
from tritonclip_export.bench.sending import Request

_JSON = {"Content-Type": "application/json"}


def _prepare(place: Place) -> None:
    _write_checkpoint(place.folder / "clip", place.bundle)


def _write_checkpoint(folder: Path, bundle: Path) -> None:
    """ViT-B/32 with random weights and the tokenizer of `bundle`; kept if it is there.

    The speed of a dense network does not depend on its weights, and answers are not compared.
    """
    if (folder / "complete").is_file():
        return
    import torch
    import transformers

    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(0)
    model = transformers.CLIPModel(transformers.CLIPConfig())  # the defaults are ViT-B/32
    model.save_pretrained(folder)
    transformers.CLIPImageProcessor().save_pretrained(folder)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(bundle / "tokenizer.json"),
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=77,
    )
    tokenizer.save_pretrained(folder)
    (folder / "complete").touch()


def _command(place: Place) -> list[str]:
    return [
        *(str(place.python.with_name("infinity_emb")), "v2"),
        *("--model-id", str(place.folder / "clip"), "--engine", "torch", "--device", "cpu"),
        *("--host", "127.0.0.1", "--port", str(place.port)),
        *("--served-model-name", "clip", "--no-model-warmup"),
    ]


def _request(kind: str, item: bytes) -> Request:
    given = item.decode() if kind == "text" else _data_uri(item)
    body = {"model": "clip", "input": [given], "modality": kind}
    return Request(json.dumps(body).encode(), _JSON)


def _data_uri(image: bytes) -> str:
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


INFINITY = Peer(
    name="infinity",
    about="infinity-emb 0.0.78, torch, its own dynamic batching, over HTTP",
    packages=("infinity-emb[torch,vision,server]==0.0.78", "aiohttp"),
    prepare=_prepare,
    command=_command,
    path=lambda _: "/embeddings",
    request=_request,
    embedding=lambda answer: json.loads(answer)["data"][0]["embedding"],
    environment={"DO_NOT_TRACK": "1"},
)
