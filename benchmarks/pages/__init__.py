"""Pages of `docs/` that are made of figures: a module each, from result files to Markdown."""
