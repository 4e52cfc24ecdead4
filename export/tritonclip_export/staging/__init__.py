"""What appears whole or not at all."""
