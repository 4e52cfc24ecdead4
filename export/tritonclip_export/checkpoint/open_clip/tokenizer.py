"""open_clip's tokenizers in the form that runs in the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tritonclip_export.bundle import CleaningRule
from tritonclip_export.checkpoint.character_classes import in_regex, spelled_out
from tritonclip_export.checkpoint.references import nearest
from tritonclip_export.checkpoint.tokenizer import ServedTokenizer, from_transformers
from tritonclip_export.errors import CheckpointError, ExportError

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


def convert(tokenizer: Any) -> ServedTokenizer:
    """Convert a `SimpleTokenizer`, `HFTokenizer` or `SigLipTokenizer`.

    Raises:
        ExportError: a kind of tokenizer, cleaning or reduction that has no conversion.
    """
    from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer

    context_length = tokenizer.context_length
    if context_length is None:
        raise ExportError("the checkpoint's tokenizer has no context length")
    if isinstance(tokenizer, SimpleTokenizer):
        return ServedTokenizer(_from_clip_bpe(tokenizer), _cleaning(tokenizer), 0, context_length)
    if isinstance(tokenizer, HFTokenizer):
        served = from_transformers(tokenizer.tokenizer, _cleaning(tokenizer), context_length)
        return _in_mode(tokenizer, served)
    if isinstance(tokenizer, SigLipTokenizer):
        cleaning = CLEANING["_clean_canonicalize"]
        return from_transformers(tokenizer.tokenizer, cleaning, context_length)
    raise ExportError(f"a tokenizer of type {type(tokenizer).__name__} has no conversion")


def set_language(tokenizer: Any, language: str) -> None:
    """Have NLLB's tokenizer put the code of `language` in front of every text.

    open_clip's own `set_language` changes the special tokens only until the next call, which goes
    back to the source language; so that is what is set here.

    Raises:
        CheckpointError: the tokenizer has no languages, or not this one.
    """
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not hasattr(inner, "set_src_lang_special_tokens"):
        raise CheckpointError("the checkpoint's tokenizer puts no language code in front of texts")
    if inner.convert_tokens_to_ids(language) == inner.unk_token_id:
        codes = [token for token in inner.all_special_tokens if "_" in token]
        raise CheckpointError(
            f"the tokenizer has no language {language!r}.{nearest(language, codes)}"
        )
    inner.src_lang = language


def _in_mode(tokenizer: Any, served: ServedTokenizer) -> ServedTokenizer:
    """What open_clip's `HFTokenizer` does to the ids of the tokenizer that it wraps."""
    from tokenizers import processors

    inner = tokenizer.tokenizer
    if tokenizer.tokenizer_mode == "clips":
        start, end = ("[start]", inner.bos_token_id), ("[end]", inner.eos_token_id)
        served.tokenizer.post_processor = processors.TemplateProcessing(
            single="[start] $0 [end]", special_tokens=[start, end]
        )
        return replace(served, last_id=inner.cls_token_id)
    if tokenizer.tokenizer_mode:
        raise ExportError(f"tokenizer_mode {tokenizer.tokenizer_mode!r} has no conversion")
    if tokenizer.strip_sep_token:
        return replace(served, replaced_ids={inner.sep_token_id: 0})
    return served


def _cleaning(tokenizer: Any) -> tuple[CleaningRule, ...]:
    name = tokenizer.clean_fn.__name__
    if name not in CLEANING:
        raise ExportError(f"the tokenizer cleans text with {name}, which has no named rules")
    return CLEANING[name]


def _from_clip_bpe(clip: Any) -> Any:
    """CLIP's byte-pair encoding (open_clip's `SimpleTokenizer`).

    A special token typed into a text becomes its id, but only where the scan stands on it: in
    `!<end_of_text>` the `!<` is taken first. Registering special tokens with the library would find
    them everywhere, so they are reached by merges instead: a chain that only fires on the one
    pre-token with `<` and letters.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

    if clip.reduction_fn is not None:
        raise ExportError("a tokenizer with a reduction mask draws tokens at random")
    special = {name: clip.encoder[name] for name in _special_tokens(clip)}
    vocab = {token: id for token, id in clip.encoder.items() if token not in special}
    merges = sorted(clip.bpe_ranks, key=clip.bpe_ranks.__getitem__)
    words = spelled_out(clip.pat.pattern, in_regex, ignore_case=True)
    split = pre_tokenizers.Split(Regex(words), "removed", invert=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def build() -> Any:
        model = models.BPE(vocab=vocab, merges=merges, end_of_word_suffix="</w>")
        tokenizer = Tokenizer(model)
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
