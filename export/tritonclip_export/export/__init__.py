"""Stage 2: from a checkpoint to a bundle."""
