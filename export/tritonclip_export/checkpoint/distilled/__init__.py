"""Image towers of CLIP with text towers that imitate its own: M-CLIP, Sentence Transformers."""
