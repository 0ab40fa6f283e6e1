"""Record what the real Gymnasium and dm_control do, for the tests of envs/.

usage:  python -m venv VENV
        VENV/bin/pip install mujoco==3.17.0 "gymnasium[mujoco]==1.4.0" dm_control==1.0.50
        VENV/bin/python scripts/record_reference.py [NAME...]        (all environments, if none is named)

Writes envs/tests/reference/. NAME.bin holds segments of 20 steps, up to 1000 steps in all, fewer where observations
are long: every other one starts from a random reset, the rest from where the one before ended. They are short because
contacts are chaotic: the last bit of a sine, which differs between C libraries and processors, grows to 1e-9 within
some 25 steps of a flailing HalfCheetah. NAME.episode.bin is one segment of a whole episode, for machines where
nothing differs. The actions are drawn from a generator (`actions`) that the tests have too. NAME.LABEL.bin is one
segment from a state chosen so that something happens there: a reward that random actions hardly reach, a termination.
NAME.options.bin was recorded with the options in `OPTIONS`. NAME.starts.bin holds the means and then the standard
deviations of qpos, qvel and the rest of the state over 300 resets. Everything is a little-endian f64:

    nq, nv, observation size, segments, steps per segment, steps to the library's time limit
    per segment:
        qpos, qvel      the start state, then the rest of it (`extra` in originals.py), where the task has one
        reward          of every step
        observation     at the start, after the first and after the last step
        1 or 0          for every step: terminated or not; the segment goes on regardless

tolerance.bin is a table of dm_control's `rewards.tolerance`: x, low, high, margin, sigmoid, value at margin, value.
"""
import functools
import itertools
import os
import pathlib
import sys
import tempfile

import numpy as np

from originals import CLASSIC, GYMNASIUM, SUITE, TERMINATED, make
from chosen_states import OPTIONS, chosen_states

REFERENCE = pathlib.Path(__file__).resolve().parent.parent / "envs" / "tests" / "reference"

STEPS = 20
RESETS = 300


def segments_of(numbers):
    """How many segments of that many numbers are recorded, so that the files stay small."""
    return 50 if numbers <= 200 else 20 if numbers <= 400 else 6


def actions(low, high):
    """Uniform actions from splitmix64, seed 0; `tests/parity.rs` draws the same."""
    mask, state = (1 << 64) - 1, 0
    while True:
        action = np.empty(len(low))
        for i in range(len(low)):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            z ^= z >> 31
            action[i] = low[i] + (high[i] - low[i]) * ((z >> 11) * 2.0**-53)
        yield action


def record(file, env, starts, steps=STEPS):
    """Records one segment from each of `starts`, functions that return a state."""
    action, segments, terminations = actions(env.low, env.high), [], 0
    for start in starts:
        qpos, qvel, extra = start()
        observations, rewards, ends = [env.start(qpos, qvel, extra)], [], []
        for step in range(1, steps + 1):
            observation, reward, end = env.step(next(action))
            rewards.append(reward)
            ends.append(end == TERMINATED)
            if step in (1, steps):
                observations.append(observation)
        segments.append(np.concatenate([qpos, qvel, extra, rewards, *observations, ends]))
        terminations += sum(ends)
    header = [len(qpos), len(qvel), len(observation), len(segments), steps, env.limit]
    np.concatenate([header, *segments]).astype("<f8").tofile(REFERENCE / (file + ".bin"))
    print("%-34s last rewards %9.4f to %9.4f, %d steps with a termination"
          % (file, min(rewards), max(rewards), terminations))


def record_segments(file, env, count=None):
    if count is None:
        state = env.random_state(0)
        count = segments_of(sum(map(len, state)) + 2 * STEPS + 3 * len(env.start(*state)))
    random = [functools.partial(env.random_state, seed) for seed in range(count // 2)]
    record(file, env, [start for fresh in random for start in (fresh, env.state)])


def record_starts(file, env):
    starts = np.array([np.concatenate(env.random_state(1000 + seed)) for seed in range(RESETS)])
    np.concatenate([starts.mean(0), starts.std(0)]).astype("<f8").tofile(REFERENCE / (file + ".bin"))


def record_environment(name):
    env = make(name)
    record_starts(name + ".starts", env)
    record_segments(name, env)
    if name not in CLASSIC:
        record(name + ".episode", env, [functools.partial(env.random_state, 0)], steps=env.limit)
    for label, *state in chosen_states(name, env):
        record("%s.%s" % (name, label), env, [lambda: state])
    if name in OPTIONS:
        record_segments(name + ".options", make(name, **OPTIONS[name]), 6)


def record_tolerance():
    from dm_control.utils import rewards
    rows = []
    sigmoids = [("gaussian", 0.1), ("gaussian", 0.3), ("linear", 0.0), ("linear", 0.5), ("quadratic", 0.0),
                ("quadratic", 0.4), ("long_tail", 0.1), ("reciprocal", 0.1), ("reciprocal", 0.4)]
    bounds = [(0.0, 0.0), (-1.0, 2.0), (1.5, np.inf)]
    for x, (low, high), margin, (name, value) in itertools.product(
            [-7.0, -1.5, -0.2, 0.0, 1.5, 2.3, 11.0], bounds, [0.0, 0.5, 3.0], sigmoids):
        kind = ["gaussian", "linear", "quadratic", "long_tail", "reciprocal"].index(name)
        result = rewards.tolerance(x, (low, high), margin, name, value)
        rows.append([x, low, high, margin, kind, value, result])
    np.array(rows, "<f8").tofile(REFERENCE / "tolerance.bin")


def main(names):
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in names or [*GYMNASIUM, *SUITE, *CLASSIC]:
        record_environment(name)
    if not names:
        record_tolerance()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # MuJoCo drops a MUJOCO_LOG.TXT in the working directory
        main(sys.argv[1:])
