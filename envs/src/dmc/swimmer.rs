//! swimmer6 and swimmer15: a chain of links in a viscous plane swims until its nose is at a target.
use super::{
    Task, local,
    randomizers::randomize_limited_and_rotational_joints,
    tolerance::{Sigmoid, at_most},
};
use crate::{
    Error,
    mujoco::{Convention, Physics, load_edited},
    random::Random,
};

/// 0.03 s of control in steps of 0.002 s.
const SUBSTEPS: usize = 15;
/// Positions before those of the joints between links.
const ROOT: usize = 3;
/// Sensor readings before the velocities of the links.
const FIRST_VELOCITY: usize = 12;
/// Of a link's linear and angular velocity, those in the plane.
const PLANAR: [usize; 3] = [0, 1, 5];
/// Half-widths of the squares in which the target lies, and how often it lies in the smaller.
const NEAR: f64 = 0.3;
const FAR: f64 = 2.0;
const NEAR_SHARE: f64 = 0.2;

pub(crate) struct Swimmer {
    head: usize,
    nose: usize,
    target: usize,
    target_radius: f64,
}

impl Swimmer {
    pub(crate) fn load(links: usize) -> Result<(Physics, Self), Error> {
        let model = load_edited("dm_control/swimmer.xml", |text| chain(text, links))?;
        let physics = Physics::new(model, Convention::DmControl, SUBSTEPS);
        let target = physics.geom("target")?;
        let task = Self {
            head: physics.body("head")?,
            nose: physics.geom("nose")?,
            target,
            target_radius: physics.model().geom_size()[target][0],
        };
        Ok((physics, task))
    }

    /// The way from nose to target, in the head's frame.
    fn to_target(&self, physics: &Physics) -> [f64; 2] {
        let data = physics.data();
        let (nose, target) = (data.geom_xpos()[self.nose], data.geom_xpos()[self.target]);
        let [x, y, _] = local(data.xmat()[self.head], std::array::from_fn(|axis| target[axis] - nose[axis]));
        [x, y]
    }
}

/// The model, which is a head, with a tail of `links - 1` bodies, their motors and velocity sensors.
fn chain(text: &str, links: usize) -> String {
    let limit = 360.0 / links as f64;
    let body = |i| {
        format!(
            r#"<body name="segment_{i}" pos="0 .1 0"><geom class="visual" name="visual_{i}"/>
            <geom class="inertial" name="inertial_{i}"/><site name="site_{i}"/>
            <joint name="joint_{i}" range="-{limit} {limit}"/>"#
        )
    };
    let motor = |i| format!(r#"<motor name="motor_{i}" joint="joint_{i}"/>"#);
    let sensors = |i| {
        format!(
            r#"<velocimeter name="velocimeter_{i}" site="site_{i}"/><gyro name="gyro_{i}" site="site_{i}"/>"#
        )
    };
    let tail = 0..links - 1;
    let bodies: String = tail.clone().map(body).collect();
    let motors: String = tail.clone().map(motor).collect();
    let sensors: String = tail.map(sensors).collect();
    let head = r#"<site name="head"/>"#;
    let scale = links as f64 / 6.0;
    let camera = |text: String, place: [f64; 3], written: &str| {
        let [x, y, z] = place.map(|x| x * scale);
        text.replace(&format!(r#"pos="{written}""#), &format!(r#"pos="{x} {y} {z}""#))
    };
    let text = text
        .replace(head, &format!("{head}{bodies}{}", "</body>".repeat(links - 1)))
        .replace("</mujoco>", &format!("<actuator>{motors}</actuator><sensor>{sensors}</sensor></mujoco>"));
    let text = camera(text, [0.0, -0.2, 0.5], "0 -.2 .5");
    camera(text, [-0.9, 0.5, 0.15], "-.9 .5 .15")
}

impl Task for Swimmer {
    fn randomize(&mut self, physics: &mut Physics, random: &mut Random) {
        randomize_limited_and_rotational_joints(physics, random);
        let reach = if random.uniform(0.0, 1.0) < NEAR_SHARE { NEAR } else { FAR };
        self.set_extra(physics, &[random.uniform(-reach, reach), random.uniform(-reach, reach)]);
    }

    /// The target's x and y.
    fn extra(&self, physics: &Physics) -> Vec<f64> {
        physics.model().geom_pos()[self.target][..2].to_vec()
    }

    fn set_extra(&mut self, physics: &mut Physics, extra: &[f64]) {
        physics.edit_model(|model| model.geom_pos_mut()[self.target][..2].copy_from_slice(extra));
    }

    /// Joints, target, velocities of every link in its own frame.
    fn observe(&self, physics: &Physics) -> impl Iterator<Item = f64> {
        let data = physics.data();
        let links = data.sensordata()[FIRST_VELOCITY..].chunks_exact(6);
        let velocities = links.flat_map(|link| PLANAR.map(|entry| link[entry]));
        data.qpos()[ROOT..].iter().copied().chain(self.to_target(physics)).chain(velocities)
    }

    fn reward(&self, physics: &Physics) -> f64 {
        let [x, y] = self.to_target(physics);
        at_most(x.hypot(y), self.target_radius, 5.0 * self.target_radius, Sigmoid::LongTail(0.1))
    }
}
