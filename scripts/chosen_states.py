"""States from which something happens that random actions hardly reach: a reward, a termination, a hard contact."""
import numpy as np

# Constructor keywords with which an environment is recorded once more; `tests/parity.rs` has the same.
OPTIONS = {
    "halfcheetah": dict(frame_skip=3, forward_reward_weight=2.0, ctrl_cost_weight=0.5,
                        exclude_current_positions_from_observation=False),
    "hopper": dict(healthy_reward=3.0, terminate_when_unhealthy=False, healthy_state_range=(-2.0, 2.0),
                   healthy_z_range=(1.0, 1.3), healthy_angle_range=(-0.05, 0.1), forward_reward_weight=0.5),
    "walker2d": dict(healthy_z_range=(1.0, 1.26), healthy_angle_range=(-0.1, 0.2), ctrl_cost_weight=0.3,
                     healthy_reward=0.2, exclude_current_positions_from_observation=False),
    "ant": dict(contact_cost_weight=0.1, contact_force_range=(-0.3, 0.6), healthy_z_range=(0.5, 0.8),
                healthy_reward=2.0, include_cfrc_ext_in_observation=False),
    "humanoid": dict(contact_cost_weight=1e-3, contact_cost_range=(0.5, 2.0), ctrl_cost_weight=1.0,
                     include_cinert_in_observation=False, include_cvel_in_observation=False,
                     healthy_z_range=(1.2, 1.45), terminate_when_unhealthy=False),
    "humanoid-standup": dict(impact_cost_weight=1e-3, impact_cost_range=(0.0, 3.0), frame_skip=2,
                             include_qfrc_actuator_in_observation=False, include_cfrc_ext_in_observation=False,
                             include_cinert_in_observation=False,
                             exclude_current_positions_from_observation=False),
    "swimmer": dict(forward_reward_weight=3.0, ctrl_cost_weight=0.2, exclude_current_positions_from_observation=False),
    "reacher": dict(reward_dist_weight=2.0, reward_control_weight=0.1, frame_skip=4),
    "pusher": dict(reward_near_weight=2.0, reward_dist_weight=0.1, reward_control_weight=0.3),
    "inverted-pendulum": dict(frame_skip=5),
    "inverted-double-pendulum": dict(healthy_reward=3.0, frame_skip=2),
    "pendulum": dict(g=3.0),
    "mountain-car": dict(goal_velocity=0.02),
}


def chosen_states(name, env):
    """Yields (label, qpos, qvel, extra): the model's default state with some entries changed."""
    def changed(label, qpos=(), qvel=(), extra=None):
        q, v, more = env.default_state()
        for index, value in qpos:
            q[index] = value
        for index, value in qvel:
            v[index] = value
        return label, q, v, more if extra is None else np.array(extra, float)

    def where(kind, part):
        """A part's place in the model's default state."""
        env.default_state()
        return getattr(env.env.physics.named.data, kind)[part].copy()

    if name == "hopper":  # positions x, z, torso angle, three joints
        yield changed("falling", qpos=[(2, 0.19)], qvel=[(2, 0.5)])
        yield changed("too-low", qpos=[(1, 0.65)])
        yield changed("too-fast", qvel=[(5, 3000.0)])
    elif name == "walker2d":  # positions x, z, torso angle, six joints
        yield changed("falling", qpos=[(2, 0.95)], qvel=[(2, 4.0)])
        yield changed("too-low", qpos=[(1, 0.75)])
        yield changed("too-high", qpos=[(1, 2.3)])
    elif name == "ant":  # a free body, then the legs
        yield changed("jumping", qpos=[(2, 0.8)], qvel=[(2, 3.0)])
        yield changed("too-high", qpos=[(2, 1.2)])
        yield changed("landing", qvel=[(2, -5.0)])
    elif name == "humanoid":
        yield changed("falling", qpos=[(2, 1.15), (3, 0.5**0.5), (5, 0.5**0.5)])  # on its face, in the air
        yield changed("too-high", qpos=[(2, 2.1)])
        yield changed("landing", qvel=[(2, -10.0)])
    elif name == "humanoid-standup":
        yield changed("landing", qvel=[(2, -20.0)])
    elif name == "reacher":  # two joints, then the target
        yield changed("at-target", qpos=[(2, 0.21), (3, 0.0)])
    elif name == "pusher":  # seven joints, then the cylinder and the goal
        env.default_state()
        env.start(*env.default_state())
        task = env.env.unwrapped
        x, y = (task.get_body_com("tips_arm") - task.get_body_com("object"))[:2]
        yield changed("touching", qpos=[(7, y + 0.06), (8, x)])
    elif name == "inverted-pendulum":  # positions of the cart, of the pole
        yield changed("tipping", qpos=[(1, 0.19)], qvel=[(1, 0.1)])
        yield changed("tipped", qpos=[(1, -0.3)])
    elif name == "inverted-double-pendulum":  # positions of the cart, of the poles
        yield changed("upright")
        yield changed("tipping", qpos=[(1, 0.3)], qvel=[(1, 2.0)])
        yield changed("tipped", qpos=[(1, 0.9)])
        yield changed("at-the-end", qpos=[(0, 0.99)], qvel=[(0, 20.0)])
    elif name == "cheetah-run":  # position x first
        yield changed("running", qvel=[(0, 12.0)])
    elif name in ("cartpole-two-poles", "cartpole-three-poles"):
        yield changed("upright")
    elif name.startswith("cartpole-"):  # positions of the cart, of the pole; 0 is upright
        yield changed("upright", qpos=[(0, 0.05)])
    elif name.startswith("acrobot-"):  # 0 is upright
        yield changed("at-target")
    elif name == "walker-stand":  # positions z, x, torso angle, six joints; 0 is standing
        yield changed("standing")
    elif name.startswith("walker-"):
        yield changed("moving", qvel=[(1, {"walker-run": 9.0}.get(name, 1.5))])
    elif name in ("quadruped-walk", "quadruped-run"):  # a free body, then the legs
        yield changed("moving", qvel=[(0, {"quadruped-run": 6.0}.get(name, 1.0))])
    elif name == "quadruped-escape":
        yield changed("escaped", qpos=[(0, 29.0), (2, 3.0)])
    elif name == "quadruped-fetch":  # the ball's free body comes last
        yield changed("fetched", qpos=[(-7, 0.3), (-6, 0.1), (-5, 0.2)])
        yield changed("far-away", qpos=[(0, 3.0), (-7, -5.0), (-5, 2.0)], qvel=[(-6, 3.0)])
    elif name == "pendulum-swingup":
        yield changed("upright")
    elif name == "ball-in-cup-catch":  # positions x, z of the cup, of the ball
        yield changed("caught", qpos=[(3, 0.35)])
    elif name.startswith("reacher-"):
        yield changed("at-target", extra=where("geom_xpos", "finger")[:2])
    elif name == "finger-spin":
        yield changed("spinning", qvel=[(2, -30.0)])
    elif name.startswith("finger-"):
        yield changed("at-target", extra=where("site_xpos", "tip")[[0, 2]])
    elif name == "fish-upright":
        yield changed("upright")
    elif name == "fish-swim":
        yield changed("at-target", extra=where("geom_xpos", "mouth"))
    elif name == "hopper-stand":  # positions x, z, torso angle, four joints
        yield changed("standing")
    elif name == "hopper-hop":
        yield changed("moving", qvel=[(0, 3.0)])
    elif name.startswith("humanoid-"):
        speed = {"stand": 0.0, "walk": 1.2, "run": 11.0}[name.split("-")[1]]
        yield changed("moving", qpos=[(2, 1.5)], qvel=[(0, speed)])
    elif name.startswith("point-mass-"):
        yield changed("at-target")
    elif name.startswith("manipulator-"):  # eight joints of the arm, upright at 0, then x, z and angle of the object
        there, target = [(8, 0.3), (9, 0.3), (10, 0.2)], [0.3, 0.3, np.cos(0.1), np.sin(0.1)]
        yield changed("inserted" if "insert" in name else "brought", qpos=there, extra=target)
        if "bring" in name:
            x, z = where("site_xpos", "grasp")[[0, 2]]
            in_hand = [(4, 0.5), (6, 0.5), (8, x), (9, z), (10, np.pi)]
            yield changed("grasped", qpos=in_hand, extra=[x, z, 0.0, 1.0] if name.endswith("ball") else target)
    elif name.startswith("stacker-"):  # the arm as above, then x, z and angle of every box
        boxes = int(name[-1])
        tower = [entry for i in range(boxes) for entry in [(8 + 3 * i, 0.2), (9 + 3 * i, 0.022 * (2 * i + 1))]]
        yield changed("stacked", qpos=tower, extra=[0.2, 0.022 * (2 * boxes - 1)])
        beside = where("site_xpos", "grasp")[[0, 2]] + [0.095, 0.0]
        yield changed("hand-near", qpos=[(8, beside[0]), (9, beside[1])], extra=beside)
    elif name.startswith("swimmer-"):
        yield changed("at-target", extra=where("geom_xpos", "nose")[:2])
    elif name == "dog-fetch":  # the ball's free body comes last
        yield changed("fetched", qpos=[(-7, 0.05), (-6, 0.02), (-5, 0.05)])
        mouth = where("site_xpos", "upper_bite")
        yield changed("bitten", qpos=[(-7, mouth[0]), (-6, mouth[1]), (-5, mouth[2] - 0.01)])
    elif name.startswith("dog-"):
        speed = {"dog-stand": 0.0, "dog-walk": 1.5, "dog-trot": 4.0, "dog-run": 11.0}[name]
        yield changed("moving", qvel=[(0, speed)])
    elif name == "mountain-car":
        yield changed("at-the-top", qpos=[(0, 0.44)], qvel=[(0, 0.03)])
        yield changed("at-the-wall", qpos=[(0, -1.19)], qvel=[(0, -0.06)])
