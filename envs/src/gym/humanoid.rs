//! Humanoid-v5 and HumanoidStandup-v5: run forwards without falling, and get up.
use super::{Task, Transition, add_uniform, options::*, squared};
use crate::{
    End, EnvOption, Error,
    OptionValue::{Flag, Number, Range},
    Step,
    mujoco::{Convention, Data, Physics},
    options::{Options, option},
    random::Random,
};

/// Degrees of freedom of the root, which no actuator drives.
const ROOT: usize = 6;

const INCLUDE_CINERT: EnvOption =
    option("include_cinert_in_observation", Flag(true), "whether the bodies' inertias are observed");
const INCLUDE_CVEL: EnvOption =
    option("include_cvel_in_observation", Flag(true), "whether the bodies' velocities are observed");
const INCLUDE_QFRC_ACTUATOR: EnvOption =
    option("include_qfrc_actuator_in_observation", Flag(true), "whether the actuators' forces are observed");

/// What both observe, and pay for force.
struct Body {
    control: f64,
    contact: f64,
    contact_cost: (f64, f64),
    noise: f64,
    hidden: usize,
    observes: [bool; 4],
}

impl Body {
    /// `contact` names the options of weight and range of the contact cost.
    fn new(options: &Options, contact: [&str; 2]) -> Self {
        let parts = [INCLUDE_CINERT, INCLUDE_CVEL, INCLUDE_QFRC_ACTUATOR, INCLUDE_CFRC_EXT];
        Self {
            control: options.number("ctrl_cost_weight"),
            contact: options.number(contact[0]),
            contact_cost: options.range(contact[1]),
            noise: options.number("reset_noise_scale"),
            hidden: hidden_positions(options, 2),
            observes: parts.map(|part| options.flag(part.name)),
        }
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_uniform(qvel, self.noise, random);
    }

    /// Positions, velocities, and per body but the world inertia, velocity and outer force, with the
    /// actuators' forces before the last.
    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let parts: [&[f64]; 4] = [
            data.cinert()[1..].as_flattened(),
            data.cvel()[1..].as_flattened(),
            &data.qfrc_actuator()[ROOT..],
            data.cfrc_ext()[1..].as_flattened(),
        ];
        let observed = parts.into_iter().zip(self.observes).filter_map(|(part, is)| is.then_some(part));
        data.qpos()[self.hidden..].iter().chain(data.qvel()).chain(observed.flatten()).copied()
    }

    /// Of the controls, and of the forces on all bodies.
    fn costs(&self, data: &Data) -> f64 {
        let (least, most) = self.contact_cost;
        let contact = self.contact * squared(data.cfrc_ext().as_flattened());
        self.control * squared(data.ctrl()) + contact.clamp(least, most)
    }
}

pub(super) struct Humanoid {
    body: Body,
    forward: f64,
    health: Health,
    healthy_z: (f64, f64),
    mass: f64,
}

impl Task for Humanoid {
    const MODEL: &'static str = "gymnasium/humanoid.xml";
    const CONVENTION: Convention = Convention::GymnasiumWithContactForces;
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(5),
        forward_reward_weight(1.25),
        ctrl_cost_weight(0.1),
        option("contact_cost_weight", Number(5e-7), "weight of the sum of squared contact forces"),
        option("contact_cost_range", Range(f64::NEG_INFINITY, 10.0), "the contact cost is cut to this range"),
        healthy_reward(5.0),
        TERMINATE_WHEN_UNHEALTHY,
        healthy_z_range(1.0, 2.0),
        reset_noise_scale(1e-2),
        EXCLUDE_CURRENT_POSITIONS,
        INCLUDE_CINERT,
        INCLUDE_CVEL,
        INCLUDE_QFRC_ACTUATOR,
        INCLUDE_CFRC_EXT,
    ];

    fn new(options: &Options, physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            body: Body::new(options, ["contact_cost_weight", "contact_cost_range"]),
            forward: options.number("forward_reward_weight"),
            health: Health::new(options),
            healthy_z: options.range("healthy_z_range"),
            mass: physics.model().body_mass().iter().sum(),
        })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        self.body.randomize(qpos, qvel, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        self.body.observe(data)
    }

    /// The centre of mass, from the bodies: `subtree_com` is not the same while it is a step old.
    fn forward_position(&self, data: &Data) -> f64 {
        let moments = data.model().body_mass().iter().zip(data.xipos()).map(|(mass, place)| mass * place[0]);
        moments.sum::<f64>() / self.mass
    }

    fn terminates(&self) -> bool {
        self.health.terminates()
    }

    fn judge(&self, transition: &Transition) -> Step {
        let data = transition.data;
        let healthy = inside(data.qpos()[2], self.healthy_z);
        self.health.judge(healthy, self.forward * transition.x_velocity - self.body.costs(data))
    }
}

/// Gymnasium's keyword `uph_cost_weight` is missing here, because Gymnasium 1.4 does not use it.
pub(super) struct HumanoidStandup(Body);

impl Task for HumanoidStandup {
    const MODEL: &'static str = "gymnasium/humanoidstandup.xml";
    const CONVENTION: Convention = Convention::GymnasiumWithContactForces;
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(5),
        ctrl_cost_weight(0.1),
        option("impact_cost_weight", Number(0.5e-6), "weight of the sum of squared contact forces"),
        option("impact_cost_range", Range(f64::NEG_INFINITY, 10.0), "the impact cost is cut to this range"),
        reset_noise_scale(1e-2),
        EXCLUDE_CURRENT_POSITIONS,
        INCLUDE_CINERT,
        INCLUDE_CVEL,
        INCLUDE_QFRC_ACTUATOR,
        INCLUDE_CFRC_EXT,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self(Body::new(options, ["impact_cost_weight", "impact_cost_range"])))
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        self.0.randomize(qpos, qvel, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        self.0.observe(data)
    }

    /// Height, over the length of a physics step, less the costs.
    fn judge(&self, transition: &Transition) -> Step {
        let data = transition.data;
        let up = data.qpos()[2] / data.model_opt().timestep;
        Step { reward: up - self.0.costs(data) + 1.0, end: End::Running }
    }
}
