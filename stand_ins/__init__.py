"""What would come from a hub, made here: tests, benchmarks and `write_catalogue` build from it.

Shapes are the published ones, weights are random, and vocabularies small ones of the same kind.
"""
