"""What is measured, and the pages that show it; see README.md."""
