//! cartpole: swing up or balance a pole, or a chain of poles, by pushing its cart.
use std::f64::consts::PI;

use super::{
    Reward, Task, XZ, ZZ,
    tolerance::{Sigmoid, small_control, tolerance},
};
use crate::{
    Error,
    mujoco::{Convention, Physics, load_edited, load_model},
    random::Random,
};

const MODEL: &str = "dm_control/cartpole.xml";
/// The first body that is a pole; the cart and the world come before.
const FIRST_POLE: usize = 2;
/// Standard deviations of the start state around hanging at rest, in metres, radians and their rates; the poles
/// on top of the first bend that much more.
const RESET_NOISE: f64 = 0.01;
const BEND_NOISE: f64 = 0.1;
/// Half-widths of the start state around balance.
const CART_NOISE: f64 = 0.1;
const POLE_NOISE: f64 = 0.034;
/// The sparse reward is paid this near to the centre and to the vertical.
const CART_RANGE: (f64, f64) = (-0.25, 0.25);
const COSINE_RANGE: (f64, f64) = (0.995, 1.0);

/// How an episode starts.
pub(crate) enum Start {
    Hanging,
    Balanced,
}

pub(crate) struct Cartpole {
    start: Start,
    reward: Reward,
}

impl Cartpole {
    pub(crate) fn load(poles: usize, start: Start, reward: Reward) -> Result<(Physics, Self), Error> {
        let model =
            if poles == 1 { load_model(MODEL)? } else { load_edited(MODEL, |text| chain(text, poles))? };
        Ok((Physics::new(model, Convention::DmControl, 1), Self { start, reward }))
    }
}

/// The model with further poles on top of the first, the floor lower and the cameras farther away.
fn chain(text: &str, poles: usize) -> String {
    let open = |pole| {
        format!(
            r#"<body name="pole_{pole}" pos="0 0 1" childclass="pole"><joint name="hinge_{pole}"/><geom name="pole_{pole}"/>"#
        )
    };
    let bodies: String = (2..=poles).map(open).collect();
    let first = r#"<geom name="pole_1"/>"#;
    let far = 2.0 * poles as f64;
    text.replace(first, &format!("{first}{bodies}{}", "</body>".repeat(poles - 1)))
        .replace(r#"pos="0 0 -.05""#, &format!(r#"pos="0 0 {}""#, 1.0 - poles as f64 - 0.05))
        .replace(r#"pos="0 -4 1""#, &format!(r#"pos="0 {} 1""#, -1.0 - far))
        .replace(r#"pos="0 -2 2""#, &format!(r#"pos="0 {} 2""#, -far))
}

impl Task for Cartpole {
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        physics.edit(|qpos, qvel| {
            match self.start {
                Start::Hanging => {
                    qpos[0] = RESET_NOISE * random.normal();
                    qpos[1] = PI + RESET_NOISE * random.normal();
                    qpos[2..].fill_with(|| BEND_NOISE * random.normal());
                }
                Start::Balanced => {
                    qpos[0] = random.uniform(-CART_NOISE, CART_NOISE);
                    qpos[1..].fill_with(|| random.uniform(-POLE_NOISE, POLE_NOISE));
                }
            }
            qvel.fill_with(|| RESET_NOISE * random.normal());
        });
    }

    /// Cart position, cosine and sine of the poles' angles to the vertical, then velocities.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let poles = data.xmat()[FIRST_POLE..].iter().flat_map(|pole| [pole[ZZ], pole[XZ]]);
        data.qpos()[..1].iter().copied().chain(poles).chain(data.qvel().iter().copied())
    }

    /// Upright, times factors that slightly favour the centre, little force and slow poles; or near upright near
    /// the centre or not.
    fn reward(&self, physics: &Physics) -> f64 {
        let data = physics.data();
        let cart = data.qpos()[0];
        let cosines = data.xmat()[FIRST_POLE..].iter().map(|pole| pole[ZZ]);
        match self.reward {
            Reward::Sparse => {
                let upright = cosines.map(|cosine| tolerance(cosine, COSINE_RANGE, 0.0, Sigmoid::DEFAULT));
                upright.product::<f64>() * tolerance(cart, CART_RANGE, 0.0, Sigmoid::DEFAULT)
            }
            Reward::Smooth => {
                let poles = (data.qpos().len() - 1) as f64;
                let upright = cosines.map(|cosine| (1.0 + cosine) / 2.0).sum::<f64>() / poles;
                let centred = (1.0 + tolerance(cart, (0.0, 0.0), 2.0, Sigmoid::DEFAULT)) / 2.0;
                let slow = data.qvel()[1..].iter().map(|&v| tolerance(v, (0.0, 0.0), 5.0, Sigmoid::DEFAULT));
                let small_velocity = (1.0 + slow.fold(f64::INFINITY, f64::min)) / 2.0;
                upright * small_control(data.ctrl()) * small_velocity * centred
            }
        }
    }
}
