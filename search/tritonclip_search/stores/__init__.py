"""Stores: what holds the vectors, behind one protocol."""
