# A shell, coreutils and Python, for tests that need them in a pod; the one image that has a shell.
# From the project's root: docker build -f e2e/images/tools.Dockerfile .
# BASE is any Debian-like image with Python 3.11 or newer.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
COPY hack/images/*.py /build/
RUN python3 /build/layer.py system /runtime && python3 /build/layer.py python /runtime \
    && python3 /build/layer.py finish /runtime
RUN python3 /build/layer.py program /product /bin/sh basename cat chmod cp cut date dd env expr false grep head hostname id \
    ln ls mkdir mktemp mv nproc od pwd readlink rm rmdir sed seq sleep sort stat stty tail tee test timeout touch tr \
    true tty uname wc && python3 /build/layer.py finish /product /runtime

FROM scratch
LABEL org.opencontainers.image.title=kubelb-tools org.opencontainers.image.version=0.1.0 \
    org.opencontainers.image.licenses="Apache-2.0 AND GPL-3.0-or-later"
COPY --from=build /runtime/ /
COPY --from=build /product/ /
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER 65532:65532
ENTRYPOINT ["/bin/sh"]
