//! Any Gymnasium environment with Box spaces, as `py:module:EnvId`, in a Python process of its own.
//!
//! `bridge.py` describes the messages. An episode repeats with its seed if the environment's does.
mod process;

use crate::{End, Env, Error, Frame, Painter, Source, Spec, Step};
use process::Process;

const PREFIX: &str = "py:";
const BRIDGE: &str = include_str!("bridge.py");

/// Whether a name asks for a Python environment.
pub(crate) fn is_python(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Starts the environment called `py:module:EnvId` with the interpreter in `PYTHON`, or `python3`.
pub(crate) fn make(name: &str) -> Result<Box<dyn Env>, Error> {
    let place = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':'));
    let (module, id) = place
        .filter(|(module, id)| !module.is_empty() && !id.is_empty())
        .ok_or_else(|| Error::PythonName { name: name.into() })?;
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    Ok(Box::new(PythonEnv::start(name, &python, &["-c", BRIDGE, module, id])?))
}

struct PythonEnv {
    spec: Spec,
    process: Process,
    /// What went wrong; nothing is asked any more.
    failed: Option<String>,
}

impl PythonEnv {
    fn start(name: &str, program: &str, arguments: &[&str]) -> Result<Self, Error> {
        let error = |message| Error::Python { env: name.into(), message };
        let mut process = Process::start(program, arguments).map_err(error)?;
        let reply = process.reply("spec").map_err(error)?;
        let spec = parse_spec(name, &reply)
            .ok_or_else(|| error(format!("said `spec {reply}`, which is no specification")))?;
        Ok(Self { spec, process, failed: None })
    }

    /// The words of an answer to `request`, after `kind`; `None` when the process has failed.
    fn ask(&mut self, request: &str, kind: &str) -> Option<String> {
        if self.failed.is_some() {
            return None;
        }
        self.process.say(request);
        self.process.reply(kind).map_err(|message| self.failed = Some(message)).ok()
    }

    /// Reads an observation; anything else is a failure.
    fn observe(&mut self, words: Option<&str>, observation: &mut [f64]) {
        let Some(words) = words else { return observation.fill(f64::NAN) };
        match numbers(words) {
            Some(values) if values.len() == observation.len() => observation.copy_from_slice(&values),
            _ => {
                let expected = observation.len();
                self.failed = Some(format!("sent the observation `{words}`; {expected} numbers are needed"));
                observation.fill(f64::NAN);
            }
        }
    }
}

impl Env for PythonEnv {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset(&mut self, seed: u64, observation: &mut [f64]) {
        let reply = self.ask(&format!("reset {seed}"), "observation");
        self.observe(reply.as_deref(), observation);
    }

    fn step(&mut self, action: &[f64], observation: &mut [f64]) -> Step {
        // `{:?}` of a float is the shortest text that reads back as the same number
        let action: Vec<String> = action.iter().map(|x| format!("{x:?}")).collect();
        let reply = self.ask(&format!("step {}", action.join(" ")), "step");
        let parsed = reply.as_deref().and_then(parse_step);
        if let (Some(reply), None) = (&reply, &parsed) {
            self.failed = Some(format!("answered `step {reply}`, which is no step"));
        }
        self.observe(parsed.as_ref().map(|(_, rest)| *rest), observation);
        match parsed {
            Some((step, _)) if self.failed.is_none() => step,
            _ => Step { reward: f64::NAN, end: End::Terminated },
        }
    }

    fn failure(&self) -> Option<Error> {
        let message = self.failed.clone()?;
        Some(Error::Python { env: self.spec.name.clone(), message })
    }

    /// What its own `render()` draws, scaled to the size asked for.
    fn render(&mut self, painter: &mut Painter) -> Result<Frame, Error> {
        let env = self.spec.name.clone();
        let Some(reply) = self.ask("render", "picture") else {
            return Err(self.failure().unwrap_or(Error::NoPicture { env }));
        };
        if let Some(message) = reply.strip_prefix("none ") {
            return Err(Error::PythonPicture { env, message: message.into() });
        }
        let frame = parse_frame(&reply).ok_or_else(|| Error::Python {
            env,
            message: format!("sent {} characters that are no picture", reply.len()),
        })?;
        let view = painter.view();
        Ok(frame.fitted(view.width, view.height))
    }
}

fn numbers(words: &str) -> Option<Vec<f64>> {
    words.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// `OBSERVATIONS ACTIONS STEPS SECONDS|none LOW… HIGH…`
fn parse_spec(name: &str, words: &str) -> Option<Spec> {
    let mut words = words.split_whitespace();
    let mut count = || words.next()?.parse::<usize>().ok().filter(|&n| n > 0);
    let (observations, actions, steps) = (count()?, count()?, count()?);
    let timestep = match words.next()? {
        "none" => None,
        seconds => Some(seconds.parse().ok()?),
    };
    let limits: Vec<f64> = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let (low, high) = limits.split_at_checked(actions)?;
    let range: Vec<_> = low.iter().copied().zip(high.iter().copied()).collect();
    let official = name.rsplit(':').next()?.into();
    (high.len() == actions).then(|| Spec {
        official,
        source: Source::Python,
        terminates: true, // Gymnasium does not say
        timestep,
        ..Spec::new(name, observations, &range, steps)
    })
}

/// `REWARD END` and the observation.
fn parse_step(words: &str) -> Option<(Step, &str)> {
    let (reward, rest) = words.split_once(' ')?;
    let (end, observation) = rest.split_once(' ')?;
    let end = [End::Running, End::Terminated, End::Truncated].into_iter().find(|e| e.to_string() == end)?;
    Some((Step { reward: reward.parse().ok()?, end }, observation))
}

/// `WIDTH HEIGHT` and the colours in hexadecimal digits.
fn parse_frame(words: &str) -> Option<Frame> {
    let mut words = words.split(' ');
    let mut size = || words.next()?.parse::<usize>().ok().filter(|&pixels| pixels > 0);
    let (width, height) = (size()?, size()?);
    let digits = words.next()?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let rgb: Vec<u8> = digits
        .chunks(2)
        .map(|pair| Some((16 * digit(pair[0])? + digit(*pair.get(1)?)?) as u8))
        .collect::<Option<_>>()?;
    (Some(rgb.len()) == width.checked_mul(height)?.checked_mul(3)).then_some(Frame { width, height, rgb })
}

#[cfg(test)]
mod tests;
