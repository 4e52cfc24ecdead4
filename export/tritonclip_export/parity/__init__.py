"""Figures and comparisons, below every stage that has to pass them."""
