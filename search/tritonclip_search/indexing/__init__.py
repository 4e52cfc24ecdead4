"""From files to records: only what is new or changed is embedded, and any interruption is harmless.

A file whose size and time of change are as recorded is passed over. One whose bytes are as
recorded, here or where a file has vanished, keeps its vectors. Records are written as their vectors
come, each under an id that follows from its path; so whatever stops an indexer, the next one finds
what was written, and writes the rest.
"""
