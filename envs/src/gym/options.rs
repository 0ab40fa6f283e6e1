//! The constructor keywords that several Gymnasium tasks share, and what they do.
use crate::{
    End, EnvOption,
    OptionValue::{Count, Flag, Number, Range},
    Step,
    options::{Limit, Options, option},
};

pub(super) const fn frame_skip(default: usize) -> EnvOption {
    option("frame_skip", Count(default), "physics steps in a simulator step")
}

pub(super) const fn forward_reward_weight(default: f64) -> EnvOption {
    option("forward_reward_weight", Number(default), "weight of the forward speed in m/s")
}

pub(super) const fn ctrl_cost_weight(default: f64) -> EnvOption {
    option("ctrl_cost_weight", Number(default), "weight of the sum of squared actions")
}

pub(super) const fn healthy_reward(default: f64) -> EnvOption {
    option("healthy_reward", Number(default), "paid for every step that ends healthy")
}

pub(super) const TERMINATE_WHEN_UNHEALTHY: EnvOption =
    option("terminate_when_unhealthy", Flag(true), "whether being unhealthy ends the episode");

pub(super) const fn healthy_z_range(low: f64, high: f64) -> EnvOption {
    option("healthy_z_range", Range(low, high), "heights of the torso that are healthy, in m")
}

pub(super) const fn healthy_angle_range(low: f64, high: f64) -> EnvOption {
    option("healthy_angle_range", Range(low, high), "tilts of the torso that are healthy, in rad")
}

pub(super) const fn reset_noise_scale(default: f64) -> EnvOption {
    option("reset_noise_scale", Number(default), "size of the random part of the start state")
        .limited(Limit::NotNegative)
}

pub(super) const EXCLUDE_CURRENT_POSITIONS: EnvOption = option(
    "exclude_current_positions_from_observation",
    Flag(true),
    "whether the horizontal position is left out of the observation",
);

pub(super) const INCLUDE_CFRC_EXT: EnvOption =
    option("include_cfrc_ext_in_observation", Flag(true), "whether contact forces are observed");

/// How many of `count` horizontal positions the observation leaves out.
pub(super) fn hidden_positions(options: &Options, count: usize) -> usize {
    if options.flag(EXCLUDE_CURRENT_POSITIONS.name) { count } else { 0 }
}

/// What being healthy pays, and whether the opposite ends the episode.
pub(super) struct Health {
    reward: f64,
    end: End,
}

impl Health {
    pub(super) fn new(options: &Options) -> Self {
        let terminates = options.flag(TERMINATE_WHEN_UNHEALTHY.name);
        let end = if terminates { End::Terminated } else { End::Running };
        Self { reward: options.number("healthy_reward"), end }
    }

    /// Whether being unhealthy ends an episode.
    pub(super) fn terminates(&self) -> bool {
        self.end.is_over()
    }

    /// A step that pays `reward` besides; v5 pays for health only while healthy.
    pub(super) fn judge(&self, healthy: bool, reward: f64) -> Step {
        if healthy {
            Step { reward: reward + self.reward, end: End::Running }
        } else {
            Step { reward, end: self.end }
        }
    }
}

/// Whether `x` lies strictly between the ends.
pub(super) fn inside(x: f64, (low, high): (f64, f64)) -> bool {
    low < x && x < high
}
