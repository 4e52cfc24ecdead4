"""The one command of every transfer: take in what came, then measure until the time is up.

    python3 -m benchmarks.gpu.run build/gpu-kit/01 --results FOLDER --seconds 20

What `benchmarks/results/gpu` or FOLDER holds already, of the same card, is not measured again.
Nothing is installed into the machine's own Python.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.gpu import checkpoints, payload
from benchmarks.gpu.checkpoints import ROOT
from benchmarks.gpu.plan import STEPS, Step

RESULTS = ROOT / "benchmarks" / "results" / "gpu"
# Of the checkout; `tests` for the demo checkpoint under stress.
OURS = [ROOT, *(ROOT / name for name in ("client", "export", "tests"))]
# A step has this long after its time for the figure that it is at.
GRACE_SECONDS = 15


def main() -> None:
    """Receive, install, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kit", nargs="*", type=Path, help="folders that have come")
    parser.add_argument("--results", type=Path, required=True, help="where the journals go")
    parser.add_argument("--seconds", type=float, default=0, help="for measuring, in this call")
    parser.add_argument("--home", type=Path, default=Path("/tmp/tritonclip-gpu"), help="is kept")
    parser.add_argument("--rehearse", action="store_true", help="in miniature, without a card")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    home: Path = options.home
    home.mkdir(parents=True, exist_ok=True)
    for folder in options.kit:
        for name, files in payload.receive(folder, home).items():
            if not (home / name).exists():
                _install(name, files, home)
    options.results.mkdir(parents=True, exist_ok=True)
    for journal in RESULTS.glob("*.jsonl"):
        if not (options.results / journal.name).exists():
            shutil.copy(journal, options.results)
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, [*OURS, home / "tools"]))
    if (home / "tools").exists():
        checkpoints.start(home, rehearse=options.rehearse)
    os.environ["PYTHONPATH"] += f"{os.pathsep}{home / 'onnxruntime'}"
    for step in STEPS:
        missing = [need for need in step.needs if not (home / need).exists()]
        seconds = min(step.seconds, deadline - time.monotonic())
        if missing:
            print(f"{step.name}: waits for {', '.join(missing)}")
        elif seconds > 0:
            _run(step, seconds, options)


def _install(name: str, files: Iterable[Path], home: Path) -> None:
    """Unpack a payload into a folder of its own; that of the server brings a Python along."""
    began, staged = time.monotonic(), home / f"{name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    site = staged
    for archive in (file for file in files if file.suffix == ".xz"):
        with tarfile.open(archive) as content:
            content.extractall(staged)
        site = staged / "lib" / "python3.12" / "site-packages"
    wheels = [str(file) for file in files if file.suffix == ".whl"]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    subprocess.run([*pip, "--no-compile", "--target", str(site), *wheels], check=True)
    if site != staged:
        # Behind the server's own numpy: what the other payloads and the machine have.
        behind = [*OURS, home / "onnxruntime", home / "tools", sysconfig.get_path("purelib")]
        (site / "behind.pth").write_text("".join(f"{folder}\n" for folder in behind))
    staged.rename(home / name)
    print(f"installed {name} in {time.monotonic() - began:.0f} s")


def _run(step: Step, seconds: float, options: argparse.Namespace) -> None:
    """Run a step in a process group of its own, and end all of it when it takes too long."""
    python, environment = sys.executable, dict(os.environ)
    if step.environment == "server":
        server: Path = options.home / "server"
        python = str(server / "bin" / "python3")
        # No torch brings CUDA's libraries along there.
        cuda = sorted(Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib"))
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(map(str, [server / "lib", *cuda]))
        del environment["PYTHONPATH"]
    command = [python, "-m", "benchmarks.gpu.step", step.name, f"--home={options.home}"]
    command += [f"--results={options.results}", f"--seconds={seconds}"]
    command += ["--rehearse"] if options.rehearse else []
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        process.wait(seconds + GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{step.name}: ended, {GRACE_SECONDS} s after its time")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
