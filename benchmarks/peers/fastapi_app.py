"""open_clip behind FastAPI, as one writes it in an afternoon. Runs in its own environment."""

import io
import os

import open_clip
import torch
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

app = FastAPI()
torch.manual_seed(0)
model, _, transform = open_clip.create_model_and_transforms(os.environ["ARCHITECTURE"])
model.eval()
tokenizer = open_clip.get_tokenizer(os.environ["ARCHITECTURE"])


@app.post("/image")
async def image(request: Request) -> list[float]:
    """Embed the image file in the body."""
    return await run_in_threadpool(_image, await request.body())


@app.post("/text")
async def text(request: Request) -> list[float]:
    """Embed the text in the body."""
    return await run_in_threadpool(_text, (await request.body()).decode())


@torch.inference_mode()
def _image(encoded: bytes) -> list[float]:
    pixels = transform(Image.open(io.BytesIO(encoded)).convert("RGB"))[None]
    found: list[float] = model.encode_image(pixels, normalize=True)[0].tolist()
    return found


@torch.inference_mode()
def _text(words: str) -> list[float]:
    found: list[float] = model.encode_text(tokenizer([words]), normalize=True)[0].tolist()
    return found
