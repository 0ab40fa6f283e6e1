#!/usr/bin/env bash
# Times td-koopman and PyTorch at the same sizes, in turn, and prints the ratios.
#
# usage: scripts/bench_compare.sh [small|light|paper|small-bf16|paper-bf16|training] [ROUNDS]     default: small, 5 rounds
#        small, light, paper: plans and updates of TD-MPC v1 at the sizes of that preset; beside small, ours at light too
#        small-bf16, paper-bf16: ours with bfloat16 products; PyTorch with f32 and with bfloat16
#        training: the paper's training-speed protocol
# needs: PyTorch for $PYTHON (default python3); see scripts/bench_torch.py for a fair peer on AMD processors
#
# One thread each, process CPU time. Everything measured goes to results/speed/<what>/, on a processor with AVX2 alone to
# results/speed/<what>-avx2/, the table to its table.md.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-small} rounds=${2:-5} python=${PYTHON:-python3}
case $what in
    small | small-bf16)
        ours=(--preset small,light --horizons 5,20)
        peer=(scripts/bench_torch.py --preset small --horizons 5,20) ;;
    light)
        ours=(--preset light --horizons 5,20 --set planner.policy_fraction=0.05) # as the peer
        peer=(scripts/bench_torch.py --preset light --horizons 5,20) ;;
    paper | paper-bf16)
        ours=(--preset paper --horizons 5,20 --repeats 5)
        peer=(scripts/bench_torch.py --preset paper --horizons 5,20 --repeats 5) ;;
    training)
        ours=(--preset small --training-lengths 10,20,50,100 --repeats 5)
        peer=(scripts/bench_torch_training.py --lengths 10,20,50,100 --repeats 5) ;;
    *)
        echo "unknown comparison '$what': use small, light, paper, small-bf16, paper-bf16 or training" >&2
        exit 2 ;;
esac
if [[ $what == *-bf16 ]]; then
    ours+=(--set planner.precision=bf16 --set learner.precision=bf16) peer+=(--bf16)
fi
folder=results/speed/$what
if grep -qw avx2 /proc/cpuinfo && ! grep -qw avx512f /proc/cpuinfo; then
    folder+=-avx2
fi
cargo build --release
rm -rf "$folder"
mkdir -p "$folder"
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    target/release/td-koopman bench "${ours[@]}" --set threads=1 --json "$folder/$round.json" > /dev/null
    "$python" "${peer[@]}" --json "$folder/$round.torch.json" > /dev/null
done
"$python" scripts/bench_table.py "$folder" "scripts/bench_compare.sh $what $rounds" | tee "$folder/table.md"
