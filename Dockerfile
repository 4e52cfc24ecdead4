# NVIDIA's Triton Inference Server plus the packages that the Python models of a repository import
# (model_repository/requirements.txt). The models themselves are mounted, not copied:
#
#   docker build --build-arg TAG=26.07 --tag tritonclip-server:26.07 .
#   tritonclip serve REPOSITORY --container
#
# TAG decides the TensorRT version, and an engine runs only under the TensorRT that built it: build
# engines in the image that serves them. The default is that of tritonclip_export/server/container.py.
ARG TAG=26.07
FROM nvcr.io/nvidia/tritonserver:${TAG}-py3

COPY model_repository/requirements.txt /tmp/requirements.txt
# --build-arg PACKAGES=nvidia-dali-cuda130 is for repositories assembled with --preprocess dali,
# PACKAGES=openvino for those assembled with --runtime openvino.
ARG PACKAGES=""
# The image's Python is the one that the Python backend embeds, so the packages go there, not into a
# virtual environment; PEP 668 wants that said aloud.
RUN PIP_BREAK_SYSTEM_PACKAGES=1 pip install --no-cache-dir --requirement /tmp/requirements.txt ${PACKAGES} \
    && rm /tmp/requirements.txt

# Triton does not replace the process of a Python model that died or hangs; this starts it anew, and
# ends when that does not help, so that whatever runs the container takes over. Other commands than
# tritonserver run as they are.
COPY export/tritonclip_export/server/keeper.py export/tritonclip_export/server/probe.py /opt/tritonclip/
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "python3", "-I", "-S", "/opt/tritonclip/keeper.py", "--restart", "--"]
CMD ["tritonserver", "--model-repository=/models"]
HEALTHCHECK --interval=10s --timeout=60s --start-period=5m --retries=2 \
    CMD ["python3", "-I", "-S", "/opt/tritonclip/probe.py"]
