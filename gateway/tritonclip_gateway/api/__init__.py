"""What is asked over HTTP, a module a subject."""
