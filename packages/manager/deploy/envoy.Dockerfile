# Envoy. From the project's root, after `make envoy`: docker build -f packages/manager/deploy/envoy.Dockerfile .
# BASE is any image with glibc and Python 3.11 or newer; only what Envoy links to stays of it.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY hack/images/*.py /build/
COPY .tools/envoy/envoy/_bin/envoy /envoy/usr/local/bin/envoy
RUN python3 /build/layer.py system /envoy && python3 /build/layer.py finish /envoy

FROM scratch
LABEL org.opencontainers.image.title=kubelb-envoy org.opencontainers.image.version=1.40.0 \
    org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /envoy/ /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/envoy"]
