//! What a task lets its user choose: the keywords of the original's constructor, typed, with their defaults.
use std::fmt;

use crate::Error;

/// The value of an option.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OptionValue {
    /// Yes or no.
    Flag(bool),
    /// A whole number of at least 1. A [`OptionValue::Number`] will do where one is expected.
    Count(usize),
    /// A number.
    Number(f64),
    /// The lower and the upper end of a range, either of which may be infinite.
    Range(f64, f64),
}

impl OptionValue {
    /// The sort of value, as a sentence says it.
    fn kind(self) -> &'static str {
        match self {
            OptionValue::Flag(_) => "true or false",
            OptionValue::Count(_) => "a whole number of at least 1",
            OptionValue::Number(_) => "a number",
            OptionValue::Range(..) => "a range [low, high]",
        }
    }

    /// This value as one of the sort of `default`, where that is possible.
    fn like(self, default: Self) -> Option<Self> {
        match (default, self) {
            (OptionValue::Flag(_), OptionValue::Flag(_)) => Some(self),
            (OptionValue::Count(_), OptionValue::Count(n)) => (n >= 1).then_some(self),
            (OptionValue::Count(_), OptionValue::Number(x)) => {
                (x >= 1.0 && x.fract() == 0.0 && x <= f64::from(u32::MAX))
                    .then_some(OptionValue::Count(x as usize))
            }
            (OptionValue::Number(_), OptionValue::Number(x)) => x.is_finite().then_some(self),
            (OptionValue::Number(_), OptionValue::Count(n)) => Some(OptionValue::Number(n as f64)),
            (OptionValue::Range(..), OptionValue::Range(low, high)) => (low <= high).then_some(self),
            _ => None,
        }
    }
}

impl fmt::Display for OptionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::Flag(flag) => f.pad(&flag.to_string()),
            OptionValue::Count(count) => f.pad(&count.to_string()),
            OptionValue::Number(number) => f.pad(&number.to_string()),
            OptionValue::Range(low, high) => f.pad(&format!("[{low}, {high}]")),
        }
    }
}

/// Something that a task lets its user choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnvOption {
    /// Its name, that of the keyword in the original.
    pub name: &'static str,
    /// Its value when nothing is said.
    pub default: OptionValue,
    /// What it does.
    pub help: &'static str,
    /// Which numbers it takes.
    pub(crate) limit: Limit,
}

/// Which numbers an option takes; other sorts have no limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    Any,
    NotNegative,
    Positive,
}

/// A line of an option table.
pub(crate) const fn option(name: &'static str, default: OptionValue, help: &'static str) -> EnvOption {
    EnvOption { name, default, help, limit: Limit::Any }
}

impl EnvOption {
    /// The same for numbers within a limit.
    pub(crate) const fn limited(self, limit: Limit) -> Self {
        Self { limit, ..self }
    }

    /// What it takes, as a sentence says it.
    fn expected(&self) -> &'static str {
        match (self.default, self.limit) {
            (OptionValue::Number(_), Limit::NotNegative) => "a number of at least 0",
            (OptionValue::Number(_), Limit::Positive) => "a number above 0",
            (default, _) => default.kind(),
        }
    }

    /// The value as this option takes it, if it does.
    fn accept(&self, value: OptionValue) -> Option<OptionValue> {
        let value = value.like(self.default)?;
        let within = match (value, self.limit) {
            (OptionValue::Number(x), Limit::NotNegative) => x >= 0.0,
            (OptionValue::Number(x), Limit::Positive) => x > 0.0,
            _ => true,
        };
        within.then_some(value)
    }
}

/// All options of a task with their values.
pub(crate) struct Options(Vec<(&'static str, OptionValue)>);

impl Options {
    /// The defaults of `known` with the changes of `given`.
    ///
    /// # Errors
    ///
    /// An unknown name, or a value of another sort.
    pub(crate) fn resolve(
        env: &str,
        known: &[EnvOption],
        given: &[(String, OptionValue)],
    ) -> Result<Self, Error> {
        let mut values: Vec<_> = known.iter().map(|option| (option.name, option.default)).collect();
        for (name, value) in given {
            let Some(place) = known.iter().position(|option| option.name == name) else {
                let known = known.iter().map(|option| option.name).collect();
                return Err(Error::UnknownOption { env: env.into(), name: name.clone(), known });
            };
            let option = known[place];
            values[place].1 = option.accept(*value).ok_or_else(|| Error::OptionValue {
                env: env.into(),
                name: option.name,
                value: *value,
                expected: option.expected(),
                default: option.default,
            })?;
        }
        Ok(Self(values))
    }

    /// # Panics
    ///
    /// These four panic when the task has no such option of that sort: its table and its constructor disagree.
    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            OptionValue::Flag(flag) => flag,
            other => panic!("the option `{name}` is {}", other.kind()),
        }
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        match self.value(name) {
            OptionValue::Count(count) => count,
            other => panic!("the option `{name}` is {}", other.kind()),
        }
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            OptionValue::Number(number) => number,
            other => panic!("the option `{name}` is {}", other.kind()),
        }
    }

    pub(crate) fn range(&self, name: &str) -> (f64, f64) {
        match self.value(name) {
            OptionValue::Range(low, high) => (low, high),
            other => panic!("the option `{name}` is {}", other.kind()),
        }
    }

    fn value(&self, name: &str) -> OptionValue {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("the task reads an option `{name}` that its table lacks")).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [EnvOption; 5] = [
        option("skip", OptionValue::Count(5), "steps"),
        option("weight", OptionValue::Number(0.1), "weight"),
        option("noise", OptionValue::Number(0.5), "noise").limited(Limit::NotNegative),
        option("mass", OptionValue::Number(0.5), "mass").limited(Limit::Positive),
        option("healthy", OptionValue::Range(0.7, f64::INFINITY), "range"),
    ];

    fn resolve(name: &str, value: OptionValue) -> Result<Options, String> {
        Options::resolve("hopper", &KNOWN, &[(name.into(), value)]).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_keeps_its_default_and_whole_numbers_count() {
        let options = resolve("skip", OptionValue::Number(2.0)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (options.count("skip"), options.number("weight"), options.range("healthy")),
            (2, 0.1, (0.7, f64::INFINITY))
        );
    }

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        let error = resolve("wieght", OptionValue::Number(1.0)).err().unwrap();
        assert_eq!(
            error,
            "the environment `hopper` has no option `wieght`; its options are skip, weight, noise, mass, healthy; \
             `td-koopman envs hopper` describes them"
        );
    }

    #[test]
    fn a_value_of_another_sort_is_refused_with_the_default() {
        for (name, value, expected) in [
            ("skip", OptionValue::Number(0.0), "a whole number of at least 1, 5 by default"),
            ("skip", OptionValue::Number(1.5), "a whole number"),
            ("weight", OptionValue::Flag(true), "cannot be true: it is a number, 0.1 by default"),
            ("weight", OptionValue::Number(f64::NAN), "a number"),
            ("noise", OptionValue::Number(-1.0), "a number of at least 0, 0.5 by default"),
            ("mass", OptionValue::Number(0.0), "a number above 0, 0.5 by default"),
            ("healthy", OptionValue::Range(2.0, 1.0), "a range [low, high], [0.7, inf] by default"),
        ] {
            let error = resolve(name, value).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
    }
}
