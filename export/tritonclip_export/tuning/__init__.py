"""`tune`: a short search for how a server runs one bundle best, and its findings in the configs.

`search` decides what is tried and kept, and knows no server; `space` says what there is to try;
`setting` reads and writes those fields of the configs; `live` applies a setting to a running server
and measures it; `tune` puts them together.
"""
