"""Prints the table of a comparison with PyTorch as Markdown; scripts/bench_compare.sh calls it.

usage: python bench_table.py FOLDER COMMAND
"""

import json
import pathlib
import statistics
import sys


def main():
    folder, command = pathlib.Path(sys.argv[1]), sys.argv[2]
    reports = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    peers = [r for r in reports if r["program"].startswith("torch")]
    ours = [r for r in reports if r not in peers]
    rate = statistics.median(r["gflops"] for r in ours)
    print(
        f"`{command}`: {ours[0]['program']} and {peers[0]['program']}, {ours[0]['threads']} thread(s), process CPU ms, "
        f"medians of {len(ours)} rounds in turn; a 1024³ product runs at {rate:.0f} GFLOP/s.\n"
    )
    cells = {}
    for report in reports:
        for row in report["rows"]:
            cells.setdefault((row["what"], row["size"]), {}).setdefault(row["of"], []).append(row)
    cells = {cell: by for cell, by in cells.items() if any(of.startswith("torch") for of in by)}
    names = list(dict.fromkeys(of for by in cells.values() for of in by))
    rivals = [n for n in names if n.startswith("torch") and "koopman" not in n]
    subjects = [n for n in names if not n.startswith("torch")]
    others = [n for n in names if n.startswith("torch koopman")]

    def table(time, share):
        """Of a list of one row a round: its time, and the share of the floor."""
        print("| | " + " | ".join(rivals + others) + " | " + " | ".join(f"{s} | ratio | floor share" for s in subjects) + " |")
        print("|---|" + "---:|" * (len(rivals) + len(others) + 3 * len(subjects)))
        for (what, size), by in cells.items():
            best = min(time(by[r]) for r in rivals if r in by)
            line = [f"{what}, {size}", *(f"{time(by[of]):.1f}" if of in by else "" for of in rivals + others)]
            for of in subjects:
                line += [f"{time(by[of]):.1f}", f"{time(by[of]) / best:.2f}", f"{100 * share(by[of]):.0f} %"]
            print("| " + " | ".join(line) + " |")

    def median(key):
        return lambda rows: statistics.median(row[key] for row in rows)

    table(median("cpu_ms"), median("floor_share"))
    fastest = max(r["gflops"] for r in ours)
    print(f"\nThe same from the fastest repeat of all rounds, for a machine whose neighbours slow it down at times; a 1024³ product at {fastest:.0f} GFLOP/s.\n")
    smallest = lambda rows: min(row["cpu_ms_range"][0] for row in rows)
    table(smallest, lambda rows: rows[0]["gflop"] / fastest / smallest(rows) * 1e3)
    if len(rivals) > 1:
        print("\nRatio: to the best of " + ", ".join(rivals) + ".")


if __name__ == "__main__":
    main()
