#!/usr/bin/env bash
# Makes .venv-peers with the tools that benchmarks/preparation.py runs beside ours.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -x .venv-peers/bin/python ] || "${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement benchmarks/peers/requirements.txt
