//! Ant-v5: run forwards on four legs without falling or jumping.
use super::{Task, Transition, add_normal, add_uniform, options::*, squared};
use crate::{
    EnvOption, Error,
    OptionValue::{Number, Range},
    Step,
    mujoco::{Convention, Data, Physics},
    options::{Options, option},
    random::Random,
};

/// The body whose progress counts: the torso.
const MAIN_BODY: usize = 1;

pub(super) struct Ant {
    forward: f64,
    control: f64,
    contact: f64,
    contact_forces: (f64, f64),
    health: Health,
    healthy_z: (f64, f64),
    noise: f64,
    hidden: usize,
    observes_forces: bool,
}

impl Ant {
    /// Forces and torques on the bodies from the `first` on, cut to their range; body 0 is the world.
    fn forces<'a>(&self, data: &'a Data, first: usize) -> impl Iterator<Item = f64> + use<'a> {
        let (low, high) = self.contact_forces;
        data.cfrc_ext()[first..].as_flattened().iter().map(move |force| force.clamp(low, high))
    }
}

impl Task for Ant {
    const MODEL: &'static str = "gymnasium/ant.xml";
    const CONVENTION: Convention = Convention::GymnasiumWithContactForces;
    const OPTIONS: &'static [EnvOption] = &[
        frame_skip(5),
        forward_reward_weight(1.0),
        ctrl_cost_weight(0.5),
        option("contact_cost_weight", Number(5e-4), "weight of the sum of squared contact forces"),
        healthy_reward(1.0),
        TERMINATE_WHEN_UNHEALTHY,
        healthy_z_range(0.2, 1.0),
        option("contact_force_range", Range(-1.0, 1.0), "contact forces are cut to this range"),
        reset_noise_scale(0.1),
        EXCLUDE_CURRENT_POSITIONS,
        INCLUDE_CFRC_EXT,
    ];

    fn new(options: &Options, _physics: &Physics) -> Result<Self, Error> {
        Ok(Self {
            forward: options.number("forward_reward_weight"),
            control: options.number("ctrl_cost_weight"),
            contact: options.number("contact_cost_weight"),
            contact_forces: options.range("contact_force_range"),
            health: Health::new(options),
            healthy_z: options.range("healthy_z_range"),
            noise: options.number("reset_noise_scale"),
            hidden: hidden_positions(options, 2),
            observes_forces: options.flag(INCLUDE_CFRC_EXT.name),
        })
    }

    fn randomize(&self, qpos: &mut [f64], qvel: &mut [f64], random: &mut Random) {
        add_uniform(qpos, self.noise, random);
        add_normal(qvel, self.noise, random);
    }

    fn observe(&self, data: &Data) -> impl Iterator<Item = f64> {
        let forces = self.observes_forces.then(|| self.forces(data, 1));
        data.qpos()[self.hidden..].iter().chain(data.qvel()).copied().chain(forces.into_iter().flatten())
    }

    fn forward_position(&self, data: &Data) -> f64 {
        data.xpos()[MAIN_BODY][0]
    }

    fn terminates(&self) -> bool {
        self.health.terminates()
    }

    fn judge(&self, transition: &Transition) -> Step {
        let data = transition.data;
        let (low, high) = self.healthy_z;
        let finite = data.qpos().iter().chain(data.qvel()).all(|x| x.is_finite());
        let healthy = finite && (low..=high).contains(&data.qpos()[2]);
        let contact: f64 = self.forces(data, 0).map(|force| force * force).sum();
        let costs = self.control * squared(transition.action) + self.contact * contact;
        self.health.judge(healthy, self.forward * transition.x_velocity - costs)
    }
}
