"""The tokenizer of SigLIP in transformers, `SiglipTokenizer`, which is Python around SentencePiece.

Everything it does in Python is the cleaning rule `siglip`; SentencePiece becomes the unigram model
and the normaliser of the Rust `tokenizers` library, as in transformers' own conversions.
"""

from __future__ import annotations

from typing import Any

from tritonclip_export.errors import ExportError


def convert(tokenizer: Any) -> Any:
    """A `tokenizers.Tokenizer` that gives the same ids after the cleaning rule `siglip`.

    Raises:
        ExportError: its texts are not lower-cased, or its model is not a unigram model.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, processors
    from tokenizers.pre_tokenizers import Metaspace
    from transformers.convert_slow_tokenizer import import_protobuf

    if not tokenizer.do_lower_case:
        raise ExportError("a SigLIP tokenizer that keeps capitals (do_lower_case) has no rule")
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(tokenizer.sp_model.serialized_model_proto())
    if proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise ExportError("a SigLIP tokenizer whose SentencePiece is no unigram model")
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    converted = Tokenizer(models.Unigram(pieces, proto.trainer_spec.unk_id, byte_fallback=False))
    steps = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    if charsmap := proto.normalizer_spec.precompiled_charsmap:
        steps.insert(0, normalizers.Precompiled(charsmap))
    converted.normalizer = normalizers.Sequence(steps)
    converted.pre_tokenizer = Metaspace(prepend_scheme="first")
    end, unknown = tokenizer.eos_token, tokenizer.unk_token
    converted.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (end, unknown)]
    )
    converted.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    return converted
