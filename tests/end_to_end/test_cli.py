"""The command line as its users run it: as a process.

Where only what it says counts, its `main` is called in this process instead.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tritonclip import Client
from tritonclip_cli import main
from tritonclip_export.bundle import Bundle, sha256_of
from tritonclip_export.samples import sample_images
from tritonclip_export.server.server import Server

TRITONCLIP = Path(sys.executable).with_name("tritonclip")
FREE_PORTS = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")


@pytest.fixture
def run(
    tmp_path: Path, environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TRITONCLIP, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_here(tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the same command line in this process, which has PyTorch and its like imported."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr("sys.argv", ["tritonclip", *map(str, arguments)])
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as err,
            pytest.raises(SystemExit) as ended,
        ):
            main()
        status = ended.value.code or 0
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    return run_here


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three photographs and a file that only says it is one."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sample_images()[:3]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.jpg").write_bytes(b"not a jpeg")
    return folder


def test_help_names_every_command(run: Run, run_here: Run) -> None:
    done = run("--help")
    assert done.returncode == 0
    for command in (
        "models",
        "export",
        "build",
        "assemble",
        "serve",
        "verify",
        "embed",
        "classify",
        "info",
        "doctor",
    ):
        assert re.search(rf"^│ {command} ", done.stdout, re.MULTILINE), command
        assert run_here(command, "--help").returncode == 0


def test_help_imports_nothing_heavy() -> None:
    """What keeps it under half a second, without a timing in a test."""
    code = (
        "import sys; sys.argv = ['tritonclip', '--help']\n"
        "from tritonclip_cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'onnx', 'onnxruntime', 'tritonclient', 'grpc',"
        " 'PIL', 'pydantic') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


# As the README's blocks and `make demo` do.
@pytest.mark.slow
def test_from_checkpoint_to_answer(
    run: Run,
    run_here: Run,
    checkpoint_folder: Callable[[str], Path],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    exported = run("export", checkpoint_folder("vit"), "--name", "small", "--max-batch", 8)
    assert exported.returncode == 0, exported.stderr
    assert "onnx image" in exported.stdout
    again = run_here("export", checkpoint_folder("vit"), "--name", "small", "--max-batch", 8)
    assert "up to date" in again.stdout

    assembled = run_here("assemble", "bundles/small", "--json")
    assert json.loads(assembled.stdout)["written"][0] == "small_image"

    serving = subprocess.Popen(
        [TRITONCLIP, "serve", "repository", "--json", *FREE_PORTS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert serving.stdout is not None
        url = json.loads(serving.stdout.readline())["grpc"]
        verified = run_here("verify", "bundles/small", "--server", url, "--json")
        assert verified.returncode == 0, verified.stderr
        stages = {figure["stage"]: figure for figure in json.loads(verified.stdout)}
        assert stages["served text"]["retrieval_agreement"] == 1.0
        assert "served image" in {
            p.stage for p in Bundle.load(tmp_path / "bundles/small").info.parity
        }
    finally:
        serving.send_signal(signal.SIGINT)
        assert serving.wait(30) == 0


@pytest.mark.usefixtures("pictures")
def test_embed_writes_what_the_client_gives_and_reports_what_it_cannot(
    run: Run, server: Server, tmp_path: Path
) -> None:
    done = run("embed", "pictures", "-o", "out.npz", "--url", server.grpc_url, "--model", "demo")

    assert done.returncode == 1
    assert re.search(r"failed: image \d \(pictures/broken.jpg\): .*not a supported", done.stderr)
    written = np.load(tmp_path / "out.npz")
    good = [f"pictures/{path.name}" for path in sorted(sample_images()[:3])]
    assert written["names"].tolist() == good
    with Client(server.grpc_url, model="demo") as client:
        expected = client.embed_images([tmp_path / name for name in good])
    np.testing.assert_allclose(written["embeddings"], expected, atol=1e-6)


def test_embed_reads_lines_of_standard_input(run: Run, server: Server, pictures: Path) -> None:
    where = ("--url", server.grpc_url, "--model", "demo")
    texts = run("embed", "-", "--text", *where, stdin="a cat\nein Hund\n")
    files = run("embed", "-", *where, stdin=f"{pictures / 'camera.jpg'}\n")

    lines = [json.loads(line) for line in texts.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["a cat", "ein Hund"]
    assert len(lines[0]["embedding"]) == 192
    assert len(files.stdout.splitlines()) == 1, files.stderr


def test_classify_prints_a_table_and_json(run: Run, server: Server, pictures: Path) -> None:
    options = ("--labels", "cat, rocket, [brick]", "--url", server.grpc_url, "--model", "demo")

    with_broken = run("classify", "pictures", "--top", 3, *options, "--json")
    assert with_broken.returncode == 1
    assert "broken.jpg" in with_broken.stderr
    data = json.loads(with_broken.stdout)
    (pictures / "broken.jpg").unlink()
    table = run("classify", "pictures", "--template", "openai", *options)

    assert table.returncode == 0, table.stderr
    assert "[brick]" in table.stdout
    assert "%" in table.stdout
    assert len(data) == 3
    for row in data:
        probabilities = [label["probability"] for label in row["labels"]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)


def test_info_tells_what_is_served(run_here: Run, server: Server) -> None:
    done = run_here("info", "--url", f"http://{server.http_url}", "--model", "siglip", "--json")
    described = json.loads(done.stdout)
    assert (described["name"], described["similarity"]) == ("siglip", "sigmoid")
    assert described["health"]["model_ready"]
    assert (
        "up to 20 tokens" in run_here("info", "--url", server.grpc_url, "--model", "siglip").stdout
    )


def test_models_finds_by_words(run_here: Run) -> None:
    done = json.loads(run_here("models", "siglip2", "512", "--json").stdout)
    assert "ViT-B-16-SigLIP2-512" in {entry["architecture"] for entry in done}
    assert all("SigLIP2" in entry["architecture"] for entry in done)
    assert "laion2b_s34b_b79k" in run_here("models", "ViT-B-32").stdout
    assert "Did you mean SigLIP" in run_here("models", "sigclip").stdout


def test_models_counts_only_the_kinds_that_it_shows(run: Run) -> None:
    of_open_clip = run("models", "mobileclip2").stdout
    others = run("models", "patch32").stdout
    both = run("models", "ViT-B-32").stdout

    assert "6 architectures of open_clip" in of_open_clip
    assert "checkpoints of others" not in of_open_clip
    assert "of others, to export by their name;" in others
    assert "of open_clip" not in others
    assert re.search(r"architectures of open_clip .*, and \d+ checkpoints of others", both)


def test_doctor_names_the_server(run: Run) -> None:
    done = run("doctor", "--json")
    assert done.returncode == 0
    assert any("tritonserver" in json.dumps(check) for check in json.loads(done.stdout))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "ViT-B-23"), "Did you mean ViT-B-32"),
        (("export", "ViT-B-32"), "--random-weights"),
        (("assemble", "no-such-bundle"), "is not a bundle"),
        (("serve", "no-such-repository"), "tritonclip assemble"),
        (("serve", "--tag", "26.07"), "--container"),
        (("embed", "cat.jpg", "--url", "127.0.0.1:9"), "127.0.0.1:9"),
        (("classify", "cat.jpg"), "--labels"),
        (("verify", "."), "is not a bundle"),
        (("build", ".", "--graphs-only"), "is not a bundle"),
        (("build", ".", "--target", "sm89"), "--aot and --target go together"),
        (("build", ".", "--aot", "--target", "sm89", "--container"), "choose one"),
        (("build", ".", "--precision", "int8", "--container"), "int8 graphs are for CPUs"),
        (("build", ".", "--dry-run"), "go with --container"),
    ],
)
def test_a_mistake_is_answered_in_one_paragraph(
    arguments: tuple[str, ...], message: str, run_here: Run
) -> None:
    done = run_here(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1500


def test_an_option_with_a_wrong_value_is_named_before_anything_is_asked(run_here: Run) -> None:
    done = run_here("embed", "cat.jpg", "--url", "ftp://x")
    assert done.returncode == 2
    assert "Invalid value for '--url'" in done.stderr
    assert "ftp" in done.stderr


def test_debug_shows_the_traceback(run: Run) -> None:
    done = run("assemble", "no-such-bundle", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_build_compiles_ahead_of_time_without_a_gpu(
    run_here: Run, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    shutil.copytree(bundle("demo").path, tmp_path / "demo")

    done = run_here("build", "demo", "--aot", "--target", "sm89", "--max-batch", 8, "--json")

    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert [graph["file"] for graph in data["graphs"]] == [
        "image_encoder.fp16.onnx",
        "text_encoder.fp16.onnx",
    ]
    assert [engine["file"] for engine in data["built"]] == [
        "engines/image_encoder.fp16.sm89.rtx",
        "engines/text_encoder.fp16.sm89.rtx",
    ]
    assert data["built"][0]["engine"]["profiles"][0]["max"] == [8, 3, 64, 64]
    again = run_here("build", "demo", "--aot", "--target", "sm89", "--max-batch", 8)
    assert again.stdout.count("up to date") == 2
    assert "Triton takes plans of the full TensorRT only" in again.stdout

    without_a_gpu = run_here("build", "demo")
    assert without_a_gpu.returncode == 1
    assert "--container" in without_a_gpu.stderr
    printed = run_here("build", "demo", "--container", "--tag", "26.02", "--dry-run")
    assert printed.stdout.startswith("docker run --rm --gpus all")
    assert f"source={tmp_path}/demo,target=/bundle " in printed.stdout
    assert "nvcr.io/nvidia/tritonserver:26.02-py3" in printed.stdout
    too_large = run_here("build", "demo", "--aot", "--target", "sm89", "--max-batch", 99)
    assert "exported for 32 at most" in too_large.stderr


def test_the_container_command_is_printed(run_here: Run, repository: Path) -> None:
    done = run_here("serve", repository, "--container", "--dry-run", "--gpus", "all")
    assert done.returncode == 0
    assert done.stdout.startswith("docker run")
    for part in ("--gpus", "--shm-size", "127.0.0.1:8001:8001", f"source={repository},"):
        assert part in done.stdout


def test_a_killed_command_line_takes_its_server_along(
    repository: Path, environment: dict[str, str]
) -> None:
    serving = subprocess.Popen(
        [TRITONCLIP, "serve", repository, "--json", *FREE_PORTS],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdout is not None
    url = json.loads(serving.stdout.readline())["grpc"]
    with Client(url, model="demo", retries=0) as client:
        assert client.health().ok
        os.kill(serving.pid, signal.SIGKILL)
        serving.wait()
        for _ in range(150):
            if not client.health().live:
                break
            time.sleep(0.1)
        assert not client.health().live


def test_a_url_is_not_fetched(run: Run, server: Server) -> None:
    done = run("embed", "http://example.com/cat.jpg", "--url", server.grpc_url, "--model", "demo")
    assert done.returncode == 1
    assert "http://example.com/cat.jpg" in done.stderr


def test_images_in_folders_are_found_by_ending(run: Run, server: Server, tmp_path: Path) -> None:
    nested = tmp_path / "a" / "b"
    nested.mkdir(parents=True)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    (nested / "x.PNG").write_bytes(stream.getvalue())
    (nested / "notes.txt").write_text("not an image")

    done = run("embed", "a", "--url", server.grpc_url, "--model", "demo")

    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["a/b/x.PNG"]


def test_verify_fails_on_a_graph_that_is_slightly_wrong(
    run_here: Run, bundle: Callable[[str], Bundle], tmp_path: Path
) -> None:
    """Half of one weight matrix is off by half a percent, and every checksum is right."""
    folder = tmp_path / "demo"
    shutil.copytree(bundle("demo").path, folder)
    file = folder / "image_encoder.onnx"
    graph = onnx.load(file)
    largest = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = onnx.numpy_helper.to_array(largest).copy()
    weights[::2] *= np.float32(1.005)
    largest.CopyFrom(onnx.numpy_helper.from_array(weights, largest.name))
    onnx.save(graph, file)
    damaged = Bundle.load(folder)
    image, text = damaged.info.artifacts
    image = image.model_copy(update={"sha256": sha256_of(file)})
    damaged.with_info(artifacts=(image, text)).save()

    done = run_here("verify", folder)

    assert done.returncode == 1
    assert "parity is broken at: onnx image" in done.stderr
    assert "✗" in done.stdout
    recorded = {figure.stage: figure.passed for figure in Bundle.load(folder).info.parity}
    assert recorded == {"token ids": True, "pixels": True, "onnx image": False, "onnx text": True}
