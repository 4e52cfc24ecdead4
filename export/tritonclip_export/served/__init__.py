"""`model_repository/` as the toolchain sees it: its code, its parameters, its config format."""
