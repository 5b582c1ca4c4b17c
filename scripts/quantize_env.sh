#!/bin/sh
# Makes .venv-quantize beside the project: llm-compressor (Apache-2.0), for AWQ and GPTQ, in an environment of its own, as
# its pins conflict with ours. Does nothing where it is there already. Uses pip, which looks wherever it is configured to
# look. For a GPU: TORCH="torch==2.13.0" (or what fits your driver) bash scripts/quantize_env.sh
set -eu

cd "$(dirname "$0")/.."
tool="llmcompressor==0.14.0.1"
torch="${TORCH:-torch==2.13.0+cpu}"
environment=.venv-quantize
mark="$environment/installed.txt"

if [ "$(cat "$mark" 2>/dev/null)" = "$tool $torch" ]; then
    echo "$environment is there already: $tool $torch"
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
$pip install --quiet $index "$tool" "$torch" >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    echo "llm-compressor could not be installed; the whole log is $log" >&2
    exit 1
}

echo "$tool $torch" >"$mark"
echo "$environment is ready after $(($(date +%s) - started)) s: $tool $torch"
