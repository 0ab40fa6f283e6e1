//! Episodes start as those of the originals do: over many resets every entry of the state has the mean and the
//! standard deviation that `scripts/record_reference.py` found in Python. The random streams differ, so the
//! comparison is as sharp as 300 draws allow.
use std::path::Path;

use td_koopman_envs::{Entry, registry};

/// As many as in Python.
const RESETS: usize = 300;
/// Standard errors by which two correct samples may differ: with some thousand entries, 4 happens.
const ERRORS: f64 = 5.5;

struct Moments {
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

fn recorded(name: &str) -> Moments {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/{name}.starts.bin"));
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let numbers: Vec<f64> =
        bytes.chunks_exact(8).map(|number| f64::from_le_bytes(number.try_into().unwrap())).collect();
    let (mean, deviation) = numbers.split_at(numbers.len() / 2);
    Moments { mean: mean.to_vec(), deviation: deviation.to_vec() }
}

/// The states at the start of many episodes.
fn starts(entry: &Entry) -> Vec<Vec<f64>> {
    let mut env = registry::make(entry.name).unwrap();
    let mut observation = vec![0.0; env.spec().observation_dim];
    (0..RESETS as u64)
        .map(|seed| {
            env.reset(seed, &mut observation);
            let state = env.state().unwrap();
            [state.qpos, state.qvel, state.extra].concat()
        })
        .collect()
}

fn compare(entry: &Entry) {
    let (theirs, starts) = (recorded(entry.name), starts(entry));
    assert_eq!(starts[0].len(), theirs.mean.len(), "{}: size of the state", entry.name);
    let average = |values: &dyn Fn(&Vec<f64>) -> f64| starts.iter().map(values).sum::<f64>() / RESETS as f64;
    for place in 0..theirs.mean.len() {
        let mean = average(&|start| start[place]);
        let square = |start: &Vec<f64>| (start[place] - mean).powi(2);
        let variance = average(&square);
        let fourth = average(&|start| (square(start) - variance).powi(2));
        // standard errors of a difference between two samples of this size
        let error = (2.0 * variance.max(theirs.deviation[place].powi(2)) / RESETS as f64).sqrt();
        let variance_error = (2.0 * fourth / RESETS as f64).sqrt();
        let name = format!("{}, entry {place}", entry.name);
        let (a, b) = (mean, theirs.mean[place]);
        assert!(
            (a - b).abs() <= ERRORS * error + 1e-9,
            "{name}: mean {a}, theirs {b}, standard error {error}"
        );
        let (a, b) = (variance, theirs.deviation[place].powi(2));
        assert!(
            (a - b).abs() <= ERRORS * variance_error + 0.1 * b + 1e-12,
            "{name}: variance {a}, theirs {b}, standard error {variance_error}"
        );
    }
}

#[test]
fn starts_are_distributed_as_those_of_the_originals() {
    for entry in registry::table().iter().filter(|entry| entry.official != entry.name) {
        compare(entry);
    }
}
