//! The promises, one function each.
use super::{
    Subject, Verdict,
    Verdict::{Failed, Passed, Skipped},
    episode::{Actions, Episode, UNWRITTEN, blank, go_on, play},
};
use crate::{End, Env, Error, Painter, State, View};

/// Steps of an episode that are compared.
const STEPS: usize = 100;
/// Steps of an episode that is looked through.
const LONG: usize = 200;
/// Steps after which an actuator should have shown an effect.
const EFFECT: usize = 25;

type Judge = fn(&mut Subject<'_>) -> Result<Verdict, Error>;

/// In the order of the report.
pub(super) const PROMISES: [(&str, Judge); 11] = [
    ("spaces make sense", spaces),
    ("observations are complete", complete),
    ("numbers are finite", finite),
    ("same seed, same episode", seeds),
    ("seeds differ", starts),
    ("every actuator matters", actuators),
    ("the time limit truncates", time_limit),
    ("terminations are announced", terminations),
    ("reset after an end", reset),
    ("state round trip", state),
    ("pictures do not disturb", pictures),
];

fn spaces(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let spec = env.spec();
    let (low, high) = (&spec.action_low, &spec.action_high);
    let fault = if spec.name.is_empty() {
        "`name` is empty".into()
    } else if spec.observation_dim == 0 {
        "`observation_dim` is 0".into()
    } else if low.is_empty() || low.len() != high.len() {
        format!("`action_low` has {} entries and `action_high` {}", low.len(), high.len())
    } else if let Some(i) = (0..low.len()).find(|&i| !(low[i] < high[i] && (high[i] - low[i]).is_finite())) {
        format!("actuator {i} ranges from {} to {}: give finite limits, the lower one first", low[i], high[i])
    } else if spec.max_episode_steps == 0 || spec.action_repeat == 0 {
        "`max_episode_steps` and `action_repeat` must be at least 1".into()
    } else if spec.timestep.is_some_and(|seconds| !(seconds > 0.0 && seconds.is_finite())) {
        "`timestep` must be a positive number of seconds".into()
    } else {
        let (observations, actions) = (spec.observation_dim, spec.action_dim());
        return Ok(Passed(format!(
            "{observations} observed, {actions} actuators, {} steps",
            spec.max_episode_steps
        )));
    };
    Ok(Failed(fault))
}

fn complete(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let episode = play(env, 0, Actions::Random(0), 5)?;
    let size = env.spec().observation_dim;
    let missing = episode.observations.iter().position(|&bits| bits == UNWRITTEN.to_bits());
    Ok(match missing {
        None => Passed("`reset` and `step` write every entry".into()),
        Some(place) => {
            let who = if place < size { "reset" } else { "step" };
            Failed(format!("`{who}` does not write entry {} of the observation", place % size))
        }
    })
}

fn finite(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let size = env.spec().observation_dim;
    let mut steps = 0;
    for actions in [Actions::Random(1), Actions::Low, Actions::High] {
        let episode = play(env, 1, actions, LONG)?;
        let bad = |bits: &u64| !f64::from_bits(*bits).is_finite();
        if let Some(place) = episode.observations.iter().position(bad) {
            let (entry, step) = (place % size, place / size);
            return Ok(Failed(format!(
                "entry {entry} of the observation is not finite at step {step}, {actions:?}"
            )));
        }
        if let Some(step) = episode.rewards.iter().position(bad) {
            return Ok(Failed(format!("the reward is not finite at step {}, {actions:?}", step + 1)));
        }
        steps += episode.steps();
    }
    Ok(Passed(format!("{steps} steps: random actions, lower limits, upper limits")))
}

fn seeds(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let episode = |env: &mut dyn Env| play(env, 3, Actions::Random(3), STEPS);
    let mut fresh = subject.fresh()?;
    let expected = episode(&mut *fresh)?;
    let used = subject.used()?;
    play(used, 4, Actions::Random(4), 30)?;
    let why = "draw everything random from a generator made from the seed, and forget everything in `reset`";
    for (env, what) in [(used, "an environment used before"), (&mut *fresh, "the second time")] {
        if let Some(step) = difference(&expected, &episode(env)?, env.spec().observation_dim) {
            return Ok(Failed(format!("{what} the same seed leads elsewhere at step {step}: {why}")));
        }
    }
    Ok(Passed(format!("{} steps equal to the bit, three times", expected.steps())))
}

fn starts(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let one = play(env, 0, Actions::Random(0), STEPS)?;
    for seed in 1..4 {
        if play(env, seed, Actions::Random(0), STEPS)? != one {
            return Ok(Passed("other seeds, other episodes".into()));
        }
    }
    Ok(Skipped("four seeds give the same episode: nothing is random here".into()))
}

fn actuators(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let low = play(env, 5, Actions::Low, EFFECT)?;
    for actuator in 0..env.spec().action_dim() {
        if play(env, 5, Actions::LowBut(actuator), EFFECT)? == low {
            return Ok(Failed(format!("actuator {actuator} changes nothing within {} steps", low.steps())));
        }
    }
    Ok(Passed(format!("each changes the episode within {EFFECT} steps")))
}

fn time_limit(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let limit = env.spec().max_episode_steps;
    let mut longest = 0;
    for actions in [Actions::Middle, Actions::Random(6), Actions::Random(7), Actions::Low] {
        let episode = play(env, 6, actions, limit)?;
        longest = longest.max(episode.steps());
        match (episode.steps(), episode.end) {
            (steps, Some(End::Truncated)) if steps == limit => {
                return Ok(Passed(format!("after {limit} steps")));
            }
            (steps, Some(End::Truncated)) => {
                return Ok(Failed(format!(
                    "an episode is truncated after {steps} steps, but `max_episode_steps` is {limit}: the limit is \
                     applied for you, return `Running` until then"
                )));
            }
            (steps, Some(End::Terminated)) if steps == limit => {
                return Ok(Failed(format!(
                    "an episode is terminated in its last step, {limit}: running out of time is no end of the task, \
                     return `Running`"
                )));
            }
            _ => {}
        }
    }
    Ok(Skipped(format!("episodes ended themselves after {longest} of {limit} steps at most")))
}

fn terminations(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let announced = env.spec().terminates;
    for actions in [Actions::Random(9), Actions::Low, Actions::High] {
        let episode = play(env, 9, actions, LONG)?;
        if episode.end == Some(End::Terminated) {
            let steps = episode.steps();
            return Ok(match announced {
                true => Passed(format!("`terminates` says so, and an episode ended after {steps} steps")),
                false => {
                    Failed(format!("an episode is terminated after {steps} steps, but `terminates` is false"))
                }
            });
        }
    }
    Ok(match announced {
        false => Passed("none seen, none announced".into()),
        true => Skipped("none seen, though `terminates` says that there are".into()),
    })
}

fn reset(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let env = subject.used()?;
    let limit = env.spec().max_episode_steps;
    let expected = play(env, 8, Actions::Random(8), STEPS)?;
    let ended = play(env, 9, Actions::Random(9), limit)?;
    let again = play(env, 8, Actions::Random(8), STEPS)?;
    let how = ended.end.unwrap_or(End::Running);
    Ok(match difference(&expected, &again, env.spec().observation_dim) {
        None => Passed(format!("an episode of {} steps, {how}, leaves nothing behind", ended.steps())),
        Some(step) => {
            Failed(format!("after an episode that was {how} the next one is another at step {step}"))
        }
    })
}

fn state(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let mut copy = subject.fresh()?;
    let env = subject.used()?;
    let mut first = blank(env);
    env.reset(11, &mut first);
    let (Some(state), Some(dims)) = (env.state(), env.spec().state_dims) else {
        return Ok(match (env.state(), env.spec().state_dims) {
            (None, None) => Skipped("it has none, which is allowed".into()),
            _ => Failed("`state()` and `state_dims` disagree whether there is one".into()),
        });
    };
    if state.dims() != dims {
        return Ok(Failed(format!("`state()` has {:?}, `state_dims` says {dims:?}", state.dims())));
    }
    let expected = go_on(env, first, Actions::Random(11), STEPS)?;
    let mut first = blank(&*copy);
    copy.set_state(&state, &mut first)?;
    let copied = go_on(&mut *copy, first, Actions::Random(11), STEPS)?;
    if let Some(step) = difference(&expected, &copied, copy.spec().observation_dim) {
        return Ok(Failed(format!("an episode from a copied start state is another at step {step}")));
    }
    let larger = State { qpos: [&state.qpos[..], &[0.0]].concat(), ..state };
    if copy.set_state(&larger, &mut blank(env)).is_ok() {
        return Ok(Failed("`set_state` accepts a state of another size".into()));
    }
    Ok(Passed(format!("{} steps from a copied start state, equal to the bit", expected.steps())))
}

fn pictures(subject: &mut Subject<'_>) -> Result<Verdict, Error> {
    let watched = subject.used()?;
    let mut painter = Painter::new(View { width: 64, height: 48, camera: None });
    let expected = play(watched, 12, Actions::Random(12), EFFECT)?;
    let mut first = blank(watched);
    watched.reset(12, &mut first);
    let frame = match watched.render(&mut painter) {
        Ok(frame) => frame,
        Err(error @ (Error::NoPicture { .. } | Error::NoRenderer { .. } | Error::PythonPicture { .. })) => {
            return Ok(Skipped(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    if (frame.width, frame.height, frame.rgb.len()) != (64, 48, 3 * 64 * 48) {
        return Ok(Failed(format!("asked for 64x48 pixels it draws {}x{}", frame.width, frame.height)));
    }
    let seen = go_on(watched, first, Actions::Random(12), EFFECT)?;
    Ok(match difference(&expected, &seen, watched.spec().observation_dim) {
        None => Passed("an episode that is looked at stays the same".into()),
        Some(step) => Failed(format!("after `render` the episode is another at step {step}")),
    })
}

/// The first step in which two episodes differ; 0 is the start.
fn difference(a: &Episode, b: &Episode, size: usize) -> Option<usize> {
    let observed =
        a.observations.iter().zip(&b.observations).position(|(a, b)| a != b).map(|place| place / size);
    let rewarded = a.rewards.iter().zip(&b.rewards).position(|(a, b)| a != b).map(|step| step + 1);
    let shorter = (a.steps() != b.steps() || a.end != b.end).then(|| a.steps().min(b.steps()));
    [observed, rewarded, shorter].into_iter().flatten().min()
}
