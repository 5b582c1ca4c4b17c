#!/bin/sh
# Makes .venv-gguf beside the project: llama.cpp's converter, quantizer and runtime in an environment of their own, as
# their pins conflict with ours. All three come from one source package (llama-cpp-python, MIT, which carries llama.cpp,
# MIT), so that they are of one version. It compiles C++: 5 to 20 minutes, once; needs a C++ compiler, and pip brings
# cmake. Does nothing where it is there already. Uses pip, which looks wherever it is configured to look.
set -eu

cd "$(dirname "$0")/.."
llama="llama-cpp-python==0.3.36"
torch="torch==2.13.0+cpu"
environment=.venv-gguf
mark="$environment/installed.txt"

if [ "$(cat "$mark" 2>/dev/null)" = "$llama $torch" ]; then
    echo "$environment is there already: $llama $torch"
    exit 0
fi

started=$(date +%s)
rm -rf "$environment"
"${PYTHON:-python3}" -m venv "$environment"
pip="$environment/bin/python -m pip"
log="$environment/pip.log"
fail() {
    tail -n 20 "$log" >&2
    echo "$1; the whole log is $log" >&2
    exit 1
}

# Left to float, torch becomes a newer release with gigabytes of CUDA packages.
index=""
if ! $pip install --quiet --dry-run --no-deps "$torch" >"$log" 2>&1; then
    index="--extra-index-url https://download.pytorch.org/whl/cpu"
fi
echo "installing torch and transformers ..."
# shellcheck disable=SC2086
$pip install --quiet $index "$torch" "transformers>=5.0,<6" safetensors sentencepiece protobuf gguf >"$log" 2>&1 ||
    fail "torch and transformers could not be installed"

echo "compiling llama.cpp ..."
# Neither downloads nor pictures are needed.
CMAKE_ARGS="${CMAKE_ARGS:--DLLAMA_CURL=OFF -DMTMD_BUILD=OFF}" \
    $pip install --quiet "$llama" >"$log" 2>&1 || fail "llama.cpp could not be compiled"

# The converter and its writer, from the very source that was compiled.
$pip download --quiet --no-deps --no-binary=:all: --dest "$environment/source" "$llama" >"$log" 2>&1 ||
    fail "the source of $llama could not be fetched"
mkdir "$environment/unpacked"
tar -xzf "$environment"/source/*.tar.gz -C "$environment/unpacked" --strip-components=1
mkdir "$environment/llama.cpp"
for part in LICENSE conversion convert_hf_to_gguf.py gguf-py; do
    cp -r "$environment/unpacked/vendor/llama.cpp/$part" "$environment/llama.cpp/"
done
rm -rf "$environment/unpacked" "$environment/source"

echo "$llama $torch" >"$mark"
echo "$environment is ready after $(($(date +%s) - started)) s: $llama $torch"
