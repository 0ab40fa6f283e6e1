//! Names to environments: one line an environment.
use Source::{Classic, DmControl, Gymnasium};

use crate::{
    Env, Error, Source,
    classic::{Linear, Pendulum},
    dmc::{self, Acrobot, Cartpole, Cheetah, Pace, Quadruped, Walker},
    entry::{Entry, entry},
    gym::{self, HalfCheetah, Hopper, InvertedPendulum, Walker2d},
    wrappers::TimeLimit,
};

/// The action repeats of DMControl are those of TD-MPC (Hansen et al. 2022, arXiv:2203.04955): 4, but 8 for
/// the cartpole and 2 for the walker.
#[rustfmt::skip] // one line an environment
const TABLE: &[Entry] = &[
    entry("halfcheetah", "HalfCheetah-v5", Gymnasium, 1000, 1, |e| gym::make(e, HalfCheetah)),
    entry("hopper", "Hopper-v5", Gymnasium, 1000, 1, |e| gym::make(e, Hopper)),
    entry("walker2d", "Walker2d-v5", Gymnasium, 1000, 1, |e| gym::make(e, Walker2d)),
    entry("inverted-pendulum", "InvertedPendulum-v5", Gymnasium, 1000, 1, |e| gym::make(e, InvertedPendulum)),
    entry("cheetah-run", "dmc/cheetah-run", DmControl, 1000, 4, |e| dmc::make(e, Cheetah::load()?)),
    entry("cartpole-swingup", "dmc/cartpole-swingup", DmControl, 1000, 8, |e| dmc::make(e, Cartpole::load()?)),
    entry("acrobot-swingup", "dmc/acrobot-swingup", DmControl, 1000, 4, |e| dmc::make(e, Acrobot::load()?)),
    entry("walker-stand", "dmc/walker-stand", DmControl, 1000, 2, |e| dmc::make(e, Walker::load(Pace::Stand)?)),
    entry("walker-walk", "dmc/walker-walk", DmControl, 1000, 2, |e| dmc::make(e, Walker::load(Pace::Move(1.0))?)),
    entry("walker-run", "dmc/walker-run", DmControl, 1000, 2, |e| dmc::make(e, Walker::load(Pace::Move(8.0))?)),
    entry("quadruped-walk", "dmc/quadruped-walk", DmControl, 1000, 4, |e| dmc::make(e, Quadruped::load(0.5)?)),
    entry("quadruped-run", "dmc/quadruped-run", DmControl, 1000, 4, |e| dmc::make(e, Quadruped::load(5.0)?)),
    entry("pendulum", "Pendulum-v1", Classic, 200, 1, |e| Ok(Box::new(Pendulum::new(e)))),
    entry("linear", "linear", Classic, 200, 1, |e| Ok(Box::new(Linear::new(e)))),
];

/// All registered environments.
pub fn table() -> &'static [Entry] {
    TABLE
}

/// The short names of all registered environments.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.name)
}

/// Makes the environment of that name, with its time limit. The short and the official name will do, in any
/// case, and `dmc:cheetah-run` as well as `dmc/cheetah-run`.
///
/// # Errors
///
/// The name is unknown; or MuJoCo or the model cannot be used.
pub fn make(name: &str) -> Result<Box<dyn Env>, Error> {
    let wanted = name.replace(':', "/");
    let is_it =
        |entry: &&Entry| [entry.name, entry.official].iter().any(|known| known.eq_ignore_ascii_case(&wanted));
    let entry = TABLE
        .iter()
        .find(is_it)
        .ok_or_else(|| Error::UnknownEnv { name: name.to_string(), nearest: nearest(&wanted) })?;
    Ok(Box::new(TimeLimit::new((entry.build)(entry)?)))
}

/// The three short names that look most like `name`.
fn nearest(name: &str) -> Vec<&'static str> {
    let name = name.to_lowercase();
    let likeness = |entry: &Entry| {
        let [short, official] =
            [entry.name, entry.official].map(|known| strsim::jaro_winkler(&name, &known.to_lowercase()));
        short.max(official)
    };
    let mut entries: Vec<&Entry> = TABLE.iter().collect();
    entries.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    entries.iter().take(3).map(|entry| entry.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_resolves_in_any_case() {
        for entry in table() {
            for name in [entry.name.to_string(), entry.official.to_string(), entry.official.to_uppercase()] {
                let env = make(&name).unwrap();
                assert_eq!(
                    (env.spec().name.as_str(), env.spec().official.as_str()),
                    (entry.name, entry.official)
                );
            }
        }
        assert_eq!(make("dmc:cheetah-run").unwrap().spec().name, "cheetah-run");
    }

    #[test]
    fn names_are_unique() {
        let mut all: Vec<_> = names().collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), table().len());
    }

    #[test]
    fn a_wrong_name_suggests_the_right_one() {
        for (wrong, right) in
            [("halfcheeta", "halfcheetah"), ("Walker2d-v4", "walker2d"), ("quadruped_walk", "quadruped-walk")]
        {
            let Err(Error::UnknownEnv { nearest, .. }) = make(wrong) else { panic!("{wrong} was found") };
            assert_eq!(nearest[0], right, "{nearest:?}");
        }
        let message = make("halfcheeta").err().unwrap().to_string();
        assert!(
            message.starts_with(
                "there is no environment called `halfcheeta`; the nearest names are halfcheetah,"
            )
        );
    }
}
