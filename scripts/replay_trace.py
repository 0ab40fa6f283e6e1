"""Replay a trace of ours in the real Gymnasium or dm_control and compare the rewards.

usage:  VENV/bin/python scripts/replay_trace.py TRACE.csv --env NAME      (VENV as in record_reference.py)

TRACE.csv is what `td-koopman eval --trace TRACE.csv` writes, one row per simulator step: episode, step, qpos_* and
qvel_*, extra_* (the start state, on step 0 of an episode only), obs_* (before the action), action_* (in the simulator's
units), reward, end (running, terminated or truncated). Prints, per episode, the largest difference between our
reward and theirs; exits with status 1 where one is above 1e-6 or an episode ends differently.
"""
import argparse
import csv
import itertools
import os
import pathlib
import sys
import tempfile

import numpy as np

from originals import CLASSIC, GYMNASIUM, SUITE, make

TOLERANCE = 1e-6


def short_name(name):
    """The short name of an environment, from that or the official one, in any case."""
    name = name.lower().replace("dmc:", "").replace("dmc/", "")
    officials = {official.lower(): short for short, official in {**GYMNASIUM, **SUITE, **CLASSIC}.items()}
    return officials.get(name, name)


def vector(row, prefix):
    """The entries of `row` called prefix_0, prefix_1, ..."""
    columns = itertools.takewhile(row.__contains__, ("%s_%d" % (prefix, i) for i in itertools.count()))
    return np.array([float(row[column]) for column in columns])


def replay(env, rows):
    """Returns the largest reward difference and what is wrong with the ends, if anything."""
    env.start(*(vector(rows[0], part) for part in ("qpos", "qvel", "extra")))
    largest, complaint = 0.0, ""
    for row in rows:
        _, reward, end = env.step(vector(row, "action"))
        largest = max(largest, abs(reward - float(row["reward"])))
        if end != row["end"] and not complaint:
            complaint = ", step %s is %s here and %s there" % (row["step"], row["end"], end)
    return largest, complaint


def main(trace, name):
    with open(trace, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"episode", "step", "qpos_0", "action_0", "reward", "end"} <= rows[0].keys():
        sys.exit("%s is not a trace: it needs rows with the columns that this script's help lists" % trace)
    env, failures = make(short_name(name)), 0
    for episode, group in itertools.groupby(rows, key=lambda row: row["episode"]):
        group = list(group)
        if group[0]["step"] != "0" or group[0]["qpos_0"] == "":
            sys.exit("episode %s of %s does not begin with step 0 and a start state" % (episode, trace))
        largest, complaint = replay(env, group)
        failures += largest > TOLERANCE or complaint != ""
        total = sum(float(row["reward"]) for row in group)
        print("episode %s: %d steps, return %.4f, largest reward difference %.3g%s"
              % (episode, len(group), total, largest, complaint))
    if failures:
        sys.exit("%d episodes differ from the original" % failures)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("--env", required=True, metavar="NAME")
    arguments = parser.parse_args()
    trace = arguments.trace.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # MuJoCo drops a MUJOCO_LOG.TXT in the working directory
        main(trace, arguments.env)
