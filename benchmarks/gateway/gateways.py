"""Every gateway of the comparison: how it is started before an upstream, and what a request to it carries.

The peers live in `.venv-peers-gateway`, `.venv-peers-litellm` and `.venv-peers-portkey`, which
benchmarks/peers/setup_gateway.sh makes. Each is set up as its documentation says for production, logs no requests, and
has no database. They do less than ours in the same run: see docs/gateway/benchmarks.md.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import routes
import wire
from processes import Process, free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SOURCES, COMPILED = ROOT / "src", ROOT / "build/compiled"
# Of the version that `make compiled` was run with. Distributions and images ship one that was built with profile-guided
# optimisation, which is worth a sixth; one that was built by hand, by pyenv say, mostly was not.
PYTHON = os.environ.get("GATEWAY_PYTHON", sys.executable)
PACKAGES = sysconfig.get_path("purelib")
_DONE = COMPILED / ".done"
NUM_USERS = 64


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A gateway that can be measured.

    `share` is the share of the run's requests that it gets, and `rate` the requests a second at which its added latency
    is measured: less than the others get for what would take hours, or cannot keep up on one core.
    """

    name: str
    start: Callable[[Path, int, int, set[int] | None], Process]
    needs: Path | None = None
    share: float = 1.0
    rate: int = 1000
    headers: Callable[[int], dict[str, str]] = field(default=lambda upstream_port: {})

    @property
    def there(self) -> bool:
        """Whether it is installed."""
        return self.needs is None or self.needs.exists()


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """A gateway that runs. `headers` go with each request to it."""

    kind: Kind
    port: int
    process: Process
    headers: dict[str, str]

    def requests(self, *, stream: bool) -> list[bytes]:
        """Whole requests to send in turn: those of 64 users, so that assignment spreads them."""
        bodies = [wire.request_body(stream=stream, user=f"user-{number}") for number in range(NUM_USERS)]
        return [wire.request(body, self.headers) for body in bodies]


@contextmanager
def upstream(folder: Path, *, pace_ms: float = 0.0, cores: set[int] | None = None) -> Iterator[int]:
    """The upstream in a process of its own, as its port."""
    port = free_port()
    command = [sys.executable, HERE / "upstream.py", "--port", str(port), "--pace-ms", str(pace_ms)]
    with ended(Process(command, folder / f"upstream-{port}.log", cores=cores)) as process:
        process.wait_for(port)
        yield port


@contextmanager
def running(kind: Kind, folder: Path, upstream_port: int, cores: set[int] | None = None) -> Iterator[Gateway]:
    """A gateway before an upstream, ready."""
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with ended(kind.start(folder, port, upstream_port, cores)) as process:
        process.wait_for(port)
        yield Gateway(kind=kind, port=port, process=process, headers=kind.headers(upstream_port))


@contextmanager
def ended(process: Process) -> Iterator[Process]:
    """A process that ends with this."""
    try:
        yield process
    finally:
        process.stop()


def start_ours(folder: Path, port: int, upstream_port: int, cores: set[int] | None = None) -> Process:
    """Our gateway, compiled where `make compiled` was run, with the table in `routes.json` or a new one there."""
    return _start(COMPILED if _DONE.exists() else SOURCES, folder, port, upstream_port, cores)


def _start_plain(folder: Path, port: int, upstream_port: int, cores: set[int] | None) -> Process:
    return _start(SOURCES, folder, port, upstream_port, cores)


def _start(code: Path, folder: Path, port: int, upstream_port: int, cores: set[int] | None) -> Process:
    table = folder / "routes.json"
    if not table.exists():
        routes.write(table, upstream_port)
    command = [PYTHON, "-m", "modelyard.gateway.server", "--port", str(port)]
    command += ["--table", str(table), "--journal", str(folder / "journal")]
    return Process(command, folder / "gateway.log", environment={"PYTHONPATH": f"{code}:{PACKAGES}"}, cores=cores)


def _start_nginx(folder: Path, port: int, upstream_port: int, cores: set[int] | None) -> Process:
    text = (HERE / "nginx.conf").read_text()
    config = folder / "nginx.conf"
    config.write_text(
        text.replace("FOLDER", str(folder)).replace("UPSTREAM", str(upstream_port)).replace("PORT", str(port))
    )
    return Process(["nginx", "-c", str(config), "-p", str(folder)], folder / "gateway.log", cores=cores)


def _start_router(folder: Path, port: int, upstream_port: int, cores: set[int] | None) -> Process:
    command = [_ROUTER, "--port", str(port), "--worker-urls", f"http://127.0.0.1:{upstream_port}"]
    command += ["--policy", "round_robin", "--log-level", "error", "--prometheus-port", str(free_port())]
    return Process(command, folder / "gateway.log", cores=cores)


def _start_portkey(folder: Path, port: int, _: int, cores: set[int] | None) -> Process:
    command = ["node", _PORTKEY, f"--port={port}", "--headless"]
    return Process(command, folder / "gateway.log", environment={"NODE_ENV": "production"}, cores=cores)


def _start_litellm(folder: Path, port: int, upstream_port: int, cores: set[int] | None) -> Process:
    parameters = {"model": "openai/m", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "sk-none"}
    config = {
        "model_list": [{"model_name": wire.MODEL, "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False, "set_verbose": False},
        "general_settings": {"master_key": routes.secret(0)},
    }
    path = folder / "config.yaml"
    path.write_bytes(msgspec.json.encode(config))  # JSON is YAML
    command = [_LITELLM, "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    # Its own advice for production; the price map is the one it ships instead of one fetched at the start.
    quiet = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return Process(command, folder / "gateway.log", environment=quiet, cores=cores)


def _bearer(_: int) -> dict[str, str]:
    return {"authorization": f"Bearer {routes.secret(0)}"}


def _portkey_headers(upstream_port: int) -> dict[str, str]:
    host = f"http://127.0.0.1:{upstream_port}/v1"
    return {"authorization": "Bearer sk-none", "x-portkey-provider": "openai", "x-portkey-custom-host": host}


_ROUTER = ROOT / ".venv-peers-gateway/bin/vllm-router"
_PORTKEY = ROOT / ".venv-peers-portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
_LITELLM = ROOT / ".venv-peers-litellm/bin/litellm"

OURS = Kind(name="modelyard", start=start_ours, needs=_DONE, headers=_bearer)
PLAIN = Kind(name="modelyard-plain", start=_start_plain, headers=_bearer)
NGINX = Kind(name="nginx", start=_start_nginx, needs=Path(shutil.which("nginx") or "/nonexistent"))
ROUTER = Kind(name="vllm-router", start=_start_router, needs=_ROUTER)
PORTKEY = Kind(name="portkey", start=_start_portkey, needs=_PORTKEY, share=0.1, rate=100, headers=_portkey_headers)
LITELLM = Kind(name="litellm", start=_start_litellm, needs=_LITELLM, share=0.01, rate=10, headers=_bearer)
KINDS = (OURS, PLAIN, NGINX, ROUTER, PORTKEY, LITELLM)
