"""Hits that can be looked at: a page, a sheet."""
