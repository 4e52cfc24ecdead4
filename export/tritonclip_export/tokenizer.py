"""A checkpoint's own tokenizer as `tokenizer.json` plus cleaning rules.

The Rust `tokenizers` library then gives the same ids inside the server, without torch, open_clip or
transformers there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tritonclip_export.bundle import CleaningRule, TextSpec, sha256_of
from tritonclip_export.errors import ExportError

FILENAME = "tokenizer.json"

# open_clip's cleaning functions (tokenizer.py: `_clean_lower`, ...) as sequences of named rules.
CLEANING: dict[str, tuple[CleaningRule, ...]] = {
    "_clean_lower": ("fix_encoding", "unescape_html", "collapse_whitespace", "lowercase"),
    "_clean_whitespace": ("fix_encoding", "unescape_html", "collapse_whitespace"),
    "_clean_canonicalize": (
        "fix_encoding",
        "unescape_html",
        "remove_punctuation",
        "lowercase",
        "collapse_whitespace",
    ),
}


def write_tokenizer(tokenizer: Any, folder: Path, *, dynamic_length: bool) -> TextSpec:
    """Convert open_clip's `tokenizer`, write it into `folder` and describe it.

    Raises:
        ExportError: a kind of tokenizer, cleaning or reduction that has no conversion.
    """
    from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer

    cleaning: tuple[CleaningRule, ...]
    if isinstance(tokenizer, SimpleTokenizer):
        converted, pad_id = _from_clip_bpe(tokenizer), 0
        cleaning = _cleaning(tokenizer)
    elif isinstance(tokenizer, HFTokenizer):
        converted, pad_id = _from_fast_tokenizer(tokenizer)
        cleaning = _cleaning(tokenizer)
    elif isinstance(tokenizer, SigLipTokenizer):
        converted, pad_id = _from_fast_tokenizer(tokenizer)
        cleaning = CLEANING["_clean_canonicalize"]
    else:
        raise ExportError(f"a tokenizer of type {type(tokenizer).__name__} has no conversion")
    if tokenizer.context_length is None:
        raise ExportError("the checkpoint's tokenizer has no context length")
    converted.no_padding()
    converted.enable_truncation(tokenizer.context_length)
    file = folder / FILENAME
    converted.save(str(file))
    return TextSpec(
        context_length=tokenizer.context_length,
        tokenizer=FILENAME,
        tokenizer_sha256=sha256_of(file),
        cleaning=cleaning,
        pad_id=pad_id,
        dynamic_length=dynamic_length,
    )


def _cleaning(tokenizer: Any) -> tuple[CleaningRule, ...]:
    name = tokenizer.clean_fn.__name__
    if name not in CLEANING:
        raise ExportError(f"the tokenizer cleans text with {name}, which has no named rules")
    return CLEANING[name]


def _from_fast_tokenizer(tokenizer: Any) -> tuple[Any, int]:
    """The Rust tokenizer inside a transformers one, and its padding id."""
    from tokenizers import Tokenizer

    inner = tokenizer.tokenizer
    if not inner.is_fast:
        raise ExportError(f"{type(inner).__name__} has no fast (Rust) version to convert")
    if getattr(tokenizer, "tokenizer_mode", "") or getattr(tokenizer, "strip_sep_token", False):
        raise ExportError("tokenizer_mode and strip_sep_token have no conversion yet")
    if inner.padding_side != "right":
        raise ExportError(f"padding on the {inner.padding_side} has no conversion")
    return Tokenizer.from_str(inner.backend_tokenizer.to_str()), int(inner.pad_token_id)


def _from_clip_bpe(clip: Any) -> Any:
    """CLIP's byte-pair encoding (open_clip's `SimpleTokenizer`).

    Two of its habits need care. Its regular expression, ignoring case, matches U+0345 nowhere, so
    that mark separates words and vanishes, as a space would. And a special token typed into a text
    becomes its id, but only where the scan stands on it: in `!<end_of_text>` the `!<` is taken
    first. Registering special tokens with the library would find them everywhere, so they are
    reached by merges instead: a chain that only fires on the one pre-token with `<` and letters.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    if clip.reduction_fn is not None:
        raise ExportError("a tokenizer with a reduction mask draws tokens at random")
    special = {name: clip.encoder[name] for name in _special_tokens(clip)}
    vocab = {token: id for token, id in clip.encoder.items() if token not in special}
    merges = sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    split = pre_tokenizers.Split(Regex(f"(?i){clip.pat.pattern}"), "removed", invert=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def build() -> Any:
        model = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>")
        tokenizer = Tokenizer(model)
        tokenizer.normalizer = normalizers.Replace("\u0345", " ")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
        return tokenizer

    plain = build()
    for name, id in special.items():
        merged, *rest = plain.encode(name, add_special_tokens=False).tokens
        for piece in rest:
            merges.append((merged, piece))
            merged += piece
            # Steps of the chain are never the last, so their ids, past the vocabulary, never show.
            vocab.setdefault(merged, len(clip.encoder) + len(merges))
        vocab[merged] = id
    tokenizer = build()
    start, end = clip.all_special_ids[:2]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[start] $0 [end]", special_tokens=[("[start]", start), ("[end]", end)]
    )
    return tokenizer


def _special_tokens(clip: Any) -> list[str]:
    return [clip.decoder[id] for id in clip.all_special_ids]


def bucket_lengths(text: TextSpec) -> list[int]:
    """Lengths that token ids are padded to: powers of two, then the context length."""
    if not text.dynamic_length:
        return [text.context_length]
    powers = [2**n for n in range(3, 16) if 2**n < text.context_length]
    return [*powers, text.context_length]
