"""The checkpoints that are measured, and their bundles, which are written while the kit arrives.

Random weights are made here, from a seed; the demo checkpoint lies in the checkout. Each bundle
gets its FP16 graphs, and beside it lie both encoders as torch has them, NAME.pt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import CARD, REHEARSAL

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
TRAINED = ("demo", "demo-times-8192")
SEED = 0
MAX_BATCH = 256


def start(home: Path, *, rehearse: bool) -> None:
    """Have the bundles written by a process that outlives this one, unless one is at it."""
    lock = home / "builder.pid"
    if lock.exists() and Path("/proc", lock.read_text()).exists():
        return
    command = [sys.executable, "-m", "benchmarks.gpu.checkpoints", str(home)]
    command += ["--rehearse"] if rehearse else []
    with (home / "builder.log").open("ab") as log:
        builder = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    lock.write_text(str(builder.pid))


def wait(home: Path, name: str, seconds: float) -> Any:
    """The bundle of that name, when it is written.

    Raises:
        TimeoutError: it was not within `seconds`; `builder.log` has why.
    """
    from tritonclip_export.bundle import Bundle

    deadline = time.monotonic() + seconds
    while not _done(home, name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"there was no bundle of {name} after {seconds:.0f} s")
        time.sleep(0.2)
    return Bundle.load(home / "bundles" / name)


def modules(home: Path, name: str) -> Any:
    """Both encoders in torch, FP32, on the CPU, by tower."""
    import torch

    return torch.load(home / "bundles" / f"{name}.pt", weights_only=False)


def main() -> None:
    """Write all bundles that are not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("home", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    home: Path = options.home
    scale = REHEARSAL if options.rehearse else CARD
    (home / "bundles").mkdir(exist_ok=True)
    wanted = dict.fromkeys((*scale.parity, *scale.towers, *scale.served))
    names = [name for name in wanted if not _done(home, name).exists()]
    if any("SigLIP" in name for name in names) and not (home / "hub").exists():
        from benchmarks.catalogue import hub

        hub.write_files(home / "hub")
    cores = sorted(os.sched_getaffinity(0))
    with ProcessPoolExecutor(scale.builders, mp_context=get_context("spawn")) as pool:
        for number, name in enumerate(names):
            # On cores of its own: ONNX Runtime starts a thread for each that it may use.
            pool.submit(_write, name, home, cores[number % scale.builders :: scale.builders])


def _write(name: str, home: Path, cores: Sequence[int]) -> None:
    began = time.monotonic()
    os.sched_setaffinity(0, cores)
    try:
        write(name, home)
    except Exception as error:  # the others may do
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
    else:
        _done(home, name).touch()
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


def write(name: str, home: Path) -> None:
    """Write the bundle of a checkpoint, and its encoders as torch has them."""
    import torch

    from tritonclip_export import precision, samples
    from tritonclip_export.checkpoint import loading
    from tritonclip_export.export import encoders, writing
    from tritonclip_export.parity.inputs import Inputs

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    if name in TRAINED:
        folder = DEMO / "checkpoint" if name == "demo" else _stressed(home)
        loaded = loading.load(loading.parse(str(folder)))
    else:
        loaded = loading.load(loading.parse(name), random_seed=SEED, source=home / "hub")
    towers = {"image": encoders.image_encoder(loaded), "text": encoders.text_encoder(loaded)}
    torch.save(towers, home / "bundles" / f"{name}.pt")
    bundle = writing.export(loaded, home / "bundles" / name, name=name, max_batch=MAX_BATCH)
    inputs = Inputs.read(samples.sample_images(), samples.sample_texts())
    precision.write(bundle, "fp16", inputs=inputs)


def _stressed(home: Path) -> Path:
    """The demo checkpoint with activations that FP16 cannot hold; FP32 gives what it gave."""
    from stress import write_stressed

    folder = Path(tempfile.mkdtemp(dir=home))
    return write_stressed(DEMO / "checkpoint", folder / "checkpoint", scale=8192)


def _done(home: Path, name: str) -> Path:
    return home / "bundles" / f"{name}.done"


if __name__ == "__main__":
    main()
