//! The matrix products of a plan and of an update, counted: the floor that timings are held against.
//!
//! Element-wise work, sampling and sorting are not counted; they are what separates a timing from its floor.

use crate::config::{
    AgentConfig, Conditioning, Continuation, DepthWeights, DynamicsKind, ModelConfig, PlannerConfig, Recipe,
};
use crate::model::{Codec, Parameters, Returns, dynamics::MlpDynamics};
use crate::planner::Budget;
use crate::rng::Stream;
use burn::prelude::*;

/// Multiply-adds of the networks for one row.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rows {
    encoder: f64,
    /// What a rollout of the dynamics begins with.
    begin: f64,
    /// One step of the dynamics, without its gate and without attention.
    step: f64,
    /// One token looking at another one.
    attention: f64,
    /// The gate of a step.
    gate: f64,
    /// What precedes the rollout for one step (the action encoder).
    action: f64,
    reward: f64,
    policy: f64,
    /// One critic.
    critic: f64,
    /// Whether a latent is followed by others.
    continuation: f64,
}

fn mlp(sizes: impl IntoIterator<Item = usize>) -> f64 {
    let sizes: Vec<f64> = sizes.into_iter().map(|n| n as f64).collect();
    sizes.windows(2).map(|w| w[0] * w[1]).sum()
}

/// What the dynamics contribute to [`Rows`]: begin, step, attention, gate, action.
fn dynamics(model: &ModelConfig, actions: usize) -> [f64; 5] {
    let d = model.latent_dim;
    match model.dynamics {
        DynamicsKind::Mlp => [0.0, mlp(MlpDynamics::sizes(model, actions)), 0.0, 0.0, 0.0],
        DynamicsKind::Koopman => {
            let control = &model.koopman.control;
            let l = control.encoded_dim;
            // held between conditionings
            let gate = control.gate_sizes(d).map_or(0.0, mlp) / control.recondition_every as f64;
            let remainder = &model.koopman.remainder;
            let modulation = if remainder.modulation > 0.0 { mlp([d, d / 2]) } else { 0.0 };
            let correction = mlp([d, remainder.correction_hidden, d]);
            // the diagonal recurrence is four real multiply-adds a mode
            let step = (l * d + 2 * d) as f64 + modulation + correction;
            [0.0, step, 0.0, gate, mlp(control.encoder_sizes(actions))]
        }
        DynamicsKind::Gru => {
            let (w, layers) = (model.gru.hidden_dim, model.gru.layers as f64);
            let start = if d == w { 0.0 } else { mlp([d, w]) };
            let step = mlp([actions + w, 3 * w]) + (layers - 1.0) * mlp([2 * w, 3 * w]) + mlp([w, d]);
            [layers * start, step, 0.0, 0.0, 0.0]
        }
        DynamicsKind::Transformer => {
            let c = &model.transformer;
            let (w, layers) = (c.width, c.layers as f64);
            let token = layers * (mlp([w, 3 * w]) + mlp([w, w]) + mlp([w, c.feed_forward, w]));
            // a score and a share of the mixture, each over all heads together; the token of z_0 sees itself
            let attention = layers * 2.0 * w as f64;
            [mlp([d, w]) + token + attention, mlp([actions, w]) + token + mlp([w, d]), attention, 0.0, 0.0]
        }
        DynamicsKind::Dssm => {
            let (w, s, layers) = (model.dssm.width, 2 * model.dssm.modes, model.dssm.layers as f64);
            let step = mlp([actions, w]) + layers * (mlp([w, s, w, w]) + 2.0 * s as f64) + mlp([w, d]);
            [layers * mlp([d, s]), step, 0.0, 0.0, 0.0]
        }
    }
}

impl Rows {
    fn new(model: &ModelConfig, observations: usize, actions: usize) -> Self {
        let (d, w) = (model.latent_dim, model.hidden_dim);
        let [begin, step, attention, gate, action] = dynamics(&model.matched(actions), actions);
        let outputs = Codec::of(model).outputs();
        let policy = match model.recipe {
            Recipe::V1 => actions,
            Recipe::V2 => 2 * actions,
        };
        let continuation = match model.continuation {
            Continuation::On => mlp([d, w, w, 1]),
            Continuation::Auto | Continuation::Off => 0.0,
        };
        let encoder = [observations].into_iter().chain(model.encoder_hidden.iter().copied()).chain([d]);
        Self {
            encoder: mlp(encoder),
            begin,
            step,
            attention,
            gate,
            action,
            reward: mlp([d + actions, w, w, outputs]),
            policy: mlp([d, w, w, policy]),
            critic: mlp([d + actions, w, w, outputs]),
            continuation,
        }
    }

    /// A rollout over `steps`, without gates.
    fn rollout(&self, steps: f64) -> f64 {
        // the token of a_t sees those of z_0 and of t + 1 actions; what a mask hides is not needed
        let pairs = steps * (steps + 3.0) / 2.0;
        self.begin + steps * (self.step + self.action) + pairs * self.attention
    }
}

/// Floating-point operations (two per multiply-add) of one plan for `environments` environments.
pub fn plan_flops(
    config: &AgentConfig,
    observations: usize,
    actions: usize,
    horizon: usize,
    environments: usize,
) -> f64 {
    let r = Rows::new(&config.model, observations, actions);
    let budget = Budget::new(&config.planner);
    let (p, h) = (budget.proposed as f64, horizon as f64);
    // shared gates are computed for one row an iteration: not counted
    let (gates, again) = match config.model.koopman.control.while_planning() {
        Conditioning::Along => (r.gate, 0),
        Conditioning::Start | Conditioning::Nominal => (0.0, config.planner.rescored * budget.scored.len()),
    };
    // two critics value an end, of however many; or every depth
    let depths = match config.planner.depth_weights {
        DepthWeights::Lambda => Returns::lambda(1.0, config.planner.depth_lambda).depths(horizon) as f64,
        DepthWeights::Measured => h,
    };
    let score = r.rollout(h) + h * (gates + r.reward + r.continuation) + depths * (r.policy + 2.0 * r.critic);
    let second_look = again as f64 * (score + h * r.gate);
    let proposals = p * (h * r.policy + r.rollout(h - 1.0) + (h - 1.0) * r.gate);
    // a gradient is a score, and one product of the same size backward: to the actions, not to the weights
    let rows = (budget.scores() + 2 * budget.gradients) as f64;
    2.0 * environments as f64 * (r.encoder + proposals + rows * score + second_look)
}

/// Floating-point operations of one update.
pub fn update_flops(config: &AgentConfig, observations: usize, actions: usize) -> f64 {
    let r = Rows::new(&config.model, observations, actions);
    let (b, h) = (config.learner.batch_size as f64, config.learner.horizon as f64);
    // the first recipe encodes by the slow encoder as well
    let encoders = match config.model.recipe {
        Recipe::V1 => 2.0,
        Recipe::V2 => 1.0,
    };
    let targets = b * h * (encoders * r.encoder + r.policy + 2.0 * r.critic);
    let heads = r.reward + config.model.critics() as f64 * r.critic + r.continuation;
    // forward, and two products of the same size backward
    let model = 3.0 * b * (r.encoder + r.rollout(h) + h * (r.gate + heads));
    // through the frozen critics only the gradient for the action is needed: one product backward. The first recipe's goes through the
    // smaller value of each row, the second's through the mean
    let critics = match config.model.recipe {
        Recipe::V1 => 2.0 + 1.0,
        Recipe::V2 => 2.0 + 2.0,
    };
    let policy = b * (h + 1.0) * (3.0 * r.policy + critics * r.critic);
    2.0 * (targets + model + policy)
}

/// Floating-point operations of one iteration of a [`Trial`](crate::predictor::Trial) of `sizes` = `[B, T, S, A]`,
/// whose backward pass costs twice the forward one.
pub fn iteration_flops(config: &ModelConfig, sizes: [usize; 4]) -> f64 {
    let [batch, horizon, states, actions] = sizes;
    let r = Rows::new(config, states, actions);
    let ends = if config.latent_dim == states { 0.0 } else { mlp([states, config.latent_dim]) };
    let horizon = horizon as f64;
    6.0 * batch as f64 * (r.rollout(horizon) + horizon * (r.gate + ends) + ends)
}

/// Bytes that networks of these sizes take at least: weights, gradients and both moments of Adam.
pub fn model_bytes(model: &ModelConfig, observations: usize, actions: usize) -> f64 {
    16.0 * Parameters::of(model, observations, actions).total as f64
}

/// Bytes that a plan for `environments` environments takes at least: its noise, drawn beforehand.
pub fn plan_bytes(planner: &PlannerConfig, actions: usize, environments: usize) -> f64 {
    let (budget, horizon) = (Budget::new(planner), planner.horizon.start.max(planner.horizon.end));
    let sequences = (budget.sampled.iter().sum::<usize>() + budget.proposed) as f64;
    let tails = (budget.scored.iter().sum::<usize>() + budget.proposed) as f64;
    4.0 * environments as f64 * (sequences * horizon + tails) * actions as f64
}

/// Bytes that an update takes at least: its batch, and both hidden layers of reward and critics.
pub fn update_bytes(config: &AgentConfig, observations: usize, actions: usize) -> f64 {
    let (b, h) = (config.learner.batch_size as f64, config.learner.horizon as f64);
    let heads = 1 + config.model.critics();
    4.0 * b * h * (observations + actions + 2 * heads * config.model.hidden_dim) as f64
}

/// A large square matrix product to measure a device with.
pub struct Product(Tensor<2>, Tensor<2>);

impl Product {
    /// Floating-point operations of one product.
    pub fn flops(&self) -> f64 {
        2.0 * (self.0.dims()[0] as f64).powi(3)
    }

    /// Two random matrices on `device`.
    pub fn new(device: &Device) -> Self {
        // large enough for the device to be busy, not waiting
        let size = if crate::device::is_cpu(device) { 1024 } else { 4096 };
        let matrix = |seed| {
            let numbers = Stream::new(seed, "product").normal(size * size);
            Tensor::from_data(TensorData::new(numbers, [size, size]), device)
        };
        Self(matrix(1), matrix(2))
    }

    /// Multiplies once and waits for the result.
    pub fn run(&self) {
        let product = self.0.clone().matmul(self.1.clone());
        // reading one number waits for the device
        let _: f32 = product.slice([0..1, 0..1]).into_scalar();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ControlForm, PlannerKind, tests::tiny};

    /// (1.2155·H + 1.747) MFLOP per candidate and iteration at TD-MPC v1's sizes, counted by hand from its layers.
    #[test]
    fn a_plan_of_tdmpc_v1_costs_what_its_layers_cost() {
        let mut config = tiny(DynamicsKind::Mlp);
        (config.model.latent_dim, config.model.hidden_dim, config.model.encoder_hidden) =
            (50, 512, vec![256]);
        let planner = &mut config.planner;
        (planner.num_samples, planner.policy_fraction, planner.iterations) = (512, 0.0, 6);
        for horizon in [1, 5, 20] {
            let expected = (1.2155 * horizon as f64 + 1.747) * 1e6 * 512.0 * 6.0;
            let counted = plan_flops(&config, 17, 6, horizon, 1);
            assert!((counted / expected - 1.0).abs() < 1e-3, "{counted} instead of {expected}");
            assert_eq!(plan_flops(&config, 17, 6, horizon, 3), 3.0 * counted);
        }
    }

    /// Each planner against TD-MPC's in units of scored sequences, whose count is known from its budget.
    #[test]
    fn planners_cost_what_they_score_and_differentiate() {
        let flops = |kind| {
            let mut config = tiny(DynamicsKind::Mlp);
            let planner = &mut config.planner;
            (planner.kind, planner.num_samples, planner.iterations) = (kind, 4000, 6);
            (planner.policy_fraction, planner.num_elites) = (0.0, 10);
            (planner.icem.decay, planner.icem.keep_fraction) = (2.0, 0.0);
            plan_flops(&config, 17, 6, 5, 1)
        };
        let relative = |kind| flops(kind) / flops(PlannerKind::Mppi);
        assert_eq!(relative(PlannerKind::Cem), 1.0);
        assert_eq!(relative(PlannerKind::Mppi2), 1.0);
        assert!((relative(PlannerKind::Random) - 1.0 / 6.0).abs() < 1e-3);
        // 1 + 1/2 + … + 1/32 of six
        assert!((relative(PlannerKind::Icem) - 63.0 / 32.0 / 6.0).abs() < 1e-3);
        // three candidates, two gradients of twice the price and a last score; and the policy's two sequences
        let grad = relative(PlannerKind::Grad) * 24_000.0;
        assert!((15.0..18.0).contains(&grad), "{grad}");
        assert!(relative(PlannerKind::Policy) < relative(PlannerKind::Grad));
    }

    /// By hand: (56·512 + 512² + 512·50) multiply-adds a step of TD-MPC v1's MLP, six FLOP each in training.
    #[test]
    fn training_the_dynamics_costs_every_product_three_times() {
        let mut config = tiny(DynamicsKind::Mlp).model;
        (config.latent_dim, config.hidden_dim) = (50, 512);
        let products = 56.0 * 512.0 + 512.0 * 512.0 + 512.0 * 50.0;
        assert_eq!(iteration_flops(&config, [1, 1, 50, 6]), 6.0 * products);
        assert_eq!(iteration_flops(&config, [4, 7, 50, 6]), 28.0 * 6.0 * products);
    }

    /// By hand, at TD-MPC v1's sizes: 512 sequences of five steps.
    #[test]
    fn an_update_of_tdmpc_v1_costs_what_its_layers_cost() {
        let mut config = tiny(DynamicsKind::Mlp);
        (config.model.latent_dim, config.model.hidden_dim, config.model.encoder_hidden) =
            (50, 512, vec![256]);
        (config.learner.batch_size, config.learner.horizon) = (512, 5);
        let (encoder, step) = (17.0 * 256.0 + 256.0 * 50.0, 56.0 * 512.0 + 512.0 * 512.0 + 512.0 * 50.0);
        let (policy, head) =
            (50.0 * 512.0 + 512.0 * 512.0 + 512.0 * 6.0, 56.0 * 512.0 + 512.0 * 512.0 + 512.0);
        let targets = 2560.0 * (2.0 * encoder + policy + 2.0 * head);
        let model = 3.0 * (512.0 * encoder + 2560.0 * (step + 3.0 * head));
        let climb = 3072.0 * 3.0 * (policy + head);
        assert_eq!(update_flops(&config, 17, 6), 2.0 * (targets + model + climb));
    }

    #[test]
    fn koopman_steps_are_cheaper_and_gates_cost_something() {
        let mut config = tiny(DynamicsKind::Koopman);
        let gated = update_flops(&config, 17, 6);
        config.model.koopman.control.form = ControlForm::Additive;
        let additive = update_flops(&config, 17, 6);
        config.model.dynamics = DynamicsKind::Mlp;
        assert!(additive < gated && gated < update_flops(&config, 17, 6));
    }

    /// By hand, at a latent of 16, two actions and two layers of each; six FLOP per multiply-add in training.
    #[test]
    fn rollouts_with_a_memory_cost_what_their_layers_cost() {
        let flops = |dynamics, steps| iteration_flops(&tiny(dynamics).model, [1, steps, 16, 2]) / 6.0;
        let (start, gru) = (2.0 * 16.0 * 24.0, (26.0 + 48.0) * 72.0 + 24.0 * 16.0);
        assert_eq!(flops(DynamicsKind::Gru, 4), start + 4.0 * gru);
        let token = 2.0 * (16.0 * 48.0 + 16.0 * 16.0 + 2.0 * 16.0 * 32.0);
        let (first, other) = (16.0 * 16.0 + token, 2.0 * 16.0 + token + 16.0 * 16.0);
        // 1 + 2 + 3 + 4 + 5 pairs of tokens, two products of 16 numbers for each and in each layer
        assert_eq!(flops(DynamicsKind::Transformer, 4), first + 4.0 * other + 15.0 * 64.0);
        let layer = 3.0 * 16.0 * 16.0 + 4.0 * 8.0;
        let (start, dssm) = (2.0 * 16.0 * 16.0, 2.0 * 16.0 + 2.0 * layer + 16.0 * 16.0);
        assert_eq!(flops(DynamicsKind::Dssm, 4), start + 4.0 * dssm);
    }
}
