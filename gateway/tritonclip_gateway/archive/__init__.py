"""The collection that is searched, and its pictures."""
