# One image for everything that runs: `serve` (the default), `drain`, `migrate` and the other commands of `dispatch`.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
# Only what the server itself requires, in the versions and with the hashes of the lock.
RUN python -m venv --without-pip /opt/venv \
    && pip install --no-cache-dir --root-user-action=ignore uv==0.13.9 \
    && uv pip install --no-cache --python /opt/venv/bin/python --require-hashes --only-binary :all: \
       --compile-bytecode --constraint requirements.lock -r pyproject.toml

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin dispatch
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DISPATCH_HOST=0.0.0.0 DISPATCH_PORT=8080
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY storage storage
COPY dispatch dispatch
COPY rooms rooms
COPY server server
COPY deploy/health.py deploy/health.py
RUN python -m compileall -q .
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["python", "deploy/health.py", "serve"]
ENTRYPOINT ["python", "-m", "server.cli"]
CMD ["serve"]
