//! Noise that is drawn on the device.

use super::*;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Numbers of each kind, and of how many an environment.
const KINDS: [(c_int, usize); 3] = [(0, 40_000), (1, 30_001), (2, 40_002)];
const POLICY_STD: f32 = 0.1;

/// Compiled once: noise is the same whatever the networks are.
static RUN: LazyLock<Mutex<Run>> = LazyLock::new(|| {
    let (_, parts) = networks(Heads::Random, TASK, &config(DynamicsKind::Mlp));
    let layout = Layout::new(&parts, Precision::F32).expect("narrow networks");
    Mutex::new(compile(&layout, Tiles::ONE, SMALL, Factors::Whole))
});

/// What `draw` writes for some environments: by segment, then by environment.
fn draw(seeds: &[[u32; 2]]) -> Vec<Vec<Vec<f32>>> {
    let run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut from = 0;
    let mut segments = vec![];
    for (kind, count) in KINDS {
        segments.push([from as c_int, count as c_int, kind]);
        from += seeds.len() * count;
    }
    let std = POLICY_STD;
    // what is not written stays NaN
    let mut noise = vec![f32::NAN; from];
    let pointers: [*const c_void; 4] = [
        seeds.as_ptr().cast(),
        segments.as_ptr().cast(),
        (&raw const std).cast(),
        noise.as_mut_ptr().cast_const().cast(),
    ];
    let arguments = [KINDS.len() as i32, seeds.len() as i32];
    // SAFETY: what the kernel declares, of the sizes that it goes over.
    unsafe { run(7, 3, 64, 0, pointers.as_ptr(), arguments.as_ptr()) };
    let of = |[from, count, _]: &[c_int; 3]| {
        let all = &noise[*from as usize..][..seeds.len() * *count as usize];
        all.chunks(*count as usize).map(<[f32]>::to_vec).collect()
    };
    segments.iter().map(of).collect()
}

/// Mean and variance.
fn moments(numbers: &[f32]) -> (f64, f64) {
    let mean =
        |f: &dyn Fn(f64) -> f64| numbers.iter().map(|x| f(f64::from(*x))).sum::<f64>() / numbers.len() as f64;
    let centre = mean(&|x| x);
    (centre, mean(&|x| (x - centre).powi(2)))
}

/// Of counter and key zero Philox 4x32-10 gives 6627e8d5 e169c58d bc57ac4c 9b00dbd8 (Random123, `kat_vectors`).
#[test]
fn numbers_are_philox_through_box_muller() {
    let drawn = draw(&[[0, 0]]);
    let unit = |word: u32| (f64::from(word >> 8) + 1.0) / f64::from(1 << 24);
    let pair = |radius: u32, turn: u32| {
        let (r, t) = ((-2.0 * unit(radius).ln()).sqrt(), std::f64::consts::TAU * unit(turn));
        [r * t.sin(), r * t.cos()]
    };
    let known = [pair(0x6627_e8d5, 0xe169_c58d), pair(0xbc57_ac4c, 0x9b00_dbd8)].concat();
    for (found, known) in drawn[0][0].iter().zip(known) {
        assert!((f64::from(*found) - known).abs() < 1e-5, "{found} instead of {known}");
    }
}

/// Each kind has its mean and variance, and an environment the same numbers whoever else there is.
#[test]
fn noise_is_of_its_kind_and_of_its_environment() {
    let seeds = [[1, 2], [3, 4], [1, 5]];
    let drawn = draw(&seeds);
    let euler = 0.577_215_664_901_532_9;
    let gumbel = std::f64::consts::PI.powi(2) / 6.0;
    let policy = f64::from(POLICY_STD).powi(2);
    // the policy's are cut off at three standard deviations
    for (segment, (mean, variance)) in drawn.iter().zip([(0.0, 1.0), (0.0, 0.995 * policy), (euler, gumbel)])
    {
        for numbers in segment {
            let (m, v) = moments(numbers);
            let error = (variance / numbers.len() as f64).sqrt();
            assert!((m - mean).abs() < 4.0 * error, "mean {m} instead of {mean}");
            assert!((v - variance).abs() < 0.05 * variance, "variance {v} instead of {variance}");
        }
        assert!(segment[0] != segment[1] && segment[0] != segment[2]);
    }
    for (i, seed) in seeds.into_iter().enumerate() {
        let alone = draw(&[seed]);
        assert!((0..KINDS.len()).all(|kind| alone[kind][0] == drawn[kind][i]), "environment {i}");
    }
}
