"""Archives of pictures that are searched in plain words, on top of TritonCLIP's client."""
