//! Names to environments. The tables are in `gym`, `dmc` and `classic`: one line an environment.
use std::sync::LazyLock;

use crate::{
    Env, Error, OptionValue, classic, custom, dmc, entry::Entry, gym, options::Options, python,
    wrappers::TimeLimit,
};

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| [gym::TABLE, dmc::TABLE, classic::TABLE].concat());

/// The environments that come with this crate.
pub fn table() -> &'static [Entry] {
    &TABLE
}

/// Their short names.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|entry| entry.name)
}

/// Everything there is to open by a name of ours: what comes with this crate, then what was
/// [registered](crate::register).
pub fn all_names() -> Vec<String> {
    names().map(str::to_owned).chain(custom::names()).collect()
}

/// Makes the environment of that name, with its time limit and the default options. The short and the official
/// name will do, in any case, with `_` for `-`, and `dmc:cheetah-run` as well as `dmc/cheetah-run`; so will a
/// [registered](crate::register) name, and `py:module:EnvId` for any Gymnasium environment with Box spaces.
///
/// # Errors
///
/// The name is unknown; or MuJoCo or the model cannot be used.
pub fn make(name: &str) -> Result<Box<dyn Env>, Error> {
    make_with(name, &[])
}

/// The same with some options as given, see [`Entry::options`]; only environments of the table have options.
///
/// # Errors
///
/// Also an option that the task does not have, and a value that it cannot take.
pub fn make_with(name: &str, options: &[(String, OptionValue)]) -> Result<Box<dyn Env>, Error> {
    check(name, options)?;
    let env = match custom::make(name) {
        Some(env) => env?,
        None if python::is_python(name) => python::make(name)?,
        None => find(name)?.build(options)?,
    };
    Ok(Box::new(TimeLimit::new(env)))
}

/// Refuses what [`make_with`] would refuse of a name and of options, without making anything.
///
/// # Errors
///
/// An unknown name, an option that the task does not have, or a value that it cannot take.
pub fn check(name: &str, options: &[(String, OptionValue)]) -> Result<(), Error> {
    if custom::is_registered(name) || python::is_python(name) {
        return Options::resolve(name, &[], options).map(|_| ());
    }
    find(name)?.resolve(options).map(|_| ())
}

/// The line of that name.
///
/// # Errors
///
/// The name is unknown.
pub fn find(name: &str) -> Result<&'static Entry, Error> {
    let wanted = plain(name);
    TABLE
        .iter()
        .find(|entry| [entry.name, entry.official].iter().any(|known| plain(known) == wanted))
        .ok_or_else(|| Error::UnknownEnv { name: name.to_string(), nearest: nearest(&wanted) })
}

/// The spelling in which names are compared.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(':', "/").replace('_', "-")
}

/// The three names that look most like `name`.
fn nearest(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let official = TABLE.iter().map(|entry| (entry.name.to_owned(), likeness(entry.official)));
    let short = all_names().into_iter().map(|name| (name.clone(), likeness(&name)));
    let mut all: Vec<_> = short.chain(official).collect();
    all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let mut best: Vec<String> = Vec::new();
    for (name, _) in all {
        if best.len() < 3 && !best.contains(&name) {
            best.push(name);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_resolves_in_any_case() {
        for entry in table() {
            for name in [entry.name.to_string(), entry.official.to_string(), entry.official.to_uppercase()] {
                assert_eq!(find(&name).unwrap().name, entry.name);
            }
        }
        assert_eq!(find("dmc:ball_in_cup-catch").unwrap().name, "ball-in-cup-catch");
        let env = make("HalfCheetah-v5").unwrap();
        let spec = env.spec();
        assert_eq!((spec.name.as_str(), spec.official.as_str()), ("halfcheetah", "HalfCheetah-v5"));
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
            [("halfcheeta", "halfcheetah"), ("Walker2d-v4", "walker2d"), ("quadruped_wlak", "quadruped-walk")]
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
