#!/usr/bin/env python3
"""Prints the returns of the runs under a folder as a Markdown table, the seeds beside each other.

usage: python3 scripts/learning_table.py results/learning > results/learning/table.md
"""

import csv
import sys
from pathlib import Path

STEPS = range(10_000, 60_001, 10_000)
NAMES = {"koopman": "Koopman", "mlp": "MLP"}


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def numbers(run):
    """Returns at STEPS, the best return, and CPU seconds per 1000 decisions."""
    evaluations = rows(run / "eval.csv")
    returns = {int(row["env_step"]): float(row["return_mean"]) for row in evaluations}
    cost = 1000 * float(evaluations[-1]["cpu_seconds"]) / int(rows(run / "train.csv")[-1]["decision"])
    return [returns.get(step) for step in STEPS] + [max(returns.values()), cost]


def main():
    header = [f"{step // 1000}k" for step in STEPS] + ["best", "CPU s per 1000 decisions"]
    print("| return after env steps | seeds | " + " | ".join(header) + " |")
    print("|---|---|" + "---:|" * len(header))
    for env in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
        for dynamics in sorted(path for path in env.iterdir() if path.is_dir()):
            seeds = sorted(dynamics.iterdir())
            columns = zip(*map(numbers, seeds))
            cells = [" / ".join(f"{x:.0f}" for x in column if x is not None) for column in columns]
            labels = ", ".join(seed.name.removeprefix("seed") for seed in seeds)
            print(f"| {env.name}, {NAMES[dynamics.name]} | {labels} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
