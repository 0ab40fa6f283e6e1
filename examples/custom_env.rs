//! An environment of your own, in a page: push a cart to the middle of a rail and let it rest there.
//!
//! ```sh
//! cargo run --release --example custom_env -- envs rail-cart --check
//! cargo run --release --example custom_env -- --env rail-cart --preset light --steps 10000 --video-every 1
//! ```
//!
//! `td_koopman::run` is the whole program – train, eval, compare, sweep – that knows one environment more.

use std::process::ExitCode;
use td_koopman::envs::{End, Env, Error, Frame, Painter, Random, Spec, Step, register};

const NAME: &str = "rail-cart";
/// Seconds per step.
const TIMESTEP: f64 = 0.05;
/// N, for a cart of 1 kg.
const MAX_FORCE: f64 = 2.0;

struct RailCart {
    spec: Spec,
    /// m, from the middle.
    position: f64,
    /// m/s
    velocity: f64,
}

impl RailCart {
    fn new() -> Self {
        let spec = Spec::new(NAME, 2, &[(-MAX_FORCE, MAX_FORCE)], 100);
        Self {
            spec: Spec { terminates: true, timestep: Some(TIMESTEP), ..spec },
            position: 0.0,
            velocity: 0.0,
        }
    }
}

impl Env for RailCart {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Everything random comes from the seed.
    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let mut random = Random::from_seed(seed);
        (self.position, self.velocity) = (random.uniform(-1.0, 1.0), random.uniform(-0.5, 0.5));
        observation.copy_from_slice(&[self.position, self.velocity]);
    }

    /// Leaving the rail ends the task; the time limit is applied for you.
    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        self.velocity += TIMESTEP * action[0];
        self.position += TIMESTEP * self.velocity;
        observation.copy_from_slice(&[self.position, self.velocity]);
        let reward = (-4.0 * self.position * self.position).exp() - 0.01 * action[0] * action[0];
        let end = if self.position.abs() > 2.0 { End::Terminated } else { End::Running };
        Step { reward, end }
    }

    /// Optional: for `--video`.
    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        let mut frame = Frame::blank(painter.view().width, painter.view().height, [250; 3]);
        frame.capsule([-1.0, -0.12], [1.0, -0.12], 0.01, [120; 3]);
        let x = self.position / 2.0;
        frame.capsule([x - 0.1, 0.0], [x + 0.1, 0.0], 0.08, [60, 110, 190]);
        Ok(frame)
    }
}

fn main() -> ExitCode {
    register(NAME, || Ok(Box::new(RailCart::new()))).expect("no other environment has this name");
    td_koopman::run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use td_koopman::config::{Layer, Preset, resolve};
    use td_koopman::envs::check;
    use td_koopman::train::{Outcome, train};

    #[test]
    fn it_keeps_what_environments_promise() {
        let report = check::run(|| Ok(Box::new(RailCart::new()))).unwrap();
        assert!(report.passed(), "{report}");
    }

    /// The library without the command line: a configuration becomes a run.
    #[test]
    fn it_can_be_trained_on() {
        register(NAME, || Ok(Box::new(RailCart::new()))).unwrap();
        let settings = [
            "env=rail-cart",
            "steps=300",
            "train.seed_decisions=200",
            "train.seed_episodes=0",
            "evaluation.episodes=1",
        ];
        let mut layers = Preset::Light.layers();
        layers.extend(settings.map(|setting| Layer::setting(setting).unwrap()));
        let folder = tempfile::tempdir().unwrap();
        let outcome = train(&resolve(&layers).unwrap(), folder.path(), &AtomicBool::new(false)).unwrap();
        assert_eq!(outcome, Outcome::Finished);
        let evaluations = std::fs::read_to_string(folder.path().join("eval.csv")).unwrap();
        assert!(evaluations.lines().last().unwrap().starts_with("300,"), "{evaluations}");
    }
}
