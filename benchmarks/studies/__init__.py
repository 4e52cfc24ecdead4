"""What is asked of this project alone: a command each, a result file each."""
