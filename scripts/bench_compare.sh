#!/usr/bin/env bash
# Times td-koopman and TD-MPC v1 in PyTorch at the same sizes, in turn, and prints the ratios.
#
# usage: scripts/bench_compare.sh [small|paper] [ROUNDS]       default: small, 5 rounds
# needs: PyTorch for $PYTHON (default python3); see scripts/bench_torch.py for a fair peer on AMD processors
#
# One thread each, process CPU time. Everything measured goes to results/speed/<preset>/, the table to its table.md.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=${1:-small} rounds=${2:-5} python=${PYTHON:-python3}
folder=results/speed/$preset
cargo build --release
rm -rf "$folder"
mkdir -p "$folder"
for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    target/release/td-koopman bench --preset "$preset" --horizons 5,20 --set threads=1 --json "$folder/$round.json" > /dev/null
    "$python" scripts/bench_torch.py --preset "$preset" --horizons 5,20 --json "$folder/$round.torch.json" > /dev/null
done
"$python" - "$folder" "scripts/bench_compare.sh $preset $rounds" << 'END' | tee "$folder/table.md"
import json, pathlib, statistics, sys
folder, command = pathlib.Path(sys.argv[1]), sys.argv[2]
reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
peers = [r for r in reports if r["program"].startswith("torch")]
ours = [r for r in reports if r not in peers]
rate = statistics.median(r["gflops"] for r in ours)
print(f"`{command}`: {ours[0]['program']} and {peers[0]['program']}, one thread, medians of {len(ours)} rounds of "
      f"process CPU ms; a 1024³ product runs at {rate:.0f} GFLOP/s.\n")
cells = {}
for report in reports:
    for row in report["rows"]:
        cells.setdefault((row["what"], row["size"]), {}).setdefault(row["of"], []).append(row)
print("| what | PyTorch MLP | MLP | ratio | floor share | Koopman | ratio | floor share |\n|---|---:|---:|---:|---:|---:|---:|---:|")
for (what, size), by in cells.items():
    if "torch mlp" not in by:
        continue  # PyTorch's update at another horizon has no counterpart, and environments no peer
    median = lambda of, key="cpu_ms": statistics.median(row[key] for row in by[of])
    line = f"| {what}, {size} | {median('torch mlp'):.1f}"
    for of in ("mlp", "koopman"):
        if of in by:
            line += f" | {median(of):.1f} | {median(of) / median('torch mlp'):.2f} | {100 * median(of, 'floor_share'):.0f} %"
        else:
            line += " | – | – | –"
    print(line + " |")
END
