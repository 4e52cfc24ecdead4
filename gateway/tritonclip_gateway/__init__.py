"""HTTP in front of Triton: the APIs that clients speak already, and search over an archive.

    from tritonclip_gateway.serving import HttpServer
    from tritonclip_gateway.settings import Settings

    HttpServer(Settings(triton=("127.0.0.1:8001",), archive="archive")).run()

A request goes through these rooms: `api/` (what is asked and answered, a module a subject) reads
its `inputs/` and has them embedded on one of the servers of `triton/`, or asks the `archive/`.
"""
