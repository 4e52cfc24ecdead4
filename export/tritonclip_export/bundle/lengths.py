"""The lengths that token ids of a bundle are padded to."""

from tritonclip_export.bundle.contents import TextSpec


def bucket_lengths(text: TextSpec) -> list[int]:
    """Lengths that token ids are padded to: powers of two, then the context length."""
    if not text.dynamic_length:
        return [text.context_length]
    powers = [2**n for n in range(3, 16) if 2**n < text.context_length]
    return [*powers, text.context_length]
