# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY producers producers
COPY worker worker
RUN python -m venv /opt/onelane && /opt/onelane/bin/pip install --no-cache-dir '.[all]'

FROM python:3.13-slim
RUN useradd --system --create-home --uid 10001 onelane
# Flower keeps its history here; a volume takes the owner over.
RUN install --directory --owner=onelane /var/lib/onelane
COPY --from=build /opt/onelane /opt/onelane
ENV PATH=/opt/onelane/bin:$PATH PYTHONUNBUFFERED=1
USER onelane
WORKDIR /home/onelane
CMD ["onelane", "worker"]
