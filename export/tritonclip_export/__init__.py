"""The toolchain: checkpoint -> bundle -> repository -> verified server."""
