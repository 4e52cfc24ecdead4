"""Stage 5: from bundles to a Triton model repository."""
