#!/usr/bin/env bash
# Has CUDA's own compiler take the kernels, without a GPU: the texts that tests run on a CPU, with every form of plans that they try, are
# compiled and assembled by NVRTC for Ampere and Hopper as well; among them plans of TD-MPC's published sizes, cut as an H200 would.
#
# usage: scripts/kernel_compile.sh [TEST...]
# needs: pip, which fetches NVRTC once (90 MB in ~/.cache/td-koopman), unless NVRTC names a library. All tests take half an hour on one core.
#        The exit code is 1 if a text was refused or a test failed.
set -euo pipefail
cd "$(dirname "$0")/.."

version=13.0.88
if [ -z "${NVRTC:-}" ]; then
    folder=${XDG_CACHE_HOME:-$HOME/.cache}/td-koopman/nvrtc-$version
    if [ ! -d "$folder" ]; then
        python3 -m pip install -q --no-deps --target "$folder.partial" "nvidia-cuda-nvrtc==$version"
        mv "$folder.partial" "$folder"
    fi
    NVRTC=$folder/nvidia/cu13/lib/libnvrtc.so.13
fi

cargo test --release -p td-koopman-agents --lib --no-run
binary=$(cargo test --release -p td-koopman-agents --lib --no-run --message-format short 2>&1 |
    sed -n 's/.*(\(.*td_koopman_agents-[0-9a-f]*\))$/\1/p')
[ $# -gt 0 ] || set -- inference::cuda::tests learner::fused::tests ops::cuda::tests
export NVRTC RUST_TEST_THREADS=1 RAYON_NUM_THREADS=1
# where it looks for the rest of itself
LD_LIBRARY_PATH=$(dirname "$NVRTC") "$binary" "$@" --include-ignored --nocapture
