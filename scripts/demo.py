"""`make demo`: the whole path on this machine, from a checkpoint to answers over the network.

    python scripts/demo.py [--checkpoint FOLDER] [--output FOLDER] [--keep-serving]

What it shows is what runs: a line that begins with `$` is a command of `tritonclip`, run in this
process so that PyTorch is imported once; a line that begins with `>>>` is the Python an application
would write. Everything it makes lies in one folder, and a second run reuses the bundle there.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import sysconfig
import textwrap
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from contact_sheet import Answer, Figure, Hit, Search, draw
from film import write_film
from tritonclip import Client, TritonClipError
from tritonclip.types import FloatArray
from tritonclip_cli import app, failures
from tritonclip_export.server.log import Level
from tritonclip_export.server.server import Server

ROOT = Path(__file__).resolve().parent.parent
DRAWINGS = ROOT / "demo" / "twemoji.zip"
# How names become sentences; the checkpoint was trained on captions like these.
PROMPTS: list[str] = json.loads((ROOT / "demo" / "prompts.json").read_text(encoding="utf-8"))
NAME = "demo"
COLUMNS = 80
INTERRUPTED = 130  # the exit status of what Ctrl-C ended, which typer returns

# None of these is the name of an emoji.
QUERIES = ("a citrus fruit", "a sad face", "a city at night")
HITS = 8
PICTURES = (
    "octopus",
    "avocado",
    "guitar",
    "castle",
    "penguin",
    "rocket",
    "sushi",
    "tractor",
    "umbrella",
    "flag-japan",
    "violin",
    "elephant",
)


class Story:
    """Tells what happens, at most `COLUMNS` wide, and keeps the time of each stage."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.console.width = min(COLUMNS, self.console.width)
        self.times: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, why: str) -> Iterator[None]:
        """Announce a stage and take its time."""
        number = len(self.times) + 1
        self.console.print()
        self.console.rule(f"[bold green]{number}  {name}[/]", align="left", style="green")
        self.say(why)
        began = time.monotonic()
        yield
        self.times[name] = time.monotonic() - began

    def say(self, text: str) -> None:
        """Narrate."""
        self.console.print(f"[dim]{text}[/]")

    def tick(self, text: str, seconds: float | None = None) -> None:
        """Report something done."""
        took = "" if seconds is None else f" [dim]{seconds:.1f} s[/]"
        self.console.print(f"[green]✓[/] {text}{took}")

    def python(self, code: str) -> None:
        """Show the Python that runs next."""
        for line in code.splitlines():
            prompt = "..." if line.startswith(" ") else ">>>"
            self.console.print(f"[cyan]{prompt}[/] [bold]{escape(line)}[/]")

    def tritonclip(self, *arguments: str) -> float:
        """Show a command of `tritonclip` and run it; returns its seconds.

        Raises:
            TritonClipError: the command failed.
        """
        self.console.print(f"[cyan]$[/] [bold]{escape(_shell(arguments))}[/]", soft_wrap=True)
        began = time.monotonic()
        status = app(list(arguments), standalone_mode=False)
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        if status:
            raise TritonClipError(f"`tritonclip {arguments[0]}` ended with exit status {status}")
        return time.monotonic() - began

    def summary(self) -> None:
        """The time of each stage, and of all."""
        total = sum(self.times.values())
        for name, seconds in self.times.items():
            bar = "━" * round(30 * seconds / total)
            self.console.print(f"  {name:<12}{seconds:6.1f} s  [green]{bar}[/]")
        self.console.print(f"  [bold]{'total':<12}{total:6.1f} s[/]")


@dataclass(frozen=True)
class Files:
    """Where the demo keeps what it makes."""

    folder: Path

    @property
    def bundle(self) -> Path:
        """What `export` writes."""
        return self.folder / "bundle"

    @property
    def repository(self) -> Path:
        """What `assemble` writes."""
        return self.folder / "repository"

    @property
    def pictures(self) -> Path:
        """The drawings, as PNG files."""
        return self.folder / "pictures"

    @property
    def names(self) -> Path:
        """The names of all drawings, one a line."""
        return self.folder / "names.txt"

    @property
    def picture_embeddings(self) -> Path:
        """`embeddings` [pictures, dim] and `names`, which are paths."""
        return self.folder / "pictures.npz"

    @property
    def name_embeddings(self) -> Path:
        """`embeddings` [names, dim] and `names`, in the order of the pictures."""
        return self.folder / "names.npz"

    @property
    def contact_sheet(self) -> Path:
        """The picture at the end."""
        return self.folder / "contact_sheet.png"

    @property
    def archive(self) -> Path:
        """The collection of all drawings."""
        return self.folder / "archive"

    @property
    def page(self) -> Path:
        """What the last search of the archive found."""
        return self.folder / "search.html"

    @property
    def film(self) -> Path:
        """Some of the drawings, one after the other."""
        return self.folder / "film.mp4"

    @property
    def timeline(self) -> Path:
        """What was asked of the film, over its time."""
        return self.folder / "timeline.png"

    @property
    def server_log(self) -> Path:
        """Everything that tritonserver printed."""
        return self.folder / "server.log"


@dataclass(frozen=True)
class Album:
    """The drawings, their names, and embeddings of both, row by row."""

    pictures: tuple[Path, ...]
    names: tuple[str, ...]
    embeddings: FloatArray

    def path(self, slug: str) -> Path:
        """The drawing of this slug."""
        return self.pictures[0].with_name(f"{slug}.png")

    def name(self, picture: Path) -> str:
        """The name of a drawing."""
        return self.names[self.pictures.index(picture)]


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "demo" / "checkpoint")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo")
    parser.add_argument("--keep-serving", action="store_true", help="serve on until Ctrl-C")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    arguments = parser.parse_args()
    checkpoint, output = _from_root(arguments.checkpoint), _from_root(arguments.output)
    os.chdir(ROOT)  # so that the commands can be repeated as they are shown
    # SIGINT too: a shell starts what it puts in the background with that ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    story = Story()
    try:
        run(story, checkpoint, Files(output), keep_serving=arguments.keep_serving)
    except (KeyboardInterrupt, typer.Abort):
        story.console.print("\nstopped; nothing is left running")
        return INTERRUPTED
    except Exception as error:
        if arguments.debug:
            raise
        return failures.report(error)
    return 0


def run(story: Story, checkpoint: Path, files: Files, *, keep_serving: bool) -> None:
    """The demo, from beginning to end.

    Raises:
        TritonClipError: a step failed.
    """
    story.console.print()
    story.console.print(
        "[bold green]TritonCLIP[/]  [bold]from a checkpoint to a verified server[/]"
    )
    story.say(
        "A small CLIP that knows emoji goes to production on this machine: no GPU, no Docker, "
        "the real tritonserver. Then it is shown 1,940 Twemoji drawings, a style that was kept "
        "out of its training. Commands ($) and Python (>>>) are run as they are shown."
    )
    files.folder.mkdir(parents=True, exist_ok=True)
    export(story, checkpoint, files)
    assemble(story, files)
    with serve(story, files) as server:
        verify(story, files, server)
        with Client(server.grpc_url, model=NAME) as clip:
            album, rate = embed(story, files, server)
            top1, top5, answers = classify(story, files, clip, album)
            searches = search(story, clip, album)
            archive(story, files, server)
        figures = (
            Figure(f"{top1:.1%}", f"top-1 of {len(album.names):,}"),
            Figure(f"{top5:.1%}", "top-5"),
            Figure(f"{rate:.0f}", "pictures a second"),
        )
        with story.stage("Look", "The searches and the twelve pictures, on one sheet."):
            subtitle = "Emoji drawings in a style held out of training, served on this machine"
            draw(subtitle, figures, searches, answers).save(files.contact_sheet, optimize=True)
            story.tick(f"[bold]{files.contact_sheet}[/]")
        if keep_serving:
            _end(story, files)
            _keep_serving(story, files, server)
            return
        with story.stage("Stop", "Requests in flight would be answered first."):
            server.stop()
            story.tick("the server is down and has left nothing behind")
    _end(story, files)
    python = _from_root(Path(sys.executable))
    story.say(f"To play with the server: {python} scripts/demo.py --keep-serving")


def export(story: Story, checkpoint: Path, files: Files) -> None:
    """Checkpoint -> bundle."""
    why = (
        "Both encoders become ONNX graphs, with normalisation inside, and the tokenizer becomes "
        "one JSON file. All are compared with PyTorch before anything is kept."
    )
    before = _bundle_time(files)
    with story.stage("Export", why):
        story.tritonclip("export", str(checkpoint), "--name", NAME, "--output", str(files.bundle))
        if _bundle_time(files) == before:
            story.say("The same weights as last time. What took long was importing PyTorch.")


def assemble(story: Story, files: Files) -> None:
    """Bundle -> repository."""
    why = (
        "Triton serves model repositories. This one takes encoded images and plain text: decoding, "
        "resizing and tokenizing run in the server, batched, in front of the encoders."
    )
    with story.stage("Assemble", why):
        story.tritonclip("assemble", str(files.bundle), "--output", str(files.repository))


@contextmanager
def serve(story: Story, files: Files) -> Iterator[Server]:
    """A running server on free loopback ports, which ends with the block."""
    why = "The same as `tritonclip serve`, as a program's own child: it cannot outlive the demo."
    with files.server_log.open("w", encoding="utf-8") as log:
        server = Server(
            files.repository,
            log=lambda line: print(line, file=log, flush=True),
            log_level=Level.INFO,
        )
        try:
            with story.stage("Serve", why):
                story.python(f'server = Server("{files.repository}")\nserver.start()')
                began = time.monotonic()
                with story.console.status("starting tritonserver"):
                    server.start()
                story.tick("all models are ready", time.monotonic() - began)
                story.say(f"gRPC {server.grpc_url}  HTTP {server.http_url}  log {files.server_log}")
            yield server
        finally:
            server.stop()


def verify(story: Story, files: Files, server: Server) -> None:
    """Parity of every hop, the served one included."""
    why = (
        "Is what comes out of the server what went into the export? Every hop is measured against "
        "the one before it, on photographs and texts, from the checkpoint's own library to "
        "embeddings that crossed the network."
    )
    with story.stage("Verify", why):
        story.tritonclip("verify", str(files.bundle), "--server", server.grpc_url)
        story.tick("every hop is within its tolerance; the last two rows are this server")


def embed(story: Story, files: Files, server: Server) -> tuple[Album, float]:
    """All drawings -> vectors; also returns pictures per second."""
    why = "A folder of pictures becomes a file of vectors."
    with story.stage("Embed", why):
        labels = _unpack(files)
        seconds = story.tritonclip(
            *("embed", str(files.pictures)),
            *("--output", str(files.picture_embeddings), "--url", server.grpc_url),
        )
        with np.load(files.picture_embeddings) as stored:
            pictures = tuple(Path(str(name)) for name in stored["names"])
            embeddings = stored["embeddings"]
        rate = len(pictures) / seconds
        story.tick(
            f"{len(pictures):,} pictures read, sent, embedded: [bold]{rate:,.0f} a second[/]",
            seconds,
        )
    return Album(pictures, tuple(labels[file.stem] for file in pictures), embeddings), rate


def classify(
    story: Story, files: Files, clip: Client, album: Album
) -> tuple[float, float, tuple[Answer, ...]]:
    """Zero-shot: accuracy over all drawings at 1 and 5 labels, and a few drawings one by one."""
    count = len(album.names)
    why = (
        f"No classifier was trained: the {count:,} names are embedded as texts, and the nearest "
        f"one to a picture is the answer. A guess would be right in {1 / count:.2%} of cases."
    )
    with story.stage("Classify", why):
        story.python(
            'PROMPTS = json.loads(Path("demo/prompts.json").read_text())\n'
            "labels = clip.label_embeddings(names, PROMPTS)\n"
            "scores = pictures @ labels.T"
        )
        began = time.monotonic()
        labels = clip.label_embeddings(album.names, PROMPTS)
        scores = album.embeddings @ labels.T
        rank = (scores > scores.diagonal()[:, None]).sum(axis=1)  # of the right name, from 0
        top1, top5 = float((rank < 1).mean()), float((rank < 5).mean())
        np.savez(files.name_embeddings, embeddings=labels, names=np.array(album.names))
        story.tick(
            f"right at once [bold]{top1:.1%}[/], among five [bold]{top5:.1%}[/] "
            f"[dim]of {count:,} pictures[/]",
            time.monotonic() - began,
        )
        story.console.print()
        story.python("for picture in twelve:\n    clip.classify(picture, names, PROMPTS).top(3)")
        answers = tuple(_classified(story, clip, album, slug) for slug in PICTURES)
    return top1, top5, answers


def search(story: Story, clip: Client, album: Album) -> tuple[Search, ...]:
    """Texts -> the nearest drawings."""
    why = "None of these is a name. A text and the pictures it describes are simply near."
    searches = []
    with story.stage("Search", why):
        for query in QUERIES:
            story.python(f'pictures @ clip.embed_texts("{query}")')
            cosines = album.embeddings @ clip.embed_texts(query)
            best = np.argsort(-cosines)[:HITS]
            hits = tuple(Hit(album.pictures[i], album.names[i], float(cosines[i])) for i in best)
            story.console.print(escape(_listed([hit.name for hit in hits])))
            searches.append(Search(query, hits))
    return tuple(searches)


def archive(story: Story, files: Files, server: Server) -> None:
    """All drawings -> a collection that is asked from a shell."""
    why = (
        "What an application would keep: an archive of the pictures, brought up to date and asked "
        "in plain words. The word no brings more of what is unwanted; --without brings less."
    )
    place = ("--store", str(files.archive), "--url", server.grpc_url)
    with story.stage("Archive", why):
        shutil.rmtree(files.archive, ignore_errors=True)
        story.tritonclip("index", str(files.pictures), *place)
        story.tritonclip("search", "a citrus fruit", "--top", "3", *place)
        story.tritonclip("search", "a cat, no face", "--top", "5", *place)
        story.tritonclip(
            *("search", "a cat", "--without", "face", "--top", "5"),
            *("--page", str(files.page), *place),
        )
        story.say(f"Videos are searched to the second: {len(PICTURES)} drawings, made a film of.")
        write_film(files.film, [files.pictures / f"{slug}.png" for slug in PICTURES], seconds=3)
        story.tritonclip("index", str(files.film), *place)
        story.tritonclip(
            *("search", "a sea animal", "a vehicle", "--where", "kind != image", "--top", "3"),
            *("--timeline", str(files.timeline), *place),
        )


def _classified(story: Story, clip: Client, album: Album, slug: str) -> Answer:
    picture = album.path(slug)
    result = clip.classify(picture, album.names, PROMPTS)
    answer = Answer(picture, album.name(picture), tuple(result.top(3)))
    (label, probability), *others = answer.labels
    mark, colour = ("✓", "green") if answer.is_right else ("✗", "red")
    bar = "█" * round(8 * probability)
    then = _fitting(", ".join(name for name, _ in others), 26)
    story.console.print(
        f"[{colour}]{mark}[/] {escape(f'{_fitting(answer.name, 14):<15}')}"
        f"[bold]{escape(f'{_fitting(label, 21):<21}')}[/]"
        f"{probability:5.0%} [{colour}]{bar:<8}[/] [dim]{escape(then)}[/]",
        no_wrap=True,
    )
    return answer


def _unpack(files: Files) -> dict[str, str]:
    """The drawings as files; returns slug -> name."""
    with zipfile.ZipFile(DRAWINGS) as archive:
        labels: dict[str, str] = json.loads(archive.read("labels.json"))
        if {file.stem for file in files.pictures.glob("*.png")} != labels.keys():
            shutil.rmtree(files.pictures, ignore_errors=True)
            archive.extractall(
                files.pictures, [n for n in archive.namelist() if n != "labels.json"]
            )
    files.names.write_text("".join(f"{name}\n" for name in labels.values()), encoding="utf-8")
    return labels


def _bundle_time(files: Files) -> int | None:
    described = files.bundle / "bundle.json"
    return described.stat().st_mtime_ns if described.exists() else None


def _end(story: Story, files: Files) -> None:
    story.console.print()
    story.console.rule("[bold green]Done[/]", align="left", style="green")
    story.summary()
    story.console.print(f"\nOpen [bold]{files.contact_sheet}[/], [bold]{files.page}[/]")
    story.console.print(f"and [bold]{files.timeline}[/]")
    up = ("up", str(files.repository), "--archive", str(files.archive))
    story.console.print("\nTo search the archive in a browser:\n")
    story.console.print(escape(_shell(up, _program())), style="bold", soft_wrap=True)


def _keep_serving(story: Story, files: Files, server: Server) -> None:
    story.console.print(f"\nServing at [bold]{server.grpc_url}[/] until Ctrl-C. Elsewhere, try:\n")
    url = ("--url", server.grpc_url)
    for arguments in (
        ("info", *url),
        ("classify", str(files.pictures / "crab.png"), "--labels-file", str(files.names), *url),
        ("embed", "--text", "a red fruit", *url),
    ):
        story.console.print(escape(_shell(arguments, _program())), style="bold", soft_wrap=True)
    server.wait()


def _program() -> str:
    """How to call `tritonclip` from a shell that may not have the environment activated."""
    script = Path(sysconfig.get_path("scripts")) / "tritonclip"
    if (found := shutil.which("tritonclip")) and Path(found).resolve() == script.resolve():
        return "tritonclip"
    return shlex.quote(str(_from_root(script)))


def _from_root(path: Path) -> Path:
    """As it is written from the repository's root, which is shorter where it lies below."""
    path = path.absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _shell(arguments: Sequence[str], program: str = "tritonclip") -> str:
    """The command as one types it, broken before an option where it is too long for a line."""
    line, lines = program, []
    for argument in map(shlex.quote, arguments):
        # An option goes with its value, so some room for that is kept.
        if argument.startswith("-") and len(line) + len(argument) > COLUMNS - 25:
            lines.append(line)
            line = "   "
        line += f" {argument}"
    return " \\\n".join([*lines, line])


def _listed(names: Sequence[str]) -> str:
    """Indented lines that end between two names, never within one."""
    space = "\N{NO-BREAK SPACE}"
    joined = f"{space}· ".join(name.replace(" ", space) for name in names)
    indent = " " * 4
    return textwrap.fill(joined, COLUMNS, initial_indent=indent, subsequent_indent=indent)


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


if __name__ == "__main__":
    sys.exit(main())
