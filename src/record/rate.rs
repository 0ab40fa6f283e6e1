//! How fast the run goes, and when it will be done.

use std::time::{Duration, Instant};

/// Environment steps per second, as seen by this process, evaluations included.
///
/// The first observation only sets the start: a resumed run has done nothing yet of the steps it begins with. Older
/// steps fade with the steps that follow, not with time: minutes of evaluation say nothing against the steps before.
#[derive(Debug, Default)]
pub(super) struct Rate {
    last: Option<(Instant, u64)>,
    steps: f64,
    seconds: f64,
}

impl Rate {
    /// Steps after which a step counts 1/e: enough to span some evaluations.
    const MEMORY: f64 = 10_000.0;

    /// Notes that the run stands at `step`.
    pub fn observe(&mut self, now: Instant, step: u64) {
        if let Some((then, step_then)) = self.last {
            let steps = step.saturating_sub(step_then) as f64;
            let fading = (-steps / Self::MEMORY).exp();
            self.steps = self.steps * fading + steps;
            self.seconds = self.seconds * fading + now.saturating_duration_since(then).as_secs_f64();
        }
        self.last = Some((now, step));
    }

    /// Starts again: the steps so far cost something else than those to come.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Steps per second; `None` while there is nothing to go by.
    pub fn steps_per_second(&self) -> Option<f64> {
        (self.steps > 0.0 && self.seconds > 0.0).then(|| self.steps / self.seconds)
    }

    /// The time that `steps` more steps take.
    pub fn time_for(&self, steps: u64) -> Option<Duration> {
        Duration::try_from_secs_f64(steps as f64 / self.steps_per_second()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_resumed_run_is_timed_from_its_own_first_step() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.observe(start, 90_000);
        assert_eq!(rate.time_for(10_000), None);
        rate.observe(after(start, 10.0), 90_100);
        assert_eq!(rate.steps_per_second(), Some(10.0));
        assert_eq!(rate.time_for(9_900), Some(Duration::from_secs(990)));
    }

    #[test]
    fn a_steady_rate_is_found_however_it_is_observed() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut time = 0.0;
        for step in 0..3_000u64 {
            rate.observe(after(start, time), step * 2);
            time += 0.05;
        }
        assert!((rate.steps_per_second().unwrap() - 40.0).abs() < 1e-6);
    }

    /// A pause of the length of an evaluation once sent the rate to zero and the time left to days.
    #[test]
    fn an_evaluation_slows_the_rate_by_its_share() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.observe(start, 0);
        for second in 1..=500u64 {
            rate.observe(after(start, second as f64), 10 * second);
        }
        rate.observe(after(start, 740.0), 5_000);
        let expected = 5_000.0 / 740.0;
        assert!((rate.steps_per_second().unwrap() / expected - 1.0).abs() < 0.1, "{rate:?}");
    }

    #[test]
    fn what_was_forgotten_does_not_count() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.observe(start, 0);
        rate.observe(after(start, 0.5), 5_000);
        rate.forget();
        rate.observe(after(start, 1.0), 5_010);
        rate.observe(after(start, 2.0), 5_040);
        assert_eq!(rate.steps_per_second(), Some(30.0));
    }
}
