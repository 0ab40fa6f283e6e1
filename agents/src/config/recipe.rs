//! The two recipes, and what only one of them has.

use super::{AgentConfig, DynamicsKind, LearnerConfig, ModelConfig};
use crate::model::{Pick, Reduce};
use crate::rng::{PolicyNoise, Stream};
use serde::{Deserialize, Serialize};

/// Which agent: how its networks are built, and what they learn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// TD-MPC (Hansen et al. 2022, arXiv 2203.04955): plain networks, squared errors, a slow copy of everything.
    #[default]
    V1,
    /// TD-MPC2 (Hansen et al. 2024, arXiv 2310.16828): normalised networks, discrete regression, an ensemble of critics.
    V2,
}

/// Networks of [`Recipe::V2`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelV2Config {
    /// Critics of the ensemble; targets, plans and the policy ask two of them, drawn anew each time.
    pub critics: usize,
    /// Share of the numbers that dropout takes away in the first layer of every critic.
    pub critic_dropout: f64,
    /// Bins of the discrete regression of rewards and values.
    pub bins: usize,
    /// The first and the last bin, as symlog.
    pub bin_range: [f64; 2],
    /// What keeps latents in bounds.
    pub latent_norm: LatentNorm,
    /// Numbers of a group of SimNorm.
    pub simnorm_group: usize,
    /// Standard deviation of the initial weights.
    pub init_std: f64,
    /// Bounds of the logarithm of the policy's standard deviation.
    pub log_std_range: [f64; 2],
}

/// What keeps the latents of [`Recipe::V2`] in bounds.
///
/// The encoder's output is normalised, and with it what the dynamics predict, but for Koopman dynamics: those are linear,
/// and predict a latent as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatentNorm {
    /// `rms` for Koopman dynamics, `simnorm` for all others.
    Auto,
    /// Nothing.
    None,
    /// LayerNorm and softmax within groups: published.
    Simnorm,
    /// z / RMS(z): a sphere of radius √D, along which rotations of the modes lead.
    Rms,
}

/// What keeps TD targets in bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ValueBounds {
    /// Nothing: published.
    #[default]
    None,
    /// The rewards of the replay: no value is above what the largest of them adds up to when it is earned for ever, none
    /// below what the smallest adds up to.
    Rewards,
}

impl LearnerConfig {
    /// The least and the largest value there can be, where rewards lie between two numbers around 0.
    pub fn value_range(&self, [low, high]: [f32; 2]) -> Option<[f64; 2]> {
        let steps = 1.0 / (1.0 - self.discount);
        // nothing stays nothing however often it is earned: with γ = 1 that would be 0·∞
        let for_ever = |reward: f32| f64::from(reward) * if reward == 0.0 { 1.0 } else { steps };
        match self.value_bounds {
            ValueBounds::None => None,
            ValueBounds::Rewards => Some([for_ever(low), for_ever(high)]),
        }
    }
}

/// Whether the model predicts that an episode goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Continuation {
    /// Where the task can terminate; who knows the task decides (an agent built with this has none).
    Auto,
    /// It does.
    On,
    /// Every episode is taken to go on.
    Off,
}

/// Where γ comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscountRule {
    /// From `discount`.
    Fixed,
    /// From the length of an episode: TD-MPC2's heuristic, see [`LearnerConfig::discount_over`].
    Episode,
}

/// Numbers of [`DiscountRule::Episode`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeDiscount {
    /// The effective horizon 1/(1 − γ) is this share of an episode: one in so many.
    pub divisor: f64,
    /// Bounds of γ.
    pub range: [f64; 2],
}

/// Losses of [`Recipe::V2`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerV2Config {
    /// Weight of the entropy in the policy loss, whose values are divided by their running scale.
    pub entropy_coef: f64,
    /// Step of that scale towards P95 − P5 of a batch of values.
    pub scale_rate: f64,
}

impl ModelConfig {
    /// What keeps latents in bounds, decided: never `auto`.
    pub fn latent_norm(&self) -> LatentNorm {
        match (self.recipe, self.v2.latent_norm, self.dynamics) {
            (Recipe::V1, ..) => LatentNorm::None,
            (_, LatentNorm::Auto, DynamicsKind::Koopman) => LatentNorm::Rms,
            (_, LatentNorm::Auto, _) => LatentNorm::Simnorm,
            (_, chosen, _) => chosen,
        }
    }

    /// Critics of the ensemble.
    pub fn critics(&self) -> usize {
        match self.recipe {
            Recipe::V1 => 2,
            Recipe::V2 => self.v2.critics,
        }
    }
}

impl ModelConfig {
    /// Which critics value the plans of environments with these random streams: one pick for all, or one each.
    pub fn plan_picks(&self, streams: &mut [Stream]) -> Vec<Pick> {
        match self.recipe {
            Recipe::V1 => vec![Pick::SMALLER],
            Recipe::V2 => {
                streams.iter_mut().map(|stream| Pick::draw(self.critics(), Reduce::Mean, stream)).collect()
            }
        }
    }
}

impl AgentConfig {
    /// The policy's noise in targets, rollouts and plans.
    pub fn policy_noise(&self) -> PolicyNoise {
        match self.model.recipe {
            Recipe::V1 => PolicyNoise::Clipped { std: self.learner.policy_std },
            Recipe::V2 => PolicyNoise::Standard,
        }
    }
}

impl LearnerConfig {
    /// γ for episodes of so many decisions. With the rule `episode` that is 1 − divisor/decisions, within its range:
    /// TD-MPC2's heuristic.
    pub fn discount_over(&self, decisions: usize) -> f64 {
        match self.discount_rule {
            DiscountRule::Fixed => self.discount,
            DiscountRule::Episode => {
                let EpisodeDiscount { divisor, range: [low, high] } = self.episode_discount;
                (1.0 - divisor / decisions as f64).clamp(low, high)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tiny;
    use super::*;

    /// The published pairs: DMControl's 500 decisions, Gymnasium's 1000, and short episodes.
    #[test]
    fn the_discount_follows_the_length_of_an_episode() {
        let mut learner = tiny(DynamicsKind::Mlp).learner;
        assert_eq!(learner.discount_over(500), learner.discount);
        learner.discount_rule = DiscountRule::Episode;
        for (decisions, discount) in [(500, 0.99), (1000, 0.995), (200, 0.975), (100, 0.95), (3, 0.95)] {
            assert!((learner.discount_over(decisions) - discount).abs() < 1e-12, "{decisions}");
        }
    }

    /// Without a discount rewards that never fall below 0 made the lower bound 0·∞, not a number.
    #[test]
    fn values_are_bounded_without_a_discount_too() {
        let mut learner = tiny(DynamicsKind::Mlp).learner;
        assert_eq!(learner.value_range([0.0, 1.0]), None);
        (learner.value_bounds, learner.discount) = (ValueBounds::Rewards, 0.5);
        assert_eq!(learner.value_range([-1.0, 3.0]), Some([-2.0, 6.0]));
        learner.discount = 1.0;
        assert_eq!(learner.value_range([0.0, 1.0]), Some([0.0, f64::INFINITY]));
    }

    #[test]
    fn only_koopman_latents_stay_off_the_simplex() {
        let norm = |recipe, dynamics| {
            let mut model = tiny(dynamics).model;
            model.recipe = recipe;
            model.latent_norm()
        };
        assert_eq!(norm(Recipe::V2, DynamicsKind::Koopman), LatentNorm::Rms);
        assert_eq!(norm(Recipe::V2, DynamicsKind::Gru), LatentNorm::Simnorm);
        assert_eq!(norm(Recipe::V1, DynamicsKind::Mlp), LatentNorm::None);
    }
}
