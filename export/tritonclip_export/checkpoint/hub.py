"""Files that live on the Hugging Face hub: which are wanted, and where they are taken from.

With a folder (`--from`), nothing else is asked. It holds a repository's files in `ORG/NAME`, in
`NAME`, or directly. Without one, `huggingface_hub` answers from its cache or the network, and
`HF_HUB_OFFLINE` keeps it off the network. Whatever cannot be had is listed whole, not file by file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tritonclip_export.bundle.contents import inside
from tritonclip_export.errors import CheckpointError

SHARDS_SUFFIX = ".index.json"


@dataclass(frozen=True)
class Wanted:
    """Files of one repository that serve one purpose."""

    repository: str
    purpose: str
    one_of: tuple[str, ...]
    """The first of these that is there is what counts."""
    also: tuple[str, ...] = ()
    """Taken as well where they are there."""
    patterns: tuple[str, ...] = ()
    """What a download by hand should include, if not simply all of the above."""

    def inside(self, folder: str) -> Wanted:
        """The same files in a folder of the repository."""
        return Wanted(
            self.repository,
            self.purpose,
            *(
                tuple(f"{folder}/{name}" for name in names)
                for names in (self.one_of, self.also, self.patterns)
            ),
        )


def tokenizer(repository: str) -> Wanted:
    """What `AutoTokenizer` may read."""
    return Wanted(
        repository,
        "tokenizer",
        (
            "tokenizer.json",
            "spiece.model",
            "sentencepiece.bpe.model",
            "tokenizer.model",
            "vocab.txt",
            "vocab.json",
        ),
        (
            "tokenizer_config.json",
            "special_tokens_map.json",
            "added_tokens.json",
            "merges.txt",
            "config.json",
            # SigLIP's tokenizer reads this though there is a tokenizer.json.
            "spiece.model",
        ),
        ("*token*", "*.model", "vocab.*", "merges.txt", "config.json"),
    )


def weights(repository: str, *files: str) -> Wanted:
    """Weights under one of their usual names, the best first."""
    return Wanted(repository, "weights", files, patterns=files[:1])


def text_config(repository: str) -> Wanted:
    """The configuration of a text tower."""
    return Wanted(repository, "text tower's configuration", ("config.json",))


def shards(index: Path) -> set[str]:
    """The files that an index of sharded weights names, all of them beside it.

    Raises:
        CheckpointError: it is not such an index, or names a file elsewhere.
    """
    try:
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return {inside(name) for name in named}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{index} is not an index of sharded weights: {error}") from error


def obtain(wanted: Sequence[Wanted], folder: Path | None, *, reference: str) -> dict[Wanted, Path]:
    """Find or download everything; for each item the path of the `one_of` that was found.

    Args:
        wanted: what is wanted.
        folder: take it from here and from nowhere else.
        reference: what the user typed, for the error.

    Raises:
        CheckpointError: something cannot be had; names all of it and how to get it.
    """
    source = _Hub() if folder is None else _Folder(folder)
    found = {item: source.take(item) for item in wanted}
    missing = [item for item, path in found.items() if path is None]
    if missing:
        raise CheckpointError(_explain(reference, missing, source.where))
    return {item: path for item, path in found.items() if path is not None}


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = f"are not in {folder}"

    def take(self, wanted: Wanted) -> Path | None:
        owner, _, name = wanted.repository.rpartition("/")
        homes = (self._folder / owner / name, self._folder / name, self._folder)
        files = (home / file for home in homes for file in wanted.one_of)
        return next((file for file in files if file.is_file()), None)


class _Hub:
    def __init__(self) -> None:
        self.where = "cannot be had from the Hugging Face hub"
        self._reachable = True

    def take(self, wanted: Wanted) -> Path | None:
        files = ((self._download(wanted.repository, file), file) for file in wanted.one_of)
        path, name = next((found for found in files if found[0] is not None), (None, ""))
        if path is None:
            return None
        extra: Iterable[str] = wanted.also
        if name.endswith(SHARDS_SUFFIX):
            extra = {*extra, *(str(PurePosixPath(name).with_name(each)) for each in shards(path))}
        for file in extra:
            self._download(wanted.repository, file)
        return path

    def _download(self, repository: str, file: str) -> Path | None:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )

        offline = constants.HF_HUB_OFFLINE or not self._reachable
        try:
            return Path(hf_hub_download(repository, file, local_files_only=offline))
        except LocalEntryNotFoundError:
            # Not in the cache, and the network was not asked or did not answer. It is asked once:
            # each attempt takes huggingface_hub half a minute.
            self._reachable = False
            self.where = "are not in the cache of the Hugging Face hub, which " + (
                "is not asked (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "cannot be reached"
            )
        except GatedRepoError:
            self.where = (
                "are on the Hugging Face hub for people who are logged in (`hf auth login`)"
            )
        except RepositoryNotFoundError:
            self.where = "are not on the Hugging Face hub, or not for everybody (`hf auth login`)"
        except EntryNotFoundError:
            pass
        return None


def _explain(reference: str, missing: Sequence[Wanted], where: str) -> str:
    lines = [f"{reference} wants files that {where}:"]
    files: dict[str, list[str]] = {}
    for item in missing:
        lines.append(f"  {item.repository}: {' or '.join(item.one_of)} ({item.purpose})")
        patterns = item.patterns or (*item.one_of, *item.also)
        files.setdefault(item.repository, []).extend(patterns)
    lines.append("Download them where the hub can be reached, and name the folder with --from:")
    for repository, names in files.items():
        include = " ".join(f"--include '{name}'" for name in dict.fromkeys(names))
        lines.append(f"  hf download {repository} {include} --local-dir FOLDER/{repository}")
    return "\n".join(lines)
