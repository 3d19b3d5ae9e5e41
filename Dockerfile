# syntax=docker/dockerfile:1
# One image for workers, beat and recovery; the task definition or the function says which.
# BASE is python:3.11-slim by digest, kept in deploy/base-image: `make pin` asks the registry, `make image` passes it on.
# It has no default on purpose: a build that nobody pinned ends here.
ARG BASE

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# Dependencies first: this layer changes only with the locks. Hashes make it reproducible, and nothing is compiled.
COPY requirements requirements
RUN python -m venv /venv \
 && pip install --require-hashes --only-binary :all: -r requirements/build.txt \
 && /venv/bin/pip install --require-hashes --no-deps --only-binary :all: \
    -r requirements/runtime.txt -r requirements/image.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /venv/bin/pip install --no-deps /dist/*.whl

FROM ${BASE}
# The same base and path as in the build stage, so that the venv's interpreter link stays valid.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
RUN groupadd --gid 10001 jobclaim \
 && useradd --uid 10001 --gid jobclaim --no-create-home --shell /usr/sbin/nologin jobclaim
COPY --from=build /venv /venv
WORKDIR /app
USER 10001:10001
# Fargate gives this folder's mode to the task's volume; the rest of the file system is read-only.
VOLUME ["/tmp"]
STOPSIGNAL SIGTERM
# `jobclaim worker run` is the worker itself, so that the signal reaches it.
CMD ["jobclaim", "worker", "run"]
