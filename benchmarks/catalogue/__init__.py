"""The catalogue's matrix: every architecture exported and checked, one row each."""
