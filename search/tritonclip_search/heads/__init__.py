"""Heads: small models on embeddings, kept as tensors and never as code."""
