"""Stage 7: `verify` and its page, above all that they measure."""
