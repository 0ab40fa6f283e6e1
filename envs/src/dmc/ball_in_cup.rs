//! ball-in-cup-catch: swing a ball on a string into the cup that it hangs from.
use super::{Task, load, randomizers::draw_without_contact};
use crate::{Error, mujoco::Physics, random::Random};

/// 0.02 s of control in steps of 0.002 s.
const SUBSTEPS: usize = 10;

pub(crate) struct BallInCup {
    ball: usize,
    target: usize,
    /// Places of the ball in `qpos`.
    ball_x: usize,
    ball_z: usize,
    /// How far the ball's centre may be from the target's, in x and in z.
    room: [f64; 2],
}

impl BallInCup {
    pub(crate) fn load() -> Result<(Physics, Self), Error> {
        let physics = load("dm_control/ball_in_cup.xml", SUBSTEPS)?;
        let (target, geom) = (physics.site("target")?, physics.geom("ball")?);
        let (size, radius) = (physics.model().site_size()[target], physics.model().geom_size()[geom][0]);
        let task = Self {
            ball: physics.body("ball")?,
            target,
            ball_x: physics.joint("ball_x")?.0,
            ball_z: physics.joint("ball_z")?.0,
            room: [size[0] - radius, size[2] - radius],
        };
        Ok((physics, task))
    }
}

impl Task for BallInCup {
    /// The ball above or below the cup, where it touches nothing.
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        draw_without_contact(physics, |physics| {
            physics.edit(|qpos, _| {
                qpos[self.ball_x] = random.uniform(-0.2, 0.2);
                qpos[self.ball_z] = random.uniform(0.2, 0.5);
            });
        });
    }

    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        physics.data().qpos().iter().chain(physics.data().qvel()).copied()
    }

    /// Whether the ball is in the cup.
    fn reward(&self, physics: &Physics) -> f64 {
        let (target, ball) = (physics.data().site_xpos()[self.target], physics.data().xpos()[self.ball]);
        let caught =
            [0, 2].into_iter().zip(self.room).all(|(axis, room)| (target[axis] - ball[axis]).abs() < room);
        f64::from(u8::from(caught))
    }
}
