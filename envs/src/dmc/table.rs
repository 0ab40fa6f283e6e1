//! The registered suite tasks: one line a task.
use super::{
    Build, Entry, Pace, Reward,
    acrobot::Acrobot,
    ball_in_cup::BallInCup,
    cartpole::{Cartpole, Start},
    cheetah::Cheetah,
    dog::{self, Dog},
    finger::{self, Finger},
    fish::{self, Fish},
    hopper::{self, Hopper},
    humanoid::{self, Humanoid},
    make,
    manipulator::{self, Manipulator, Object},
    pendulum::Pendulum,
    point_mass::{Gains, PointMass},
    quadruped::{self, Quadruped},
    reacher::Reacher,
    stacker::Stacker,
    swimmer::Swimmer,
    walker::Walker,
};
use crate::{Source::DmControl, entry::entry};

/// Every episode lasts a thousand control steps. `sizes` are those of observation and action.
const fn suite(
    name: &'static str,
    official: &'static str,
    sizes: [usize; 2],
    action_repeat: usize,
    build: Build,
) -> Entry {
    entry(name, official, DmControl, sizes, 1000, action_repeat, build)
}

/// The action repeats are those of TD-MPC (Hansen et al. 2022, arXiv:2203.04955): 4, but 8 for the cartpole and 2
/// for finger, walker, dog and humanoid. It has no manipulator and no stacker; theirs is TD-MPC2's, 2 throughout
/// (Hansen et al. 2024, arXiv:2310.16828).
#[rustfmt::skip] // one line an environment
pub(crate) const TABLE: &[Entry] = &[
    suite("acrobot-swingup", "dmc/acrobot-swingup", [6, 1], 4, |e, _| make(e, Acrobot::load(Reward::Smooth)?)),
    suite("acrobot-swingup-sparse", "dmc/acrobot-swingup_sparse", [6, 1], 4, |e, _| make(e, Acrobot::load(Reward::Sparse)?)),
    suite("ball-in-cup-catch", "dmc/ball_in_cup-catch", [8, 2], 4, |e, _| make(e, BallInCup::load()?)),
    suite("cartpole-balance", "dmc/cartpole-balance", [5, 1], 8, |e, _| make(e, Cartpole::load(1, Start::Balanced, Reward::Smooth)?)),
    suite("cartpole-balance-sparse", "dmc/cartpole-balance_sparse", [5, 1], 8, |e, _| make(e, Cartpole::load(1, Start::Balanced, Reward::Sparse)?)),
    suite("cartpole-swingup", "dmc/cartpole-swingup", [5, 1], 8, |e, _| make(e, Cartpole::load(1, Start::Hanging, Reward::Smooth)?)),
    suite("cartpole-swingup-sparse", "dmc/cartpole-swingup_sparse", [5, 1], 8, |e, _| make(e, Cartpole::load(1, Start::Hanging, Reward::Sparse)?)),
    suite("cartpole-two-poles", "dmc/cartpole-two_poles", [8, 1], 8, |e, _| make(e, Cartpole::load(2, Start::Hanging, Reward::Smooth)?)),
    suite("cartpole-three-poles", "dmc/cartpole-three_poles", [11, 1], 8, |e, _| make(e, Cartpole::load(3, Start::Hanging, Reward::Smooth)?)),
    suite("cheetah-run", "dmc/cheetah-run", [17, 6], 4, |e, _| make(e, Cheetah::load()?)),
    suite("dog-stand", "dmc/dog-stand", [223, 38], 2, |e, _| make(e, Dog::load(dog::Goal::Stand)?)),
    suite("dog-walk", "dmc/dog-walk", [223, 38], 2, |e, _| make(e, Dog::load(dog::Goal::Move(1.0))?)),
    suite("dog-trot", "dmc/dog-trot", [223, 38], 2, |e, _| make(e, Dog::load(dog::Goal::Move(3.0))?)),
    suite("dog-run", "dmc/dog-run", [223, 38], 2, |e, _| make(e, Dog::load(dog::Goal::Move(9.0))?)),
    suite("dog-fetch", "dmc/dog-fetch", [232, 38], 2, |e, _| make(e, Dog::load(dog::Goal::Fetch)?)),
    suite("finger-spin", "dmc/finger-spin", [9, 2], 2, |e, _| make(e, Finger::load(finger::Goal::Spin)?)),
    suite("finger-turn-easy", "dmc/finger-turn_easy", [12, 2], 2, |e, _| make(e, Finger::load(finger::Goal::Turn(0.07))?)),
    suite("finger-turn-hard", "dmc/finger-turn_hard", [12, 2], 2, |e, _| make(e, Finger::load(finger::Goal::Turn(0.03))?)),
    suite("fish-upright", "dmc/fish-upright", [21, 5], 4, |e, _| make(e, Fish::load(fish::Goal::Upright)?)),
    suite("fish-swim", "dmc/fish-swim", [24, 5], 4, |e, _| make(e, Fish::load(fish::Goal::Swim)?)),
    suite("hopper-stand", "dmc/hopper-stand", [15, 4], 4, |e, _| make(e, Hopper::load(hopper::Goal::Stand)?)),
    suite("hopper-hop", "dmc/hopper-hop", [15, 4], 4, |e, _| make(e, Hopper::load(hopper::Goal::Hop)?)),
    suite("humanoid-stand", "dmc/humanoid-stand", [67, 21], 2, |e, _| make(e, Humanoid::load(Pace::Stand, humanoid::View::Egocentric)?)),
    suite("humanoid-walk", "dmc/humanoid-walk", [67, 21], 2, |e, _| make(e, Humanoid::load(Pace::Move(1.0), humanoid::View::Egocentric)?)),
    suite("humanoid-run", "dmc/humanoid-run", [67, 21], 2, |e, _| make(e, Humanoid::load(Pace::Move(10.0), humanoid::View::Egocentric)?)),
    suite("humanoid-run-pure-state", "dmc/humanoid-run_pure_state", [55, 21], 2, |e, _| make(e, Humanoid::load(Pace::Move(10.0), humanoid::View::State)?)),
    suite("manipulator-bring-ball", "dmc/manipulator-bring_ball", [44, 5], 2, |e, _| make(e, Manipulator::load(manipulator::Goal::Bring, Object::Ball)?)),
    suite("manipulator-bring-peg", "dmc/manipulator-bring_peg", [44, 5], 2, |e, _| make(e, Manipulator::load(manipulator::Goal::Bring, Object::Peg)?)),
    suite("manipulator-insert-ball", "dmc/manipulator-insert_ball", [44, 5], 2, |e, _| make(e, Manipulator::load(manipulator::Goal::Insert, Object::Ball)?)),
    suite("manipulator-insert-peg", "dmc/manipulator-insert_peg", [44, 5], 2, |e, _| make(e, Manipulator::load(manipulator::Goal::Insert, Object::Peg)?)),
    suite("pendulum-swingup", "dmc/pendulum-swingup", [3, 1], 4, |e, _| make(e, Pendulum::load()?)),
    suite("point-mass-easy", "dmc/point_mass-easy", [4, 2], 4, |e, _| make(e, PointMass::load(Gains::Fixed)?)),
    suite("point-mass-hard", "dmc/point_mass-hard", [4, 2], 4, |e, _| make(e, PointMass::load(Gains::Random)?)),
    suite("quadruped-walk", "dmc/quadruped-walk", [78, 12], 4, |e, _| make(e, Quadruped::load(quadruped::Goal::Move(0.5))?)),
    suite("quadruped-run", "dmc/quadruped-run", [78, 12], 4, |e, _| make(e, Quadruped::load(quadruped::Goal::Move(5.0))?)),
    suite("quadruped-escape", "dmc/quadruped-escape", [101, 12], 4, |e, _| make(e, Quadruped::load(quadruped::Goal::Escape)?)),
    suite("quadruped-fetch", "dmc/quadruped-fetch", [90, 12], 4, |e, _| make(e, Quadruped::load(quadruped::Goal::Fetch)?)),
    suite("reacher-easy", "dmc/reacher-easy", [6, 2], 4, |e, _| make(e, Reacher::load(0.05)?)),
    suite("reacher-hard", "dmc/reacher-hard", [6, 2], 4, |e, _| make(e, Reacher::load(0.015)?)),
    suite("stacker-stack-2", "dmc/stacker-stack_2", [49, 5], 2, |e, _| make(e, Stacker::load(2)?)),
    suite("stacker-stack-4", "dmc/stacker-stack_4", [63, 5], 2, |e, _| make(e, Stacker::load(4)?)),
    suite("swimmer-swimmer6", "dmc/swimmer-swimmer6", [25, 5], 4, |e, _| make(e, Swimmer::load(6)?)),
    suite("swimmer-swimmer15", "dmc/swimmer-swimmer15", [61, 14], 4, |e, _| make(e, Swimmer::load(15)?)),
    suite("walker-stand", "dmc/walker-stand", [24, 6], 2, |e, _| make(e, Walker::load(Pace::Stand)?)),
    suite("walker-walk", "dmc/walker-walk", [24, 6], 2, |e, _| make(e, Walker::load(Pace::Move(1.0))?)),
    suite("walker-run", "dmc/walker-run", [24, 6], 2, |e, _| make(e, Walker::load(Pace::Move(8.0))?)),
];
