#!/usr/bin/env bash
# Trains the runs behind the learning curves of the README and collects them under results/.
#
# usage: scripts/learning_curves.sh [small|light] [PARALLEL]    train what is missing, PARALLEL (default 1) runs at a time;
#                                                              then collect
#        scripts/learning_curves.sh [small|light] collect       collect the runs that are finished
#
# One thread each, seeds 1 and 2, Koopman and MLP dynamics; cheetah-run to 60k environment steps and halfcheetah to 50k.
# Preset small (the default) goes to results/learning/, light to results/light/. After an interruption run it again: finished
# runs are not repeated, the others go on. On a 2 GHz core a cheetah-run takes about 25 minutes and a halfcheetah 90 at the small
# preset, 6 and 16 at the light one.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release
program=target/release/td-koopman
preset=small
case ${1:-} in small | light) preset=$1 && shift ;; esac
name=${preset/small/learning}

one() { # env steps dynamics seed
    "$program" --env "$1" --preset "$preset" --steps "$2" --dynamics "$3" --seed "$4" --set threads=1 \
        --out "runs/$name/$1/$3/seed$4"
}

train() { # parallel runs
    local parallel=$1 running=0
    for seed in 1 2; do
        for env_steps in halfcheetah:50000 cheetah-run:60000; do
            for dynamics in koopman mlp; do
                if ((running >= parallel)); then
                    wait -n
                    running=$((running - 1))
                fi
                one "${env_steps%:*}" "${env_steps#*:}" "$dynamics" "$seed" 2>> runs-learning.log &
                running=$((running + 1))
            done
        done
    done
    while ((running > 0)); do
        wait -n
        running=$((running - 1))
    done
}

collect() {
    for env in cheetah-run halfcheetah; do
        local curves=()
        for dynamics in koopman mlp; do
            local seeds=()
            for seed in 1 2; do
                local from=runs/$name/$env/$dynamics/seed$seed to=results/$name/$env/$dynamics/seed$seed
                [ -f "$from/curve.svg" ] || continue # written when a run is finished
                mkdir -p "$to"
                cp "$from"/{eval.csv,train.csv,config.toml,provenance.txt} "$to/"
                seeds+=("$to")
            done
            if ((${#seeds[@]})); then
                curves+=("$dynamics=$(IFS=,; echo "${seeds[*]}")")
            fi
        done
        if ((${#curves[@]})); then
            "$program" plot --title "$env, preset $preset" --out "results/$name/$env/curves.svg" "${curves[@]}"
        fi
    done
    python3 scripts/learning_table.py "results/$name" > "results/$name/table.md"
}

if [ "${1:-}" != collect ]; then
    train "${1:-1}"
fi
collect
