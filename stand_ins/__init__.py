"""What would come from a hub or a camera, made here for tests, benchmarks and `write_catalogue`.

Shapes are the published ones, weights are random, and vocabularies small ones of the same kind.
"""
