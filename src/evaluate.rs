//! Seeded episodes without exploration noise.

use crate::record::timed;
use crate::task::{Task, Transition};
use std::sync::atomic::{AtomicBool, Ordering};
use td_koopman_agents::agent::{Agent, Schedule};
use td_koopman_agents::planner::{Mode, Plan};
use td_koopman_agents::rng::Stream;
use td_koopman_envs::End;

/// Returns of some episodes.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    /// Undiscounted return of each episode.
    pub returns: Vec<f64>,
    /// γ-discounted return of each episode.
    pub discounted: Vec<f64>,
    /// What the critics expected where each began: a discounted return, too, but of the policy and without an end.
    pub expected: Vec<f64>,
    /// Decisions of each episode.
    pub lengths: Vec<u64>,
    /// Candidates that were ranked last because their score was infinite or not a number.
    pub bad_scores: u64,
    /// CPU seconds that the plans took, all threads of the process together.
    pub plan_seconds: f64,
}

impl Scores {
    /// CPU milliseconds per plan.
    pub fn ms_per_plan(&self) -> f64 {
        1e3 * self.plan_seconds / self.lengths.iter().sum::<u64>() as f64
    }

    /// Mean return.
    pub fn mean(&self) -> f64 {
        mean(&self.returns)
    }

    /// What the critics expected of an episode, and what it came to.
    pub fn expectation(&self) -> [(&'static str, f64); 2] {
        [("value_at_start", mean(&self.expected)), ("discounted_return", mean(&self.discounted))]
    }

    /// Standard deviation of the returns (of these episodes, not an estimate for others: divided by n).
    pub fn sd(&self) -> f64 {
        let mean = self.mean();
        (self.returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / self.returns.len() as f64).sqrt()
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Where an evaluation stands.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Episode, counted from 0.
    pub episode: u64,
    /// Decisions taken in it.
    pub decision: u64,
    /// Reward of the last one; 0 where there is none yet.
    pub reward: f64,
    /// Its return so far.
    pub total: f64,
    /// Whether it goes on.
    pub end: End,
}

/// Somebody who looks on while episodes are played, without touching them.
pub trait Watcher {
    /// An episode begins, or a decision was taken in it.
    fn moment(&mut self, _task: &mut Task, _moment: &Moment) {}

    /// An episode is over; its return is the last one.
    fn episode(&mut self, _scores: &Scores) {}
}

/// What is called after each episode.
struct AfterEpisode<F>(F);

impl<F: FnMut(&Scores)> Watcher for AfterEpisode<F> {
    fn episode(&mut self, scores: &Scores) {
        (self.0)(scores);
    }
}

/// Plays `episodes` episodes; `None` if `stop` was raised meanwhile, or the
/// environment failed ([`Task::require_alive`]). Episode i depends on `seed` and i only, so that an
/// evaluation repeats bit by bit and a longer one begins with the shorter one.
pub fn evaluate(
    agent: &Agent,
    task: &mut Task,
    schedule: Schedule,
    episodes: u64,
    seed: u64,
    stop: &AtomicBool,
    after_episode: impl FnMut(&Scores),
) -> Option<Scores> {
    watch(agent, task, schedule, episodes, seed, stop, &mut AfterEpisode(after_episode))
}

/// The same with somebody looking on.
pub fn watch(
    agent: &Agent,
    task: &mut Task,
    schedule: Schedule,
    episodes: u64,
    seed: u64,
    stop: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> Option<Scores> {
    let mut scores = Scores::default();
    for episode in 0..episodes {
        let mut noise = [Stream::new(seed, &format!("evaluation {episode}"))];
        task.reset(noise[0].seed());
        let (mut plan, mut total, mut length) = (Plan::cold(), 0.0, 0);
        let (mut discounted, mut weight) = (0.0, 1.0);
        scores.expected.push(agent.value(task.observation()));
        watcher.moment(task, &Moment { episode, decision: 0, reward: 0.0, total, end: End::Running });
        loop {
            if stop.load(Ordering::Relaxed) || task.require_alive().is_err() {
                return None;
            }
            let plans = std::slice::from_ref(&plan);
            let (decision, seconds) =
                timed(|| agent.act(task.observation(), plans, schedule, Mode::Exploit, &mut noise).remove(0));
            scores.plan_seconds += seconds;
            let transition = task.step(&decision.action);
            plan = decision.plan;
            scores.bad_scores += decision.bad_scores;
            total += transition.reward;
            discounted += weight * transition.reward;
            weight *= agent.discount();
            length += 1;
            let Transition { reward, end } = transition;
            watcher.moment(task, &Moment { episode, decision: length, reward, total, end });
            if transition.end != End::Running {
                break;
            }
        }
        // the next start would make it forget
        if task.require_alive().is_err() {
            return None;
        }
        scores.returns.push(total);
        scores.discounted.push(discounted);
        scores.lengths.push(length);
        watcher.episode(&scores);
    }
    Some(scores)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;
    use td_koopman_agents::device;
    use td_koopman_envs::{Env, Spec, Step, register};

    #[test]
    fn mean_and_deviation_of_hand_numbers() {
        let s =
            Scores { returns: vec![1.0, 3.0], lengths: vec![10, 30], plan_seconds: 0.2, ..Scores::default() };
        assert_eq!((s.mean(), s.sd(), s.ms_per_plan()), (2.0, 1.0, 5.0));
    }

    /// Adds up the discounted return of one episode from what can be seen of it.
    struct Discounted(f64, f64);

    impl Watcher for Discounted {
        fn moment(&mut self, _: &mut Task, moment: &Moment) {
            if moment.decision > 0 {
                self.0 += 0.99f64.powi(moment.decision as i32 - 1) * (moment.total - self.1);
            }
            self.1 = moment.total;
        }
    }

    #[test]
    fn rewards_are_discounted_from_the_second_on() {
        let config = with(&["env=pendulum", "model.hidden_dim=16", "planner.num_samples=16"]).unwrap();
        let agent = Agent::new(&config.agent(), 3, 1, &mut Stream::new(1, "init"), &device::cpu());
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        let (mut seen, stop) = (Discounted(0.0, 0.0), AtomicBool::new(false));
        let scores = watch(&agent, &mut task, agent.schedule(0), 1, 5, &stop, &mut seen).unwrap();
        assert!((scores.discounted[0] - seen.0).abs() < 1e-9 * seen.0.abs(), "{scores:?} {}", seen.0);
        task.reset(Stream::new(5, "evaluation 0").seed());
        assert_eq!(scores.expected, [agent.value(task.observation())]);
    }

    /// The physics of the first episode diverges, which the next start makes it forget.
    struct Brittle {
        spec: Spec,
        episodes: u8,
        diverged: bool,
    }

    impl Env for Brittle {
        fn spec(&self) -> &Spec {
            &self.spec
        }

        fn reset(&mut self, _: u64, observation: &mut [f64]) {
            (self.episodes, self.diverged) = (self.episodes + 1, false);
            observation.fill(0.0);
        }

        fn step(&mut self, _: &[f64], _: &mut [f64]) -> Step {
            self.diverged = self.episodes == 1;
            Step { reward: if self.diverged { f64::NAN } else { 1.0 }, end: End::Terminated }
        }

        fn failure(&self) -> Option<td_koopman_envs::Error> {
            self.diverged.then(|| td_koopman_envs::Error::Diverged { env: "brittle".into() })
        }
    }

    /// Its return, not a number, went into the mean of all when another episode followed.
    #[test]
    fn an_evaluation_ends_with_the_first_episode_that_fails() {
        let spec = || Spec::new("brittle", 3, &[(-1.0, 1.0)], 2);
        register("brittle", move || Ok(Box::new(Brittle { spec: spec(), episodes: 0, diverged: false })))
            .unwrap();
        let config = with(&["env=pendulum", "model.hidden_dim=16", "planner.num_samples=16"]).unwrap();
        let agent = Agent::new(&config.agent(), 3, 1, &mut Stream::new(1, "init"), &device::cpu());
        let (mut task, stop) = (Task::open(&"brittle".into(), 0).unwrap(), AtomicBool::new(false));
        let scores = evaluate(&agent, &mut task, agent.schedule(0), 2, 5, &stop, |_| {});
        assert!(scores.is_none() && task.require_alive().is_err());
    }

    /// tdmpc2's evaluation script explored: two evaluations with one seed must be equal, and a longer one must begin
    /// with the shorter one.
    #[test]
    fn evaluations_repeat_bit_by_bit() {
        let config = with(&["env=pendulum", "model.hidden_dim=16", "planner.num_samples=16"]).unwrap();
        let agent = Agent::new(&config.agent(), 3, 1, &mut Stream::new(1, "init"), &device::cpu());
        let stop = AtomicBool::new(false);
        let run = |episodes, seed| {
            let mut task = Task::open(&"pendulum".into(), 0).unwrap();
            let scores =
                evaluate(&agent, &mut task, agent.schedule(0), episodes, seed, &stop, |_| {}).unwrap();
            for (discounted, total) in scores.discounted.iter().zip(&scores.returns) {
                // pendulum only costs, and γ makes later costs smaller
                assert!(total < discounted && *discounted < 0.0);
            }
            let [(_, expected), _] = scores.expectation();
            assert!(expected.is_finite() && scores.expected.len() == scores.returns.len());
            (scores.returns, scores.lengths, scores.bad_scores)
        };
        let two = run(2, 5);
        assert_eq!(two, run(2, 5));
        assert_eq!(two.0[0], run(1, 5).0[0]);
        assert_ne!(two.0, run(2, 6).0);
        stop.store(true, Ordering::Relaxed);
        let mut task = Task::open(&"pendulum".into(), 0).unwrap();
        assert!(evaluate(&agent, &mut task, agent.schedule(0), 1, 5, &stop, |_| {}).is_none());
    }
}
