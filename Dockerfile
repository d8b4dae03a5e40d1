# One image for every role: `docker compose build`, then `docker compose up`.
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NUMBA_CACHE_DIR=/var/cache/streamwise \
    STREAMWISE_STATE=/var/lib/streamwise

RUN useradd --create-home --uid 10001 streamwise \
    && install -d -o streamwise -g streamwise /var/cache/streamwise /var/lib/streamwise

WORKDIR /opt/streamwise
COPY requirements.lock ./
RUN pip install --no-deps --require-hashes -r requirements.lock
COPY . ./
RUN pip install --no-deps --no-build-isolation --editable .

USER streamwise
# The kernels are compiled here, not at each start. On a processor of another kind than the
# builder's, Numba compiles them again at the first start, which takes up to a minute.
RUN streamwise warm

WORKDIR /var/lib/streamwise
ENTRYPOINT ["streamwise"]
CMD ["--help"]
