"""CPU microseconds per simulator step, ours beside Gymnasium's, dm_control's and EnvPool's.

usage:  VENV/bin/pip install envpool==1.2.5
        VENV/bin/python scripts/env_speed.py [--seconds 0.3] [--rounds 3] [NAME...] > results/env-speed/README.md
        (VENV as in record_reference.py; without EnvPool its columns stay empty)

Per environment, in turn and `rounds` times: random actions for that many CPU seconds (quadruped-escape: 100 times as
many), resets included; medians.
Python's own part is everything in `env.step`, with the wrappers of `gymnasium.make` but for the checker. EnvPool has
one thread, and one environment or eight in a batch; as it steps in a thread of its own, the process's time counts.
"""
import argparse
import ctypes
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from originals import CLASSIC, GYMNASIUM, SUITE, make

try:
    import envpool
except ImportError:
    envpool = None
ROOT = pathlib.Path(__file__).resolve().parent.parent
STEP_TIME = ["cargo", "run", "--release", "--quiet", "--package", "td-koopman-envs", "--example", "step_time", "--"]
GROUPS = {"Gymnasium 1.4.0": GYMNASIUM, "dm_control 1.0.50": SUITE, "Gymnasium, without MuJoCo": CLASSIC,
          "ours": {name: "" for name in ("cart-pole", "linear", "coupled")}}
BATCHES = [1, 8]
LONGER = {"quadruped-escape": 100}  # every episode has another ground, and some cost twice as much as others
COLUMNS = ["ours", "Python", *("EnvPool, batch of %d" % batch for batch in BATCHES)]


def ours(name, seconds):
    output = subprocess.run([*STEP_TIME, name, str(seconds)], cwd=ROOT, check=True, capture_output=True, text=True)
    return float(output.stdout)


class Theirs:
    """Episodes of the original under random actions."""

    clock = staticmethod(time.thread_time)

    def __init__(self, name, original):
        self.env, self.dm = original.env, name in SUITE
        self.actions = random_actions(original, 1000).astype(np.float64 if self.dm else np.float32)
        self.env.reset()

    def run(self, steps):
        for i in range(steps):
            if self.dm:  # starts the next episode by itself
                self.env.step(self.actions[i % 1000])
                continue
            _, _, terminated, truncated, _ = self.env.step(self.actions[i % 1000])
            if terminated or truncated:
                self.env.reset()


class Pool:
    """The same in a batch of EnvPool, which starts the next episodes by itself."""

    clock = staticmethod(time.process_time)

    def __init__(self, name, original, batch):
        self.env = envpool.make_gymnasium(pool_id(name), num_envs=batch, batch_size=batch, num_threads=1, seed=0)
        self.actions = random_actions(original, 1000, batch).astype(self.env.action_space.dtype)
        self.env.reset()

    def run(self, steps):
        for i in range(steps // self.actions.shape[1]):
            self.env.step(self.actions[i])


def random_actions(original, *shape):
    return np.random.default_rng(0).uniform(original.low, original.high, (*shape, len(original.low)))


def pool_id(name):
    """EnvPool's name of a task: Gymnasium's own, and DogRun-v1 for dm_control's dog-run."""
    if name in SUITE:
        return "".join(word.capitalize() for word in re.split("[-_]", SUITE[name])) + "-v1"
    return {**GYMNASIUM, **CLASSIC}[name]


def pool_mujoco():
    """The version of the MuJoCo inside EnvPool."""
    library = pathlib.Path(envpool.__file__).parent / "mujoco" / "mujoco_dmc_envpool.so"
    version = ctypes.CDLL(str(library)).mj_versionString
    version.restype = ctypes.c_char_p
    return version().decode()


def in_pool(name):
    return envpool is not None and pool_id(name) in envpool.list_all_envs()


def timed(episodes, seconds):
    start, steps = episodes.clock(), 0
    while True:
        episodes.run(200)
        steps += 200
        if (taken := episodes.clock() - start) >= seconds:
            return taken / steps * 1e6


def measure(name, seconds, rounds):
    """Medians of ours, of the original's and of EnvPool's times; None where there is none."""
    seconds *= LONGER.get(name, 1)
    timers = [lambda: ours(name, seconds)]
    if name in {**GYMNASIUM, **SUITE, **CLASSIC}:
        original = make(name)
        pools = [Pool(name, original, batch) for batch in BATCHES] if in_pool(name) else []
        for episodes in [Theirs(name, original), *pools]:
            episodes.run(200)
            timers.append(lambda episodes=episodes: timed(episodes, seconds))
    medians = [statistics.median(times) for times in zip(*([timer() for timer in timers] for _ in range(rounds)))]
    return medians + [None] * (len(COLUMNS) - len(medians))


def row(name, times):
    mine, *others = times
    cells = ["%.1f" % mine if mine >= 1 else "%.3f" % mine]
    for other in others:
        cells += ["%.1f" % other, "%.1f" % (other / mine)] if other else ["–", "–"]
    return "| %s |" % " | ".join([name, *cells])


def main(seconds, rounds, chosen):
    processor = next(line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name"))
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if envpool is None:
        print("EnvPool is not installed, so its columns stay empty: pip install envpool==1.2.5", file=sys.stderr)
    print("# CPU time of a simulator step\n")
    print("`scripts/env_speed.py --seconds %g --rounds %d` at %s, %s: CPU µs per simulator step under random actions,"
          % (seconds, rounds, commit.stdout.strip(), processor))
    print("resets included, medians of rounds in turn; every ratio is that to our time. %s are run %s times as long."
          % (", ".join(LONGER), ", ".join(map(str, LONGER.values()))))
    if envpool is not None:
        print("EnvPool is %s, with its own MuJoCo %s, one thread; dog-run is its DogRun-v1, and so on."
              % (envpool.__version__, pool_mujoco()))
        print("Its time is that of the process: the way into its thread and back, which a batch shares, is in it.")
    print()
    for group, names in GROUPS.items():
        names = [name for name in names if not chosen or name in chosen]
        if not names:
            continue
        columns = COLUMNS[:1] if group == "ours" else COLUMNS
        header = "".join(" %s | ratio |" % column for column in columns[1:])
        print("| %s | ours |%s\n|---|---:|%s" % (group, header, "---:|---:|" * (len(columns) - 1)))
        for name in names:
            line = row(name, measure(name, seconds, rounds)[:len(columns)])
            print(line, flush=True)
            print(line, file=sys.stderr)
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
