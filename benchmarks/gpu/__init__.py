"""A short lease of a GPU, turned into evidence: see README.md beside this."""
