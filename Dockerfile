# Two images: the pipeline, and a registered model behind HTTP. Neither runs as root; both install the hashed lock.
#   docker build --target pipeline -t forecast . && docker run --name run forecast && docker cp run:/srv/forecast/reports .
#   .venv/bin/mlflow artifacts download -u models:/weather@champion -d model     # MLFLOW_TRACKING_URI=sqlite:///mlflow.db
#   docker build --target served --build-context model=model -t forecast-weather . && docker run -p 5001:5001 forecast-weather
FROM python:3.13-slim-bookworm AS environment
WORKDIR /srv/forecast
COPY requirements.lock .
RUN python -m venv .venv && \
    .venv/bin/pip install --no-cache-dir --compile --no-deps --require-hashes -r requirements.lock
COPY . .
RUN .venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .

FROM python:3.13-slim-bookworm AS base
RUN useradd --create-home --uid 10001 forecast && install -d -o forecast /srv/forecast
WORKDIR /srv/forecast
COPY --from=environment --chown=forecast /srv/forecast /srv/forecast
ENV PATH=/srv/forecast/.venv/bin:$PATH MLFLOW_DISABLE_TELEMETRY=true

FROM base AS served
# hadolint ignore=DL3022
COPY --from=model --chown=forecast . /srv/model
USER 10001
EXPOSE 5001
CMD ["mlflow", "models", "serve", "-m", "/srv/model", "--env-manager", "local", "--host", "0.0.0.0", "--port", "5001"]

FROM base AS pipeline
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 && rm -rf /var/lib/apt/lists/*
USER 10001
RUN install -d .forecast
VOLUME /srv/forecast/.forecast
ENTRYPOINT ["forecast"]
CMD ["run"]
