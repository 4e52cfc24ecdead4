"""open_clip's tokenizers in the form that runs in the server."""

from __future__ import annotations

from typing import Any

from tritonclip_export.bundle import CleaningRule
from tritonclip_export.errors import ExportError
from tritonclip_export.tokenizer import ServedTokenizer, from_transformers

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
        if tokenizer.tokenizer_mode or tokenizer.strip_sep_token:
            raise ExportError("tokenizer_mode and strip_sep_token have no conversion yet")
        return from_transformers(tokenizer.tokenizer, _cleaning(tokenizer), context_length)
    if isinstance(tokenizer, SigLipTokenizer):
        cleaning = CLEANING["_clean_canonicalize"]
        return from_transformers(tokenizer.tokenizer, cleaning, context_length)
    raise ExportError(f"a tokenizer of type {type(tokenizer).__name__} has no conversion")


def _cleaning(tokenizer: Any) -> tuple[CleaningRule, ...]:
    name = tokenizer.clean_fn.__name__
    if name not in CLEANING:
        raise ExportError(f"the tokenizer cleans text with {name}, which has no named rules")
    return CLEANING[name]


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
