"""Record what the real Gymnasium and dm_control do, for the tests of envs/.

usage:  python -m venv VENV
        VENV/bin/pip install mujoco==3.17.0 "gymnasium[mujoco]==1.4.0" dm_control==1.0.50
        VENV/bin/python scripts/record_reference.py

Writes envs/tests/reference/. NAME.bin holds segments of 20 steps, 1000 steps in all: every other one starts from
a random reset, the rest from where the one before ended. They are short because contacts are chaotic: the last bit
of a sine, which differs between C libraries and processors, grows to 1e-9 within some 25 steps of a flailing
HalfCheetah. NAME.episode.bin is one segment of 1000 steps, a whole episode, for machines where nothing differs. The
actions are drawn from a generator (`actions`) that the tests have too. NAME.LABEL.bin is one segment from a state chosen so that something happens there: a reward that random actions hardly reach, a
termination. Everything is a little-endian f64:

    nq, nv, observation size, segments, steps per segment, steps to the library's time limit
    per segment:
        qpos, qvel      the start state
        reward          of every step
        observation     at the start, after the first and after the last step
        1 or 0          for every step: terminated or not; the segment goes on regardless

tolerance.bin is a table of dm_control's `rewards.tolerance`: x, low, high, margin, sigmoid, value at margin, value.
"""
import functools
import itertools
import os
import pathlib
import tempfile
import warnings

import numpy as np

REFERENCE = pathlib.Path(__file__).resolve().parent.parent / "envs" / "tests" / "reference"

GYMNASIUM = {
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
    "inverted-pendulum": "InvertedPendulum-v5",
}
SUITE = ["cheetah-run", "cartpole-swingup", "acrobot-swingup", "walker-stand", "walker-walk", "walker-run",
         "quadruped-walk", "quadruped-run"]
PENDULUM = {"pendulum": "Pendulum-v1"}

SEGMENTS = 50
STEPS = 20

RUNNING, TERMINATED, TRUNCATED = "running", "terminated", "truncated"


class Gymnasium:
    """A Gymnasium MuJoCo task that can be put into a state."""

    def __init__(self, official):
        import gymnasium
        self.env = gymnasium.make(official, disable_env_checker=True)
        space = self.env.action_space
        self.low, self.high = space.low.astype(float), space.high.astype(float)
        self.limit = self.env.spec.max_episode_steps

    def random_state(self, seed):
        self.env.reset(seed=seed)
        return self.state()

    def state(self):
        data = self.env.unwrapped.data
        return data.qpos.copy(), data.qvel.copy()

    def default_state(self):
        return self.env.unwrapped.init_qpos.copy(), self.env.unwrapped.init_qvel.copy()

    def start(self, qpos, qvel):
        import mujoco
        self.env.reset()
        task = self.env.unwrapped
        mujoco.mj_resetData(task.model, task.data)
        task.set_state(qpos, qvel)
        return task._get_obs()

    def step(self, action):
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, float(reward), TERMINATED if terminated else TRUNCATED if truncated else RUNNING


class Suite:
    """A dm_control suite task that can be put into a state."""

    def __init__(self, name):
        from dm_control import suite
        self.env = suite.load(*name.split("-"))
        spec = self.env.action_spec()
        self.low, self.high = spec.minimum, spec.maximum
        self.limit = int(self.env._step_limit)

    def random_state(self, seed):
        self.env.task.random.seed(seed)
        self.env.reset()
        return self.state()

    def default_state(self):
        self.env.reset()
        self.env.physics.reset()
        return self.state()

    def state(self):
        data = self.env.physics.data
        return data.qpos.copy(), data.qvel.copy()

    def start(self, qpos, qvel):
        self.env.reset()
        physics = self.env.physics
        with physics.reset_context():
            physics.data.qpos[:], physics.data.qvel[:] = qpos, qvel
        return self.flat(self.env.task.get_observation(physics))

    def step(self, action):
        step = self.env.step(action)
        end = RUNNING if not step.last() else TRUNCATED if step.discount == 1.0 else TERMINATED
        return self.flat(step.observation), float(step.reward), end

    @staticmethod
    def flat(observation):
        return np.concatenate([np.atleast_1d(entry).ravel() for entry in observation.values()])


class Pendulum:
    """Pendulum-v1. Its observation is recomputed, because Gymnasium rounds it to single precision."""

    def __init__(self, official):
        import gymnasium
        self.env = gymnasium.make(official, disable_env_checker=True)
        self.low, self.high = np.array([-2.0]), np.array([2.0])
        self.limit = self.env.spec.max_episode_steps

    def random_state(self, seed):
        self.env.reset(seed=seed)
        return self.state()

    def state(self):
        angle, velocity = self.env.unwrapped.state
        return np.array([angle]), np.array([velocity])

    def start(self, qpos, qvel):
        self.env.reset()
        self.env.unwrapped.state = np.array([qpos[0], qvel[0]])
        return self.observation()

    def step(self, action):
        _, reward, _, truncated, _ = self.env.step(action)
        return self.observation(), float(reward), TRUNCATED if truncated else RUNNING

    def observation(self):
        angle, velocity = self.env.unwrapped.state
        return np.array([np.cos(angle), np.sin(angle), velocity])


def make(name):
    """The real environment behind a short name of envs/."""
    warnings.filterwarnings("ignore")
    if name in GYMNASIUM:
        return Gymnasium(GYMNASIUM[name])
    if name in PENDULUM:
        return Pendulum(PENDULUM[name])
    if name in SUITE:
        return Suite(name)
    raise SystemExit("there is no Python original of `%s`; those known here are %s"
                     % (name, ", ".join([*GYMNASIUM, *SUITE, *PENDULUM])))


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
        qpos, qvel = start()
        observations, rewards, ends = [env.start(qpos, qvel)], [], []
        for step in range(1, steps + 1):
            observation, reward, end = env.step(next(action))
            rewards.append(reward)
            ends.append(end == TERMINATED)
            if step in (1, steps):
                observations.append(observation)
        segments.append(np.concatenate([qpos, qvel, rewards, *observations, ends]))
        terminations += sum(ends)
    header = [len(qpos), len(qvel), len(observation), len(segments), steps, env.limit]
    np.concatenate([header, *segments]).astype("<f8").tofile(REFERENCE / (file + ".bin"))
    print("%-28s last rewards %9.4f to %9.4f, %d steps with a termination"
          % (file, min(rewards), max(rewards), terminations))


def chosen_states(name, env):
    """Yields (label, qpos, qvel): the model's default state with some entries changed."""
    def changed(label, qpos=(), qvel=()):
        q, v = env.default_state()
        for index, value in qpos:
            q[index] = value
        for index, value in qvel:
            v[index] = value
        return label, q, v

    if name == "hopper":  # positions x, z, torso angle, three joints
        yield changed("falling", qpos=[(2, 0.19)], qvel=[(2, 0.5)])
        yield changed("too-low", qpos=[(1, 0.65)])
        yield changed("too-fast", qvel=[(5, 3000.0)])
    elif name == "walker2d":  # positions x, z, torso angle, six joints
        yield changed("falling", qpos=[(2, 0.95)], qvel=[(2, 4.0)])
        yield changed("too-low", qpos=[(1, 0.75)])
        yield changed("too-high", qpos=[(1, 2.3)])
    elif name == "inverted-pendulum":  # positions of the cart, of the pole
        yield changed("tipping", qpos=[(1, 0.19)], qvel=[(1, 0.1)])
        yield changed("tipped", qpos=[(1, -0.3)])
    elif name == "cheetah-run":  # position x first
        yield changed("running", qvel=[(0, 12.0)])
    elif name == "cartpole-swingup":  # positions of the cart, of the pole; 0 is upright
        yield changed("upright", qpos=[(0, 0.05)])
    elif name == "acrobot-swingup":  # 0 is upright
        yield changed("at-target")
    elif name == "walker-stand":  # positions z, x, torso angle, six joints; 0 is standing
        yield changed("standing")
    elif name.startswith("walker-"):
        yield changed("moving", qvel=[(1, {"walker-run": 9.0}.get(name, 1.5))])
    elif name.startswith("quadruped-"):  # a free body, then the legs
        yield changed("moving", qvel=[(0, {"quadruped-run": 6.0}.get(name, 1.0))])


def record_tolerance():
    from dm_control.utils import rewards
    rows = []
    sigmoids = [("gaussian", 0.1), ("gaussian", 0.3), ("linear", 0.0), ("linear", 0.5), ("quadratic", 0.0),
                ("quadratic", 0.4)]
    bounds = [(0.0, 0.0), (-1.0, 2.0), (1.5, np.inf)]
    for x, (low, high), margin, (name, value) in itertools.product(
            [-7.0, -1.5, -0.2, 0.0, 1.5, 2.3, 11.0], bounds, [0.0, 0.5, 3.0], sigmoids):
        kind = ["gaussian", "linear", "quadratic"].index(name)
        result = rewards.tolerance(x, (low, high), margin, name, value)
        rows.append([x, low, high, margin, kind, value, result])
    np.array(rows, "<f8").tofile(REFERENCE / "tolerance.bin")


def main():
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name in [*GYMNASIUM, *SUITE, *PENDULUM]:
        env = make(name)
        random = [functools.partial(env.random_state, seed) for seed in range(SEGMENTS // 2)]
        record(name, env, [start for fresh in random for start in (fresh, env.state)])
        if name not in PENDULUM:
            record(name + ".episode", env, [random[0]], steps=env.limit)
        for label, *state in chosen_states(name, env):
            record("%s.%s" % (name, label), env, [lambda: state])
    record_tolerance()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # MuJoCo drops a MUJOCO_LOG.TXT in the working directory
        main()
