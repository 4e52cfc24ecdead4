"""Stage 1: from what is typed to a dual encoder."""
