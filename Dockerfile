# docker build -t recurrent-trainer:gpu .                          with TensorFlow's CUDA libraries
# docker build -t recurrent-trainer:cpu --build-arg DEVICE=cpu .   for machines without a GPU
# The base can come from a mirror: --build-arg BASE=MIRROR/python:3.12.12-slim-bookworm
# Smoke test of an image: docker run --rm --read-only --tmpfs /tmp --tmpfs /cache:uid=10001 --entrypoint sh IMAGE /opt/smoke.sh
ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md recurrent_trainer.py ./
COPY trainer trainer
COPY launch launch
COPY k8s k8s
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM ${BASE}
ARG DEVICE=gpu
# Everything that a run writes beside its data goes to /tmp and /cache; the rest of the file system can be read-only. So bytecode is made
# here, of Python's library too, which its image has no bytecode of; never compared with the sources, whose times a build may change.
# GKE mounts the driver's libraries in /usr/local/nvidia.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    MPLCONFIGDIR=/cache/matplotlib \
    CUDA_CACHE_PATH=/cache/cuda \
    LD_LIBRARY_PATH=/usr/local/nvidia/lib64
RUN useradd --uid 10001 --no-create-home --home-dir /cache --shell /usr/sbin/nologin trainer \
    && install --directory --owner=trainer --group=trainer /cache
# The large layer: it changes with the pinned packages only, not with the code.
COPY k8s/image/${DEVICE}.txt /opt/requirements.txt
RUN pip install --no-cache-dir --no-compile --no-deps --requirement /opt/requirements.txt \
    && python -m compileall -q -j 0 -x '/tests/|/python3[^/]*/test/' --invalidation-mode unchecked-hash \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY k8s/image/smoke.sh /opt/smoke.sh
COPY --from=wheel /wheel /wheel
RUN site="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && pip install --no-cache-dir --no-compile --no-deps /wheel/*.whl && pip check \
    && python -m compileall -q --invalidation-mode unchecked-hash "${site}/recurrent_trainer.py" "${site}/trainer" "${site}/launch"

USER 10001
WORKDIR /tmp
RUN sh /opt/smoke.sh
ENTRYPOINT ["python", "-m"]
CMD ["trainer.train", "--help"]
