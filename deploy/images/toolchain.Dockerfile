# What assembles a repository from bundles, for the chart's init container:
#
#   docker build --file deploy/images/toolchain.Dockerfile --tag tritonclip-toolchain:0.1.0 .
#
# What `assemble` imports and no more: the extra `export` would bring PyTorch, which only exporting needs.
FROM python:3.12-slim

COPY . /source
RUN pip install --no-cache-dir /source "onnx>=1.18" "onnx-ir>=0.1.10" "ml_dtypes>=0.5" \
        "pydantic>=2.7" "tokenizers>=0.20" "ftfy>=6.1" \
    && rm -rf /source

USER 1000:1000
ENTRYPOINT ["tritonclip"]
