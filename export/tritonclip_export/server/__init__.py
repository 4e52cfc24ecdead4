"""Stage 6: running `tritonserver`, from PyPI or in a container."""
