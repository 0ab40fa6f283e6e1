//! An update of TD-MPC as a program: what `update_v1.rs` says, with its gradients written out.

use super::super::adam::BETAS;
use super::super::losses::SEQUENCE_LOSS_CAP;
use super::dynamics::{Motion, Sequences};
use super::orders::{After, Cell, Kernel, Matrix, Program, bits, ints};
use super::places::Places;
use crate::config::LearnerConfig;
use crate::replay::Batch;

/// Blocks that add up squares of gradients.
const SQUARES: usize = 128;

/// Sizes of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// B
    pub batch: usize,
    /// H
    pub horizon: usize,
    /// O
    pub observation: usize,
    /// A
    pub action: usize,
    /// D
    pub latent: usize,
}

/// An update as launches, and where things lie in their array.
#[derive(Clone, Debug)]
pub(super) struct UpdateProgram {
    pub program: Program,
    pub sizes: Sizes,
    /// Where copies of all parameters begin: the online ones, the slow ones, gradients, and both moments.
    pub online: usize,
    pub slow: usize,
    pub moments: [usize; 2],
    pub input: Inputs,
    /// Priorities `[B]`, then total loss, consistency, reward, value, policy loss and the gradient's norm, then what `Trust`
    /// observes `[4·H]`.
    pub output: Matrix,
}

/// Everything that is new in an update, one behind the other. Rows are ordered by step, then by sequence.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    /// Corrections of Adam's moments for the model and the policy, the range of values, and the step of the slow networks.
    settings: Matrix,
    observations: Matrix,
    actions: Matrix,
    rewards: Matrix,
    terminated: Matrix,
    mask: Matrix,
    importance: Matrix,
    target_noise: Matrix,
    policy_noise: Matrix,
}

/// Numbers that change from update to update.
pub(super) struct Settings {
    /// Of model and policy: 1 − β^t of both moments.
    pub corrections: [[f32; 2]; 2],
    pub value_range: Option<[f64; 2]>,
    /// 0 if the slow networks stay.
    pub rate: f32,
}

impl Inputs {
    fn new(p: &mut Program, s: Sizes) -> Self {
        let (rows, all) = (s.batch * s.horizon, s.batch * (s.horizon + 1));
        Self {
            settings: p.room(1, 8),
            observations: p.room(all, s.observation),
            actions: p.room(rows, s.action),
            rewards: p.room(rows, 1),
            terminated: p.room(rows, 1),
            mask: p.room(rows, 1),
            importance: p.room(s.batch, 1),
            target_noise: p.room(rows, s.action),
            policy_noise: p.room(all, s.action),
        }
    }

    /// How many numbers they are.
    pub fn count(&self) -> usize {
        self.policy_noise.at + self.policy_noise.numbers()
    }

    /// Writes them. Noise is `[B·H, A]` and `[B·(H + 1), A]`, ordered by sequence as the batch is.
    pub fn write(&self, settings: &Settings, batch: &Batch, noise: [&[f32]; 2], to: &mut [f32]) {
        let [model, policy] = settings.corrections;
        let [low, high] = settings.value_range.map_or([f32::MIN, f32::MAX], |range| range.map(|x| x as f32));
        let numbers = [model[0], model[1], policy[0], policy[1], low, high, settings.rate, 0.0];
        to[self.settings.at..][..8].copy_from_slice(&numbers);
        to[self.importance.at..][..batch.size].copy_from_slice(&batch.weights);
        // from [B, steps, width] to [steps, B, width]
        let mut by_step = |place: Matrix, from: &[f32]| {
            let (width, steps) = (place.columns, place.rows / batch.size);
            let to = &mut to[place.at..][..place.numbers()];
            for (b, sequence) in from.chunks_exact(steps * width).enumerate() {
                for (t, numbers) in sequence.chunks_exact(width).enumerate() {
                    to[(t * batch.size + b) * width..][..width].copy_from_slice(numbers);
                }
            }
        };
        by_step(self.observations, &batch.observations);
        by_step(self.actions, &batch.actions);
        by_step(self.rewards, &batch.rewards);
        by_step(self.terminated, &batch.terminated);
        by_step(self.mask, &batch.mask);
        by_step(self.target_noise, noise[0]);
        by_step(self.policy_noise, noise[1]);
    }
}

impl UpdateProgram {
    /// Of networks at `places`; `None` if they are not TD-MPC's, or there are more numbers than kernels can count.
    pub fn new(config: &LearnerConfig, places: &Places, sizes: Sizes) -> Option<Self> {
        let mut p = Program::default();
        let input = Inputs::new(&mut p, sizes);
        let output = p.room(1, sizes.batch + 6 + 4 * sizes.horizon);
        let mut copy = || p.room(1, places.count()).at;
        let [online, slow, gradients, first, second] = [(); 5].map(|()| copy());
        let building = Building {
            config,
            places,
            sizes,
            online,
            slow,
            shift: gradients - online,
            moments: [first, second],
            input: input.clone(),
            output: output.at,
        };
        building.write(&mut p)?;
        if p.numbers > i32::MAX as usize {
            return None;
        }
        Some(Self { program: p, sizes, online, slow, moments: [first, second], input, output })
    }
}

struct Building<'a> {
    config: &'a LearnerConfig,
    places: &'a Places,
    sizes: Sizes,
    online: usize,
    slow: usize,
    /// From a parameter to its gradient.
    shift: usize,
    moments: [usize; 2],
    input: Inputs,
    output: usize,
}

impl Building<'_> {
    fn write(&self, p: &mut Program) -> Option<()> {
        let Sizes { batch, horizon, action, latent, .. } = self.sizes;
        let (rows, input, shift) = (batch * horizon, &self.input, self.shift);
        let all = rows + batch;
        let za = p.aligned_room(all, latent + action);
        let z = za.columns(0, latent);
        let next = p.aligned_room(rows, latent + action);
        let targets = p.room(rows, latent);

        // what there is to predict
        let encoder = self.places.network(self.online, "encoder");
        let first = p.run(&encoder, input.observations.rows(0, batch));
        let later = p.run(&encoder, input.observations.rows(batch, rows));
        let slow = self.places.network(self.slow, "encoder");
        let slow = p.run(&slow, input.observations.rows(batch, rows));
        p.forward(&[
            (&first, z.rows(0, batch), After::Nothing),
            (&later, next.columns(0, latent), After::Nothing),
            (&slow, targets, After::Nothing),
        ]);
        let policy = self.places.network(self.online, "policy");
        let acting = p.run(&policy, next.columns(0, latent));
        let said = p.room(rows, action);
        p.forward(&[(&acting, said, After::Tanh)]);
        p.cells(next.columns(latent, action), Cell::Act(said, input.target_noise));
        p.cells(za.rows(0, rows).columns(latent, action), Cell::Copy(input.actions));
        p.launch();
        let valued = p.critics(&self.places.critics(self.slow)?, next);
        p.forward_critics(&valued, &[]);
        let values = p.room(rows, 1);
        let mut order = ints([valued[0].q.at, valued[1].q.at, input.rewards.at, input.terminated.at]);
        order.extend(ints([values.at, rows, input.settings.at + 4]));
        order.push(bits(self.config.discount));
        p.order(Kernel::TdTargets, rows.div_ceil(256), order);
        p.launch();

        // predictions
        let motion = Motion::of(self.places, self.online, latent)?;
        let sequences = Sequences { batch, horizon, za, latent };
        let rolled = motion.roll_out(p, sequences);
        let reward = p.run(&self.places.network(self.online, "reward"), za.rows(0, rows));
        let critics = self.places.critics(self.online)?;
        let judged = p.critics(&critics, za.rows(0, rows));
        let predicted = p.room(rows, 1);
        p.forward_critics(&judged, &[(&reward, predicted, After::Nothing)]);

        // losses and their gradients
        let d = p.room(all, latent);
        let [d_reward, d_q1, d_q2] = [(); 3].map(|()| p.room(rows, 1));
        let losses = self.sequences(
            p,
            z,
            targets,
            d,
            [predicted, d_reward],
            [judged[0].q, judged[1].q, values, d_q1, d_q2],
        );
        let (backs, of_reward) = p.backward_critics(&judged, [d_q1, d_q2], &[(&reward, d_reward)]);
        let of_reward = &of_reward[0];
        let through = [(); 3].map(|()| p.room(rows, latent));
        let latents_of = |layer: super::places::Layer| super::places::Layer {
            weight: layer.weight.rows(0, latent),
            ..layer
        };
        p.back(latents_of(reward.layers[0]), of_reward[0], through[0], After::Nothing);
        for i in 0..2 {
            p.back(latents_of(critics[i].input), backs[i].input, through[1 + i], After::Nothing);
        }
        p.launch();
        p.cells(d.rows(0, rows), Cell::Join(through));
        p.launch();
        motion.back(p, &rolled, sequences, d, shift);
        p.gradients(&reward, of_reward, shift);
        for (run, back) in judged.iter().zip(&backs) {
            p.critic_gradients(run, back, shift);
        }
        p.launch();
        let of_encoder = p.backward(&[(&first, d.rows(0, batch))]).remove(0);
        p.gradients(&first, &of_encoder, shift);
        p.launch();
        for (run, back) in judged.iter().zip(&backs) {
            p.norm_gradients(run, back, shift);
        }
        p.launch();
        let [of_encoder, of_model, of_policy, _] = self.places.counts;
        let c = self.config;
        let encoder_rate = c.learning_rate * c.encoder_rate_scale;
        let rates = [(0, of_encoder, encoder_rate), (of_encoder, of_model, c.learning_rate)];
        self.adam(p, &rates, c.adam_epsilon, 0, self.output + batch + 5);

        // the policy climbs the critics, as they are now
        let climbing = p.run(&policy, z);
        let said = p.room(all, action);
        p.forward(&[(&climbing, said, After::Tanh)]);
        p.cells(za.columns(latent, action), Cell::Act(said, input.policy_noise));
        p.launch();
        let judged = p.critics(&critics, za);
        p.forward_critics(&judged, &[]);
        let [d_q1, d_q2, of_policy_loss] = [(); 3].map(|()| p.room(all, 1));
        // no row has a gradient through both
        let lists = [(); 2].map(|()| p.room(1, all + 1).at);
        let mut order = ints([judged[0].q.at, judged[1].q.at, input.mask.at, input.terminated.at]);
        order.extend(ints([d_q1.at, d_q2.at, of_policy_loss.at, batch, all, lists[0], lists[1]]));
        order.push(bits(c.rho));
        p.order(Kernel::Climb, all.div_ceil(256), order);
        p.launch();
        let [first, second] = judged;
        let judged = [first.among(lists[0]), second.among(lists[1])];
        let (backs, _) = p.backward_critics(&judged, [d_q1, d_q2], &[]);
        let of_actions = [(); 2].map(|()| p.room(all, action));
        for i in 0..2 {
            p.back_to_input(&judged[i], &backs[i], of_actions[i]);
        }
        p.launch();
        let d_said = p.room(all, action);
        p.cells(d_said, Cell::ActBack([of_actions[0], of_actions[1], said]));
        p.launch();
        let of_said = p.backward(&[(&climbing, d_said)]).remove(0);
        p.gradients(&climbing, &of_said, shift);
        p.launch();
        let from = of_encoder + of_model;
        let unread = p.room(1, 1).at;
        self.adam(p, &[(from, of_policy, c.policy_learning_rate)], c.policy_adam_epsilon, 2, unread);

        let count = self.places.count();
        let order = ints([self.slow, self.online, count, input.settings.at + 6]);
        p.order(Kernel::Follow, count.div_ceil(1024), order);
        p.launch();
        let mut order = ints([losses.at, input.importance.at, of_policy_loss.at, all, self.output + batch]);
        order.extend(ints([
            self.output + batch + 6,
            predicted.at,
            input.rewards.at,
            input.mask.at,
            batch,
            horizon,
        ]));
        order.extend([c.consistency_coef, c.reward_coef, c.value_coef].map(bits));
        p.order(Kernel::Summary, 1, order);
        p.launch();
        Some(())
    }

    /// Losses of all sequences: consistency, reward and value, `[3, B]`. Priorities are output.
    fn sequences(
        &self,
        p: &mut Program,
        z: Matrix,
        targets: Matrix,
        d: Matrix,
        [predicted, d_reward]: [Matrix; 2],
        critics: [Matrix; 5],
    ) -> Matrix {
        let Sizes { batch, horizon, latent, .. } = self.sizes;
        let (input, c) = (&self.input, self.config);
        let losses = p.room(3, batch);
        let mut order = ints([z.at, z.stride, targets.at, d.at, predicted.at, input.rewards.at, d_reward.at]);
        order.extend(ints(critics.map(|m| m.at)));
        order.extend(ints([
            input.mask.at,
            input.importance.at,
            self.output,
            losses.at,
            batch,
            horizon,
            latent,
        ]));
        let cap = f64::from(SEQUENCE_LOSS_CAP);
        order.extend([c.consistency_coef, c.reward_coef, c.value_coef, c.rho, cap].map(bits));
        p.order(Kernel::Sequences, batch.div_ceil(4), order);
        p.launch();
        losses
    }

    /// A step of parameters `from` … `from + count`, each part at its rate; their norm goes to `norm`.
    fn adam(
        &self,
        p: &mut Program,
        parts: &[(usize, usize, f64)],
        epsilon: f64,
        settings: usize,
        norm: usize,
    ) {
        let (from, count) = (parts[0].0, parts.iter().map(|part| part.1).sum::<usize>());
        let squares = p.room(1, SQUARES).at;
        let order = ints([self.online + from + self.shift, count, squares, SQUARES]);
        p.order(Kernel::Squares, SQUARES, order);
        p.launch();
        for &(from, count, rate) in parts {
            let x = self.online + from;
            let [first, second] = self.moments.map(|at| at + from);
            let mut order = ints([x, x + self.shift, first, second, count, squares, SQUARES, norm]);
            order.extend(ints([self.input.settings.at + settings]));
            order.extend([rate, epsilon, self.config.max_gradient_norm, BETAS[0], BETAS[1]].map(bits));
            p.order(Kernel::Adam, count.div_ceil(1024), order);
        }
        p.launch();
    }
}
