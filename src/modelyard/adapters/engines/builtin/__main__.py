"""`python -m modelyard.adapters.engines.builtin`: the built-in engine as a process of its own.

Exit codes are those of core/errors.py: 2 for a model that cannot be loaded, 5 for a busy port.
"""

import argparse
import errno
import os
import socket
import sys
from pathlib import Path

from modelyard.core.errors import InvalidInput, ModelyardError, PortBusy


def main() -> int:
    """Bind the port, load the model, serve until told to stop."""
    options = _parse()
    try:
        with _bind(options.host, options.port) as listener:
            _serve(options, listener)
    except ModelyardError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m modelyard.adapters.engines.builtin", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="the base model's folder")
    parser.add_argument("--name", required=True, help="the name it is served under")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8801)
    parser.add_argument("--max-batch", type=int, default=32, help="rows that run at once")
    parser.add_argument("--max-waiting", type=int, default=256, help="requests that wait; one more is refused with 503")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of each matrix product; more only on idle cores"
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    return parser.parse_args()


def _bind(host: str, port: int) -> socket.socket:
    """Listen at once, so that a second engine is refused before it loads anything."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(f"port {port} on {host} is taken", fix="stop the other process or use --port") from error
        raise InvalidInput(f"cannot listen on {host}:{port}: {error}") from error
    return listener


def _serve(options: argparse.Namespace, listener: socket.socket) -> None:
    # A product that waits by spinning takes the core from whoever trains beside it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    import uvicorn
    from transformers.utils import logging as transformers_logging

    from modelyard.adapters.engines.builtin.api import Api
    from modelyard.adapters.engines.builtin.batcher import Batcher
    from modelyard.adapters.engines.builtin.engine import BuiltinEngine
    from modelyard.adapters.engines.builtin.model import Model
    from modelyard.adapters.engines.builtin.text import Tokenizer

    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    model = Model(options.model, getattr(torch, options.dtype))
    tokenizer = Tokenizer(options.model)
    batcher = Batcher(model, tokenizer, max_batch=options.max_batch, max_waiting=options.max_waiting)
    api = Api(BuiltinEngine(options.name, options.model, model, tokenizer, batcher))
    config = uvicorn.Config(
        api, lifespan="off", ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=5, backlog=2048
    )
    server = uvicorn.Server(config)
    print(f"{options.name} answers on http://{options.host}:{listener.getsockname()[1]}", flush=True)
    server.run(sockets=[listener])
    batcher.close()


if __name__ == "__main__":
    sys.exit(main())
