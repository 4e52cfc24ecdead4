"""What is to be embedded, in all the shapes in which clients of others send it."""
