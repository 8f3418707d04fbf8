# The worker alone: no compiler, no package manager's cache, no lock file in what is shipped.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
# What builds stays here; what runs goes into an environment that has not even pip.
RUN python -m venv /build && python -m venv --without-pip /worker
COPY requirements/build.lock requirements/worker.lock requirements/
RUN /build/bin/pip install --require-hashes -r requirements/build.lock \
 && /build/bin/pip --python /worker/bin/python install --require-hashes -r requirements/worker.lock
COPY pyproject.toml README.md LICENSE ./
COPY deploy/public_name.py deploy/
COPY schemas schemas
COPY session_worker session_worker
COPY worker worker
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /build/bin/pip --python /worker/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
# `make image` adds version, revision, created and source.
LABEL org.opencontainers.image.title="session-worker" \
      org.opencontainers.image.description="Turns create-session requests from RabbitMQ into sessions in Postgres, and answers each one." \
      org.opencontainers.image.licenses="MIT"
# A number of its own, so that Kubernetes' runAsNonRoot can see that it is not root.
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent worker
COPY --from=build /worker /worker
ENV PATH=/worker/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Its probes and Prometheus come from outside of the container.
ENV WORKER_HTTP_HOST=0.0.0.0
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Alive, not ready: a worker that waits for its broker or database must not be replaced for it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["session-worker", "health"]
ENTRYPOINT ["session-worker"]
CMD ["run"]
