//! The conformance test: every registered environment passes it, and each way of being wrong is found.
use td_koopman_envs::{
    End, Env, Error, Random, Spec, State, StateDims, Step,
    check::{self, Report, Verdict},
    register, registry,
};

#[test]
fn every_registered_environment_keeps_its_promises() {
    for name in registry::names() {
        let report = check::run(|| registry::make(name)).unwrap();
        assert!(report.passed(), "{report}");
    }
}

/// How [`Walk`] is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    UnboundedAction,
    MissingEntry,
    NotFinite,
    UnseededNoise,
    RemembersTheLastEpisode,
    DeafActuator,
    TerminatesInTime,
    TruncatesEarly,
    TerminatesUnannounced,
    ForgetsTheVelocity,
    AcceptsAnyState,
    Panics,
}

/// A point on a line, pushed by two actuators.
struct Walk {
    spec: Spec,
    fault: Fault,
    position: f64,
    velocity: f64,
    steps: usize,
    unseeded: u64,
}

impl Walk {
    fn new(fault: Fault, unseeded: u64) -> Self {
        let range = if fault == Fault::UnboundedAction { f64::INFINITY } else { 1.0 };
        let spec = Spec {
            state_dims: Some(StateDims { qpos: 1, qvel: 1, extra: 0 }),
            ..Spec::new("walk", 2, &[(-range, range), (-1.0, 1.0)], 30)
        };
        Self { spec, fault, position: 0.0, velocity: 0.0, steps: 0, unseeded }
    }

    fn observe(&self, observation: &mut [f64]) {
        observation[0] = self.position;
        if self.fault != Fault::MissingEntry {
            observation[1] = self.velocity;
        }
    }
}

impl Env for Walk {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        self.position = Random::from_seed(seed).uniform(-1.0, 1.0);
        if self.fault == Fault::UnseededNoise {
            self.position += self.unseeded as f64;
        }
        if self.fault != Fault::RemembersTheLastEpisode {
            self.velocity = 0.0;
        }
        self.steps = 0;
        self.observe(observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        self.steps += 1;
        self.velocity += 0.1 * action[0];
        if self.fault != Fault::DeafActuator {
            self.velocity += 0.2 * action[1];
        }
        self.position += self.velocity;
        self.observe(observation);
        let end = match self.fault {
            Fault::TerminatesInTime if self.steps == 30 => End::Terminated,
            Fault::TerminatesUnannounced if self.steps == 20 => End::Terminated,
            Fault::TruncatesEarly if self.steps == 29 => End::Truncated,
            Fault::Panics => panic!("out of cheese"),
            _ => End::Running,
        };
        let reward =
            if self.fault == Fault::NotFinite { (self.position - 1.0).sqrt() } else { -self.position.abs() };
        Step { reward, end }
    }

    fn state(&self) -> Option<State> {
        Some(State { qpos: vec![self.position], qvel: vec![self.velocity], extra: vec![] })
    }

    fn set_state(&mut self, state: &State, observation: &mut [f64]) -> Result<(), Error> {
        if Some(state.dims()) != self.spec.state_dims && self.fault != Fault::AcceptsAnyState {
            return Err(Error::NoState { env: "walk".into() });
        }
        (self.position, self.velocity, self.steps) = (state.qpos[0], state.qvel[0], 0);
        if self.fault == Fault::ForgetsTheVelocity {
            self.velocity = 1.0;
        }
        self.observe(observation);
        Ok(())
    }
}

fn report(fault: Fault) -> Report {
    let made = std::cell::Cell::new(0);
    let make = || -> Result<Box<dyn Env>, Error> {
        made.set(made.get() + 1);
        Ok(Box::new(Walk::new(fault, made.get())))
    };
    check::run(make).unwrap()
}

#[test]
fn an_environment_that_keeps_them_passes() {
    let report = report(Fault::None);
    assert!(report.passed() && report.to_string().ends_with("`walk` keeps its promises"), "{report}");
    let skipped: Vec<_> =
        report.checks.iter().filter(|check| matches!(check.verdict, Verdict::Skipped(_))).collect();
    assert!(matches!(&skipped[..], [only] if only.promise == "pictures do not disturb"), "{report}");
}

#[test]
fn each_fault_is_found_and_explained() {
    for (fault, promise, words) in [
        (Fault::UnboundedAction, "spaces make sense", "actuator 0 ranges from -inf to inf"),
        (Fault::MissingEntry, "observations are complete", "`reset` does not write entry 1"),
        (Fault::NotFinite, "numbers are finite", "the reward is not finite at step 1"),
        (Fault::UnseededNoise, "same seed, same episode", "elsewhere at step 0"),
        (Fault::RemembersTheLastEpisode, "reset after an end", "is another at step 0"),
        (Fault::DeafActuator, "every actuator matters", "actuator 1 changes nothing"),
        (Fault::TerminatesInTime, "the time limit truncates", "running out of time is no end"),
        (Fault::TruncatesEarly, "the time limit truncates", "truncated after 29 steps"),
        (Fault::TerminatesUnannounced, "terminations are announced", "terminated after 20 steps, but"),
        (Fault::ForgetsTheVelocity, "state round trip", "is another at step 0"),
        (Fault::AcceptsAnyState, "state round trip", "accepts a state of another size"),
        (Fault::Panics, "numbers are finite", "it panicked: out of cheese"),
    ] {
        let report = report(fault);
        let check = report.checks.iter().find(|check| check.promise == promise).unwrap();
        assert!(
            matches!(&check.verdict, Verdict::Failed(why) if why.contains(words)),
            "{fault:?} should fail `{promise}` with `{words}`:\n{report}"
        );
        assert!(!report.passed() && report.to_string().contains("`walk` breaks "));
    }
}

#[test]
fn registered_environments_open_by_name_and_take_no_name_twice() {
    let walk = || -> Result<Box<dyn Env>, _> { Ok(Box::new(Walk::new(Fault::None, 0))) };
    register("walk", walk).unwrap();
    assert_eq!(registry::make("WALK").unwrap().spec().name, "walk");
    assert!(registry::all_names().contains(&"walk".to_owned()));
    for taken in ["walk", "Walk", "pendulum", "Pendulum-v1", "py:x:y"] {
        let error = register(taken, walk).unwrap_err().to_string();
        assert!(error.contains(&format!("called `{taken}` already")), "{error}");
    }
    let Err(Error::UnknownEnv { nearest, .. }) = registry::make("walkk") else { panic!("it was found") };
    assert_eq!(nearest[0], "walk");
    register("broken", || Err("no such robot".into())).unwrap();
    let error = registry::make("broken").err().unwrap().to_string();
    assert_eq!(error, "the environment `broken` cannot be made: no such robot");
}
