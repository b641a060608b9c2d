# The operator's image. Any base will do that has a Python >= 3.11 with venv as python3, the same in both stages:
#
#   podman build -t registry.example.eu/passerelle:0.1.0 .
#
# Packages come from where the builder's pip.conf says, lent for the one step that needs it and left in no layer:
#
#   podman build --secret id=pip.conf,src=/etc/pip.conf -t registry.example.eu/passerelle:0.1.0 .
ARG BASE=docker.io/library/python:3.13.11-slim-bookworm

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# pip and what it builds with stay in an environment of their own, which the image doesn't get.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/passerelle
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src/passerelle src/passerelle
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /tools/bin/pip install --constraint constraints.txt --upgrade pip \
 && /tools/bin/pip wheel --no-deps --wheel-dir /wheels . \
 && /tools/bin/pip --python /opt/passerelle/bin/python install --no-compile --constraint constraints.txt /wheels/*.whl
COPY operator /app/operator
# The root file system is read-only where this runs: what Python would write beside the sources is written now, and taken
# as it is ever after, for nobody edits an image.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/passerelle/lib /app

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Passerelle" \
      org.opencontainers.image.description="A Kubernetes operator that runs training jobs on Slurm supercomputers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=build /opt/passerelle /opt/passerelle
COPY --from=build /app /app
# A number, so that runAsNonRoot can be checked without the image's passwd; no such user needs to exist.
USER 65532:65532
WORKDIR /app
EXPOSE 8080
ENTRYPOINT ["/opt/passerelle/bin/python", "/app/operator/main.py"]
