# The server with its page and the embedded model. `docker build .` makes the CPU image, `--build-arg KIND=gpu` the CUDA one.
FROM python:3.12-slim-bookworm

ARG KIND=cpu
# Compiled kernels go beside the checkpoints: the rest of the file system may be read-only, and /tmp without execution.
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PATH=/opt/venv/bin:$PATH HF_HOME=/models \
    TRITON_CACHE_DIR=/models/kernels/triton TORCHINDUCTOR_CACHE_DIR=/models/kernels/inductor

WORKDIR /app

# Triton and torch.compile call a C and C++ compiler while they run (--execution compile, graphs).
RUN if [ "$KIND" = gpu ]; then \
        apt-get update && apt-get install -y --no-install-recommends gcc g++ libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi

# PyTorch first: it is the largest layer and changes only with the pins.
COPY requirements requirements
RUN requirements/install.sh /opt/venv "" "$KIND"

COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY stream stream
COPY client client
RUN requirements/install.sh /opt/venv server "$KIND" \
    && useradd --create-home --uid 1000 farcast \
    && install -d -o farcast /models /recordings /state

USER farcast
VOLUME /models /recordings /state
# The page, the API and the control socket; media in this UDP range.
EXPOSE 8000/tcp 50000-50100/udp
# Healthy once the model is loaded; a first start may download it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15m \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["farcast"]
CMD ["serve", "--host", "0.0.0.0", "--ice-ports", "50000-50100", "--record-dir", "/recordings", \
    "--state-dir", "/state"]
