# The gateway, and the client's commands, for the chart in deploy/chart:
#
#   docker build --file deploy/images/gateway.Dockerfile --tag tritonclip-gateway:0.1.0 .
FROM python:3.12-slim

COPY . /source
# Further extras, one for each kind of store that is searched: --build-arg EXTRAS=gateway,search,milvus
ARG EXTRAS=gateway
RUN pip install --no-cache-dir "/source[${EXTRAS}]" && rm -rf /source

# As the chart runs it; the number is also that of the user in Triton's image.
USER 1000:1000
ENTRYPOINT ["tritonclip"]
