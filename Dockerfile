# Two images: `train`, with torch, for training; `api` for every other process. Built by compose.yaml.
# wheels/ may hold wheels to be preferred to those of the package index (`make wheels`: torch for the CPU alone).

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM scratch AS wheels
COPY constraints.txt wheel[s] /

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 HOME=/tmp
WORKDIR /app
RUN python3 -m venv /venv
COPY pyproject.toml constraints.txt ./
# Code and README come later, or not at all: a change of them must not install the dependencies again.
RUN --mount=type=bind,from=wheels,target=/wheels mkdir services workers shared && touch README.md \
 && PIP_CONSTRAINT=/app/constraints.txt pip install --no-cache-dir --find-links /wheels --editable .
# A fresh volume takes its owner and mode from here; any user may be set to run the containers.
RUN mkdir -p /data/s3 /data/artifacts && chmod 1777 /data /data/s3 /data/artifacts

FROM base AS train-base
RUN --mount=type=bind,from=wheels,target=/wheels \
    PIP_CONSTRAINT=/app/constraints.txt pip install --no-cache-dir --find-links /wheels --editable '.[train]'

FROM base AS api
COPY LICENSE ./
COPY shared shared
COPY services services
COPY workers workers
# The file systems are read-only at run time.
RUN python -m compileall -q shared services workers
USER 10001:10001

FROM train-base AS train
COPY LICENSE ./
COPY shared shared
COPY services services
COPY workers workers
RUN python -m compileall -q shared services workers
USER 10001:10001
