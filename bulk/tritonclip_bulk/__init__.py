"""Millions and billions of pictures into files of vectors, on one machine or on a Ray cluster.

    from tritonclip_bulk.pool import Endpoints
    from tritonclip_bulk.run import bulk

    report = bulk(["s3://bucket/shards"], "s3://bucket/vectors", Endpoints(("10.0.0.7:8001",)))

A plan cuts the sources into shards; a shard's work is a function of its pictures and what embeds
them, and ends in one file. Everything else, resuming, retrying, a second worker that does the same,
follows from that.
"""
