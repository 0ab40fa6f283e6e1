"""CPU microseconds per simulator step, ours beside Gymnasium's and dm_control's.

usage:  VENV/bin/python scripts/env_speed.py [--seconds 0.3] [--rounds 3] [NAME...] > results/env-speed/README.md
        (VENV as in record_reference.py)

Per environment, in turn and `rounds` times: random actions for that many CPU seconds, resets included, one thread
each; medians. Python's own part is everything in `env.step`, with the wrappers of `gymnasium.make` but for the checker.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from originals import CLASSIC, GYMNASIUM, SUITE, make

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEP_TIME = ["cargo", "run", "--release", "--quiet", "--package", "td-koopman-envs", "--example", "step_time", "--"]
GROUPS = {"Gymnasium 1.4.0": GYMNASIUM, "dm_control 1.0.50": SUITE, "Gymnasium, without MuJoCo": CLASSIC,
          "ours": {name: "" for name in ("cart-pole", "linear", "coupled")}}


def ours(name, seconds):
    output = subprocess.run([*STEP_TIME, name, str(seconds)], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(output.stdout)


class Theirs:
    """Episodes of the original under random actions."""

    def __init__(self, name):
        original = make(name)
        self.env, self.dm = original.env, name in SUITE
        draws = np.random.default_rng(0).uniform(original.low, original.high, (1000, len(original.low)))
        self.actions = draws.astype(np.float64 if self.dm else np.float32)
        self.env.reset()
        self.run(200)

    def run(self, steps):
        for i in range(steps):
            if self.dm:  # starts the next episode by itself
                self.env.step(self.actions[i % 1000])
                continue
            _, _, terminated, truncated, _ = self.env.step(self.actions[i % 1000])
            if terminated or truncated:
                self.env.reset()

    def time(self, seconds):
        start, steps = time.thread_time(), 0
        while True:
            self.run(200)
            steps += 200
            if (taken := time.thread_time() - start) >= seconds:
                return taken / steps * 1e6


def main(seconds, rounds, chosen):
    processor = next(line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    print("# CPU time of a simulator step\n")
    print("`scripts/env_speed.py --seconds %g --rounds %d` at %s, %s: CPU µs per simulator step under random actions,"
          % (seconds, rounds, commit.stdout.strip(), processor))
    print("resets included, one thread, medians of rounds in turn.\n")
    for group, names in GROUPS.items():
        names = [name for name in names if not chosen or name in chosen]
        if not names:
            continue
        python = group != "ours"
        print("| %s | ours |%s\n|---|---:|%s" % (group, " Python | ratio |" if python else "", "---:|---:|" * python))
        for name in names:
            original, samples = Theirs(name) if python else None, ([], [])
            for _ in range(rounds):
                samples[0].append(ours(name, seconds))
                if python:
                    samples[1].append(original.time(seconds))
            mine = statistics.median(samples[0])
            row = "| %s | %.1f |" % (name, mine) if mine >= 1 else "| %s | %.3f |" % (name, mine)
            if python:
                row += " %.1f | %.1f |" % (statistics.median(samples[1]), statistics.median(samples[1]) / mine)
            print(row, flush=True)
            print(row, file=sys.stderr)
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # MuJoCo drops a MUJOCO_LOG.TXT in the working directory
        main(arguments.seconds, arguments.rounds, arguments.names)
