"""Engines: encoders compiled for one GPU architecture, with a GPU or without one.

What this project has run, and what it has not. TensorRT-RTX compiles in the tests, on machines
without a GPU. The full TensorRT is driven through Polygraphy by the same code: with TensorRT-RTX in
its place, that has been run up to the first call that needs a driver. The build inside the serving
image has been run with stand-ins for Docker and `trtexec`. No engine has been executed yet.
"""
