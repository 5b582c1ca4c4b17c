#!/bin/sh
# Makes .venv-llamacpp beside the project: a real llama-server (llama.cpp, MIT) and the shipped base as GGUF, for
# `make test-llamacpp`. Its source is that of the package scripts/gguf_env.sh compiles, and its converter is found in the
# environment that script makes. Compiles C++: about 5 minutes on two cores, once; needs a C++ compiler and cmake. Does
# nothing where it is there already. Uses pip, which looks wherever it is configured to look.
set -eu

cd "$(dirname "$0")/.."
llama="llama-cpp-python==0.3.36"
environment=.venv-llamacpp
mark="$environment/installed.txt"

if [ "$(cat "$mark" 2>/dev/null)" = "$llama" ]; then
    echo "$environment is there already: $llama"
    exit 0
fi
command -v cmake >/dev/null || { echo "cmake was not found. Expected cmake 3.14 or newer; install it (pip brings one too)."; exit 2; }

bash scripts/gguf_env.sh
started=$(date +%s)
rm -rf "$environment"
mkdir -p "$environment/source"
log="$environment/build.log"
fail() {
    tail -n 20 "$log" >&2
    echo "$1; the whole log is $log" >&2
    exit 1
}

.venv-gguf/bin/python -m pip download --quiet --no-deps --no-binary=:all: --dest "$environment" "$llama" >"$log" 2>&1 ||
    fail "the source of $llama could not be fetched"
tar -xzf "$environment"/*.tar.gz -C "$environment/source" --strip-components=1

echo "compiling llama-server ..."
# Neither downloads, pictures in the browser nor the fastest code are needed.
cmake -S "$environment/source/vendor/llama.cpp" -B "$environment/build" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAMA_CURL=OFF \
    -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF >>"$log" 2>&1 || fail "llama.cpp could not be configured"
nice -n 19 cmake --build "$environment/build" --target llama-server -j "${JOBS:-2}" >>"$log" 2>&1 ||
    fail "llama-server could not be compiled"
cp "$environment/build/bin/llama-server" "$environment/llama-server"

PYTHONPATH=src/modelyard/adapters/exporters/inside .venv-gguf/bin/python -c '
import sys
from pathlib import Path
import convert_gguf
convert_gguf._convert(Path(sys.argv[1]), Path(sys.argv[2]), "f16", "dinghy-6m")
' src/modelyard/demo/base "$environment/dinghy-6m.gguf" >>"$log" 2>&1 || fail "the shipped base could not be converted"
rm -rf "$environment/build" "$environment/source" "$environment"/*.tar.gz

echo "$llama" >"$mark"
echo "$environment is ready after $(($(date +%s) - started)) s: $llama"
