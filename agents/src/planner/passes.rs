//! Sampling and refitting on a CPU, with one pass over memory where tensors take one for every operation: between the scores of
//! two iterations there is nothing that a second thread could do, and some hundred operations of a microsecond each were a
//! seventh of a small plan. In the same order, so that tensors give the same bits.

use super::plan::upload;
use super::refit::{Chosen, Scored, WORST};
use crate::ops::contiguous_flex;
use crate::ops::simd::multiversion;
use burn::prelude::*;
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// Numbers that a thread samples at least.
const BLOCK: usize = 1 << 15;

/// The numbers of environment `e` of E.
fn of(t: &FlexTensor, e: usize, environments: usize) -> &[f32] {
    let size = t.layout().num_elements() / environments;
    &t.storage()[e * size..][..size]
}

/// See [`super::sample`].
pub(super) fn sample(mean: &Tensor<3>, std: &Tensor<3>, noise: Tensor<4>) -> Tensor<4> {
    let (shape @ [environments, _, horizon, action_dim], device) = (noise.dims(), noise.device());
    let row = horizon * action_dim;
    let [mean, std] = [mean, std].map(|t| contiguous_flex(t.clone()));
    let noise = contiguous_flex(noise);
    let mut actions = vec![0.0; shape.iter().product()];
    let size = actions.len() / environments;
    let block = (BLOCK / row).max(1) * row;
    for (e, actions) in actions.chunks_exact_mut(size).enumerate() {
        let (mean, std, noise) =
            (of(&mean, e, environments), of(&std, e, environments), of(&noise, e, environments));
        let blocks = actions.par_chunks_mut(block).zip(noise.par_chunks(block));
        blocks.for_each(|(actions, noise)| spread(mean, std, noise, actions));
    }
    upload(actions, shape, &device)
}

multiversion! {
    fn spread(mean: &[f32], std: &[f32], noise: &[f32], actions: &mut [f32]) {
        let row = mean.len();
        for (actions, noise) in actions.chunks_exact_mut(row).zip(noise.chunks_exact(row)) {
            for (((action, noise), mean), std) in actions.iter_mut().zip(noise).zip(mean).zip(std) {
                *action = (mean + std * noise).clamp(-1.0, 1.0);
            }
        }
    }
}

/// A score to compare by, see [`Scored::ranks`].
fn rank(score: f32) -> f32 {
    if score.is_finite() { score.clamp(WORST, -WORST) } else { WORST }
}

/// See [`Scored::bad`].
pub(super) fn bad(scores: &Tensor<2>) -> Tensor<1> {
    let (environments, device) = (scores.dims()[0], scores.device());
    let scores = contiguous_flex(scores.clone());
    let count = |e| of(&scores, e, environments).iter().filter(|score| !score.is_finite()).count() as f32;
    upload((0..environments).map(count).collect(), [environments], &device)
}

/// See [`Chosen::of`]; of equal scores the first comes first.
pub(super) fn choose(candidates: &[Scored], count: usize) -> Chosen {
    let ([environments, _, horizon, action_dim], device) =
        (candidates[0].actions.dims(), candidates[0].actions.device());
    let row = horizon * action_dim;
    let part = |part: &Scored| [contiguous_flex(part.actions.clone()), contiguous_flex(part.scores.clone())];
    let parts: Vec<_> = candidates.iter().map(part).collect();
    let mut best_actions = Vec::with_capacity(environments * count * row);
    let (mut best_scores, mut indices) = (Vec::new(), Vec::new());
    for e in 0..environments {
        let (mut ranked, mut sequences) = (Vec::new(), Vec::new());
        for [actions, scores] in &parts {
            let scores = of(scores, e, environments);
            ranked.extend(scores.iter().map(|score| rank(*score)).zip(ranked.len()..));
            sequences.extend(of(actions, e, environments).chunks_exact(row));
        }
        let first = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        if count < ranked.len() {
            ranked.select_nth_unstable_by(count, first);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by(first);
        for (score, index) in ranked {
            best_actions.extend_from_slice(sequences[index]);
            best_scores.push(score);
            indices.push(index as i64);
        }
    }
    Chosen {
        actions: upload(best_actions, [environments, count, horizon, action_dim], &device),
        scores: upload(best_scores, [environments, count], &device),
        indices: Tensor::from_data(TensorData::new(indices, [environments, count]), &device),
    }
}

/// See [`Elites::moments`](super::refit::Elites::moments): of `actions [E, K, H, A]` with `weights [E, K]`.
pub(super) fn moments(actions: &Tensor<4>, weights: &Tensor<2>) -> (Tensor<3>, Tensor<3>) {
    let ([environments, _, horizon, action_dim], device) = (actions.dims(), actions.device());
    let row = horizon * action_dim;
    let (actions, weights) = (contiguous_flex(actions.clone()), contiguous_flex(weights.clone()));
    let mut mean = vec![0.0; environments * row];
    let mut std = mean.clone();
    for (e, (mean, std)) in mean.chunks_exact_mut(row).zip(std.chunks_exact_mut(row)).enumerate() {
        weigh(of(&actions, e, environments), of(&weights, e, environments), mean, std);
    }
    let shape = [environments, horizon, action_dim];
    (upload(mean, shape, &device), upload(std, shape, &device))
}

multiversion! {
    /// Weighted mean and standard deviation of rows, to `mean` and `std`, which begin with zeros.
    fn weigh(actions: &[f32], weights: &[f32], mean: &mut [f32], std: &mut [f32]) {
        let row = mean.len();
        for (action, weight) in actions.chunks_exact(row).zip(weights) {
            for (mean, action) in mean.iter_mut().zip(action) {
                *mean += action * weight;
            }
        }
        for (action, weight) in actions.chunks_exact(row).zip(weights) {
            for ((std, mean), action) in std.iter_mut().zip(&*mean).zip(action) {
                *std += (action - mean) * (action - mean) * weight;
            }
        }
        std.iter_mut().for_each(|std| *std = std.sqrt());
    }
}

#[cfg(test)]
mod tests {
    use super::super::refit::{Elites, Weighting};
    use super::*;
    use crate::device::cpu;
    use crate::test_support::{normal, values};

    fn bits<const D: usize>(t: Tensor<D>) -> Vec<u32> {
        values(t).into_iter().map(f32::to_bits).collect()
    }

    /// More numbers than a block, and rows that no register divides.
    #[test]
    fn samples_are_those_of_tensors_bit_by_bit() {
        for shape @ [e, _, h, a] in [[1, 7, 5, 6], [3, 1000, 17, 3]] {
            let (mean, std) = (normal::<3>([e, h, a], 1), normal::<3>([e, h, a], 2).abs());
            let noise = normal::<4>(shape, 3);
            let expected = super::super::sample_tensors(&mean, &std, noise.clone());
            assert_eq!(bits(sample(&mean, &std, noise)), bits(expected));
        }
    }

    fn scored(scores: Vec<f32>, seed: u64) -> Scored {
        let shape = [1, scores.len()];
        Scored { actions: normal([1, shape[1], 5, 3], seed), scores: upload(scores, shape, &cpu()) }
    }

    /// Of one part or two, with scores that are no numbers, and beyond what counts.
    #[test]
    fn elites_and_their_moments_are_those_of_tensors_bit_by_bit() {
        for (e, n, count) in [(1, [9, 3], 12), (2, [128, 64], 64), (3, [50, 0], 1)] {
            let parts = n.into_iter().filter(|n| *n > 0).enumerate().map(|(part, n)| {
                let mut scores = values(normal::<2>([e, n], 4 + part as u64) * 10.0);
                (scores[1], scores[2]) = (f32::NAN, if part == 0 { f32::INFINITY } else { 1e38 });
                Scored { actions: normal([e, n, 5, 3], 5), scores: upload(scores, [e, n], &cpu()) }
            });
            let parts: Vec<_> = parts.collect();
            for part in &parts {
                assert_eq!(values(bad(&part.scores)), values(part.bad_tensors()));
            }
            let (found, expected) = (choose(&parts, count), Chosen::of_tensors(&parts, count));
            assert_eq!(bits(found.scores.clone()), bits(expected.scores.clone()));
            if count < n[0] + n[1] {
                // those that are no numbers are equal, and tensors have them in any order
                assert_eq!(bits(found.actions.clone()), bits(expected.actions.clone()));
                assert_eq!(values(found.indices.clone().float()), values(expected.indices.float()));
            }
            for weighting in [Weighting::Equal, Weighting::Softmax { temperature: 0.5 }] {
                let elites = Elites::new(weighting, found.clone());
                let ((mean, std), expected) = (elites.moments(), elites.moments_tensors());
                assert_eq!((bits(mean), bits(std)), (bits(expected.0), bits(expected.1)));
            }
        }
    }

    #[test]
    fn of_equal_scores_the_first_is_chosen() {
        let parts = [scored(vec![1.0, f32::NAN, 2.0, 1.0], 5), scored(vec![1.0, f32::NEG_INFINITY], 6)];
        for count in 1..=6 {
            let indices = values(choose(&parts, count).indices.float());
            assert_eq!(indices, [2.0, 0.0, 3.0, 4.0, 1.0, 5.0][..count]);
        }
        let (last, second) =
            (values(choose(&parts, 6).actions)[75..].to_vec(), values(parts[1].actions.clone()));
        assert_eq!(last, second[15..]);
    }
}
