#!/usr/bin/env bash
# Checks the CUDA path on a machine with a GPU, where nothing is built.
#
# usage: scripts/gpu_check.sh bundle FOLDER    here: builds with --features cuda and puts all the check needs into FOLDER
#        FOLDER/gpu_check.sh [REPORT]          there: device tests, timings beside PyTorch and a short training run, into one
#                                              report (default gpu_check.txt); the exit code is the number of failed parts
# needs there: libcuda, NVRTC 13 and the CUDA headers ($CUDA_PATH or /usr/local/cuda; those of a Python package
#        nvidia-cuda-nvrtc 13 are found too), and for the comparison a python3 with PyTorch. DEVICE=flex tries the script
#        itself on a CPU. PARTS chooses among tests, plans, updates, torch, training and all; TORCH_SECONDS bounds PyTorch's part.
set -euo pipefail

bundle() { # folder
    local to=$1 tests cache=${TD_KOOPMAN_MUJOCO_DIR:-$HOME/.cache/td-koopman/mujoco-3.17.0}
    cd "$(dirname "$0")/.."
    cargo build --release --features "${FEATURES-cuda}"
    tests=$(cargo test --release --features "${FEATURES-cuda}" --test devices --no-run --message-format short 2>&1 |
        sed -n 's/.*(\(.*devices-[0-9a-f]*\))$/\1/p')
    mkdir -p "$to"
    cp target/release/td-koopman scripts/gpu_check.sh scripts/bench_torch.py "$to/"
    cp "$tests" "$to/devices"
    strip "$to/td-koopman" "$to/devices"
    cp -r "$cache/dm_control" "$cache/gymnasium" "$cache"/lib/*.so* "$to/"
    du -sh "$to"
}

if [ "${1:-}" = bundle ]; then
    bundle "${2:?usage: scripts/gpu_check.sh bundle FOLDER}"
    exit
fi

cd "$(dirname "$0")"
report=${1:-gpu_check.txt} device=${DEVICE:-cuda} failed=0 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ ! -e "${CUDA_PATH:-/usr/local/cuda}/include/cuda.h" ]; then
    wheel=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0] + "/cu13")' 2> /dev/null || true)
    if [ -d "$wheel/include" ]; then
        export CUDA_PATH=$wheel LD_LIBRARY_PATH=$wheel/lib:${LD_LIBRARY_PATH:-}
    fi
fi

part() { # title, command...
    local title=$1
    shift
    printf '\n## %s\n$ %s\n' "$title" "$*"
    if "$@" 2>&1; then echo "ok: $title"; else
        echo "FAILED ($?): $title"
        failed=$((failed + 1))
    fi
}

wanted() { # part
    [[ " ${PARTS:-all} " == *" $1 "* || " ${PARTS:-all} " == *" all "* ]]
}

bench() { # title, flags...
    local title=$1
    shift
    part "$title" ./td-koopman bench --device "$device" --preset paper --repeats "${REPEATS:-50}" "$@"
}

checks() {
    date -u +%FT%TZ
    ./td-koopman --version
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
    if wanted tests; then
        part "operations, plans and updates agree with the CPU" ./devices --nocapture cuda_operations cuda_plans cuda_updates
    fi
    if wanted plans; then
        bench "plans at TD-MPC v1's sizes, TF32" --rows plans --samples 512,8192 --horizons 5,20,50
        bench "the same in bfloat16" --rows plans --samples 512,8192 --horizons 5,20,50 --set planner.precision=bf16
        bench "many environments" --rows plans --samples 512 --horizons 5 --environments 1,16,64
        part "the default preset" ./td-koopman bench --device "$device" --rows plans --horizons 5,20 --samples 128,512,8192,65536
    fi
    if wanted updates; then
        bench "updates at TD-MPC v1's sizes, TF32" --rows updates --horizons 5,20
        bench "the same with plain tensors" --rows updates --horizons 5 --set learner.kernels=none
        part "the default preset" ./td-koopman bench --device "$device" --rows updates --horizons 5,20
    fi
    if wanted torch; then
        part "TD-MPC v1 in PyTorch" python3 bench_torch.py --device cuda --preset paper --horizons 5,20 --samples 512,8192 \
            --seconds-limit "${TORCH_SECONDS:-150}"
    fi
    if wanted training; then
        part "training, 3000 environment steps" ./td-koopman --env cheetah-run --device "$device" --steps 3000 \
            --set train.seed_decisions=500 --set evaluation.every=3000 --set evaluation.episodes=1 --out "$work/run"
        part "what it learned" cat "$work/run/eval.csv" "$work/run/train.csv"
        part "all devices agree" ./devices --nocapture cuda_agrees
    fi
    printf '\n%s part(s) failed\n' "$failed"
    exit "$failed"
}

checks 2>&1 | tee "$report"
exit "${PIPESTATUS[0]}"
