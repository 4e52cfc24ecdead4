"""The page to search with: static files, and how they are served."""
