"""The real environments behind the names of envs/, each of which can be put into a chosen state.

Needs what `record_reference.py` says. A state is (qpos, qvel, extra), where `extra` is what a start draws besides:
the place of a target, actuator activations, the shape of the ground; for most tasks nothing.
"""
import warnings

import numpy as np

GYMNASIUM = {
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
    "ant": "Ant-v5",
    "humanoid": "Humanoid-v5",
    "humanoid-standup": "HumanoidStandup-v5",
    "swimmer": "Swimmer-v5",
    "reacher": "Reacher-v5",
    "pusher": "Pusher-v5",
    "inverted-pendulum": "InvertedPendulum-v5",
    "inverted-double-pendulum": "InvertedDoublePendulum-v5",
}
SUITE = {official.replace("_", "-"): official for official in [
    "acrobot-swingup", "acrobot-swingup_sparse", "ball_in_cup-catch", "cartpole-balance", "cartpole-balance_sparse",
    "cartpole-swingup", "cartpole-swingup_sparse", "cartpole-two_poles", "cartpole-three_poles", "cheetah-run",
    "dog-stand", "dog-walk", "dog-trot", "dog-run", "dog-fetch", "finger-spin", "finger-turn_easy",
    "finger-turn_hard", "fish-upright", "fish-swim", "hopper-stand", "hopper-hop", "humanoid-stand", "humanoid-walk",
    "humanoid-run", "humanoid-run_pure_state", "manipulator-bring_ball", "manipulator-bring_peg", "manipulator-insert_ball",
    "manipulator-insert_peg", "pendulum-swingup", "point_mass-easy", "point_mass-hard", "quadruped-walk",
    "quadruped-run", "quadruped-escape", "quadruped-fetch", "reacher-easy", "reacher-hard", "stacker-stack_2",
    "stacker-stack_4", "swimmer-swimmer6", "swimmer-swimmer15",
    "walker-stand", "walker-walk", "walker-run"]}
CLASSIC = {"pendulum": "Pendulum-v1", "mountain-car": "MountainCarContinuous-v0"}

RUNNING, TERMINATED, TRUNCATED = "running", "terminated", "truncated"
NOTHING = np.zeros(0)


class Gymnasium:
    """A Gymnasium MuJoCo task."""

    def __init__(self, official, **options):
        import gymnasium
        self.env = gymnasium.make(official, disable_env_checker=True, **options)
        # the action space has the same numbers, rounded to single precision
        self.low, self.high = self.env.unwrapped.model.actuator_ctrlrange.T
        self.limit = self.env.spec.max_episode_steps

    def random_state(self, seed):
        self.env.reset(seed=seed)
        return self.state()

    def state(self):
        data = self.env.unwrapped.data
        return data.qpos.copy(), data.qvel.copy(), NOTHING

    def default_state(self):
        task = self.env.unwrapped
        return task.model.qpos0.copy(), np.zeros(task.model.nv), NOTHING

    def start(self, qpos, qvel, extra=NOTHING):
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
    """A dm_control suite task."""

    def __init__(self, name):
        from dm_control import suite
        self.domain, self.task = SUITE[name].split("-")
        self.env = suite.load(self.domain, self.task)
        spec = self.env.action_spec()
        self.low, self.high = spec.minimum, spec.maximum
        self.limit = int(self.env._step_limit)
        self.bumps = None
        if self.task == "escape":  # otherwise a reset asks for OpenGL, to show the new ground
            type(self.env.physics).contexts = None

    def random_state(self, seed):
        self.env.task.random.seed(seed)
        if self.task == "escape":  # its first draw, which nothing else keeps
            self.bumps = np.random.RandomState(seed).uniform(0.15, 1, self.bump_shape())
        self.env.reset()
        return self.state()

    def default_state(self):
        self.random_state(0)
        self.env.physics.reset()
        return self.state()

    def state(self):
        data = self.env.physics.data
        return data.qpos.copy(), data.qvel.copy(), self.extra()

    def start(self, qpos, qvel, extra=NOTHING):
        self.env.reset()
        physics = self.env.physics
        with physics.reset_context():
            self.set_extra(np.asarray(extra))
            physics.data.qpos[:], physics.data.qvel[:] = qpos, qvel
        return self.flat(self.env.task.get_observation(physics))

    def step(self, action):
        step = self.env.step(action)
        end = RUNNING if not step.last() else TRUNCATED if step.discount == 1.0 else TERMINATED
        return self.flat(step.observation), float(step.reward), end

    def place(self):
        """The array in which the task keeps what a start draws besides, and the entries drawn."""
        model, data = self.env.physics.named.model, self.env.physics.data
        if self.domain == "dog":
            return data.act, slice(None)
        if self.domain in ("reacher", "swimmer"):
            return model.geom_pos["target"], [0, 1]
        if self.domain == "finger" and self.task != "spin":
            return model.site_pos["target"], [0, 2]
        if self.domain == "stacker":
            return model.body_pos["target"], [0, 2]
        if (self.domain, self.task) == ("fish", "swim"):
            return model.geom_pos["target"], slice(None)
        if (self.domain, self.task) == ("point_mass", "hard"):
            return self.env.physics.model.wrap_prm, slice(None)
        return NOTHING, slice(None)

    def bodies(self):
        """The bodies that a manipulator's start moves about: the target, which comes first, and what is there."""
        task = self.env.task
        return [task._target] + [task._receptacle] * task._insert

    def extra(self):
        if self.task == "escape":
            return self.bumps.ravel().copy()
        if self.domain == "manipulator":
            model, target = self.env.physics.named.model, self.bodies()[0]
            return np.concatenate([model.body_pos[target, ["x", "z"]], model.body_quat[target, ["qw", "qy"]]])
        array, entries = self.place()
        return np.array(array[entries])

    def set_extra(self, extra):
        if self.task == "escape":
            self.set_terrain(extra.reshape(self.bump_shape()))
        elif self.domain == "manipulator":
            model = self.env.physics.named.model
            for body in self.bodies():
                model.body_pos[body, ["x", "z"]], model.body_quat[body, ["qw", "qy"]] = extra[:2], extra[2:]
        else:
            array, entries = self.place()
            array[entries] = extra

    def bump_shape(self):
        return (int(self.env.physics.model.hfield_size[0, 0] * 2 / 2),) * 2

    def set_terrain(self, bumps):
        """What `Escape.initialize_episode` does with its random bumps."""
        from scipy import ndimage
        self.bumps, model = bumps, self.env.physics.model
        res = model.hfield_nrow[0]
        row_grid, col_grid = np.ogrid[-1:1:res*1j, -1:1:res*1j]
        radius = np.clip(np.sqrt(col_grid**2 + row_grid**2), .04, 1)
        bowl = .5 - np.cos(2*np.pi*radius)/2
        model.hfield_data[:] = (bowl * ndimage.zoom(bumps, res / float(len(bumps)))).ravel()

    @staticmethod
    def flat(observation):
        return np.concatenate([np.atleast_1d(entry).ravel() for entry in observation.values()])


class Classic:
    """A task of Gymnasium without MuJoCo."""

    def __init__(self, official, **options):
        import gymnasium
        self.env = gymnasium.make(official, disable_env_checker=True, **options)
        space = self.env.action_space
        self.low, self.high = space.low.astype(float), space.high.astype(float)
        self.limit = self.env.spec.max_episode_steps

    def random_state(self, seed):
        self.env.reset(seed=seed)
        return self.state()

    def state(self):
        position, velocity = np.asarray(self.env.unwrapped.state, float)
        return np.array([position]), np.array([velocity]), NOTHING

    def default_state(self):
        return np.zeros(1), np.zeros(1), NOTHING

    def start(self, qpos, qvel, extra=NOTHING):
        self.env.reset()
        self.env.unwrapped.state = self.stored(np.concatenate([qpos, qvel]))
        return self.observation()

    def step(self, action):
        _, reward, terminated, truncated, _ = self.env.step(action)
        return self.observation(), float(reward), TERMINATED if terminated else TRUNCATED if truncated else RUNNING


class Pendulum(Classic):
    """Pendulum-v1. Its observation is recomputed, because Gymnasium rounds it to single precision."""

    @staticmethod
    def stored(state):
        return state

    def observation(self):
        angle, velocity = self.env.unwrapped.state
        return np.array([np.cos(angle), np.sin(angle), velocity])


class MountainCar(Classic):
    """MountainCarContinuous-v0, which keeps its state in single precision from the first step on."""

    @staticmethod
    def stored(state):
        return state.astype(np.float32)

    def observation(self):
        return np.asarray(self.env.unwrapped.state, float)


def make(name, **options):
    """The real environment behind a short name of envs/."""
    warnings.filterwarnings("ignore")
    if name in GYMNASIUM:
        return Gymnasium(GYMNASIUM[name], **options)
    if name in CLASSIC:
        return {"pendulum": Pendulum, "mountain-car": MountainCar}[name](CLASSIC[name], **options)
    if name in SUITE:
        return Suite(name)
    raise SystemExit("there is no Python original of `%s`; those known here are %s"
                     % (name, ", ".join([*GYMNASIUM, *SUITE, *CLASSIC])))
