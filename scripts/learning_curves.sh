#!/usr/bin/env bash
# Trains the runs behind the learning curves of the README and collects them under results/learning/.
#
# usage: scripts/learning_curves.sh [PARALLEL]
#
# Runs: preset small, one thread each, seeds 1 and 2, Koopman and MLP dynamics; cheetah-run to 60k environment steps and
# halfcheetah to 50k. PARALLEL (default 1) runs at a time. Run it again after an interruption: finished runs are not
# repeated and the others go on. On a 2 GHz core about 25 minutes a cheetah-run and 90 a halfcheetah.
set -euo pipefail
cd "$(dirname "$0")/.."
parallel=${1:-1}
cargo build --release
program=target/release/td-koopman

one() { # env steps dynamics seed
    "$program" --env "$1" --steps "$2" --dynamics "$3" --seed "$4" --set threads=1 --out "runs/learning/$1/$3/seed$4"
}

running=0
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

for env in cheetah-run halfcheetah; do
    for dynamics in koopman mlp; do
        for seed in 1 2; do
            to=results/learning/$env/$dynamics/seed$seed
            mkdir -p "$to"
            for file in eval.csv train.csv config.toml provenance.txt; do
                cp "runs/learning/$env/$dynamics/seed$seed/$file" "$to/"
            done
        done
    done
    runs=results/learning/$env
    "$program" plot --title "$env, preset small" --out "$runs/curves.svg" \
        "koopman=$runs/koopman/seed1,$runs/koopman/seed2" "mlp=$runs/mlp/seed1,$runs/mlp/seed2"
done
