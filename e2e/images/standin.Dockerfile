# A stand-in for a third-party Ingress controller. From the root: docker build -f e2e/images/standin.Dockerfile .
# BASE is any image with glibc and Python 3.11 or newer. Of it, only Python and what that links to stay.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY hack/images/*.py /build/
RUN python3 /build/layer.py system /runtime && python3 /build/layer.py python /runtime \
    && python3 /build/layer.py finish /runtime
COPY e2e/src/kubelb_e2e/apps/standin.py /product/app/
RUN python3 /build/layer.py finish /product /runtime

FROM scratch
LABEL org.opencontainers.image.title=kubelb-standin org.opencontainers.image.version=0.1.0 \
    org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /runtime/ /
COPY --from=build /product/ /
ENV PATH=/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["python3", "-I", "-S", "/app/standin.py"]
