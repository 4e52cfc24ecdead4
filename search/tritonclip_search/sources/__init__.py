"""What can be indexed: folders, files, globs, lists, tar shards, and what fsspec opens."""
