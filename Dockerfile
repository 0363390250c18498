# docker build -t trainer .                          with TensorFlow's CUDA libraries
# docker build -t trainer:cpu --build-arg EXTRA= .   for machines without a GPU
FROM python:3.12-slim-bookworm

ARG EXTRA=gpu
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 MPLCONFIGDIR=/tmp/matplotlib

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin trainer
WORKDIR /app
COPY setup.py pyproject.toml README.md ./
COPY trainer trainer
RUN pip install ".${EXTRA:+[$EXTRA]}" && rm -rf build && python -m trainer.train --help > /dev/null

USER 10001
ENTRYPOINT ["python", "-m", "trainer.train"]
