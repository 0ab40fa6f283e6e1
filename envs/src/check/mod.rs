//! Does an environment keep the promises of [`Env`]?
//!
//! ```
//! use td_koopman_envs::{check, registry};
//!
//! let report = check::run(|| registry::make("pendulum"))?;
//! assert!(report.passed(), "{report}");
//! # Ok::<(), td_koopman_envs::Error>(())
//! ```
mod episode;
mod promises;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Env, Error, wrappers::TimeLimit};
use promises::PROMISES;

/// What came out of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The promise holds; what was seen.
    Passed(String),
    /// The promise is broken; how, and what to do.
    Failed(String),
    /// There was nothing to check; why.
    Skipped(String),
}

/// A promise and whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// A few words, e.g. `same seed, same episode`.
    pub promise: &'static str,
    /// Whether it is kept.
    pub verdict: Verdict,
}

/// All checks of an environment; prints as a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Name of the environment.
    pub env: String,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failures() == 0
    }

    /// Checks that failed.
    pub fn failures(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { promise, verdict } in &self.checks {
            let (word, why) = match verdict {
                Verdict::Passed(why) => ("passed", why),
                Verdict::Failed(why) => ("FAILED", why),
                Verdict::Skipped(why) => ("skipped", why),
            };
            writeln!(f, "{word:<8} {promise:<26} {why}")?;
        }
        let (all, failed) = (self.checks.len(), self.failures());
        match failed {
            0 => write!(f, "`{}` keeps its promises", self.env),
            _ => write!(f, "`{}` breaks {failed} of {all} promises", self.env),
        }
    }
}

/// What the promises are tried on. Models take long to load, so most of them share an environment: where it has been
/// must not matter.
struct Subject<'a> {
    make: &'a dyn Fn() -> Result<Box<dyn Env>, Error>,
    used: Option<Box<dyn Env>>,
}

impl Subject<'_> {
    /// An environment that nothing was done with, under its time limit as in training.
    fn fresh(&self) -> Result<Box<dyn Env>, Error> {
        Ok(Box::new(TimeLimit::new((self.make)()?)))
    }

    /// An environment that may have been used before.
    fn used(&mut self) -> Result<&mut dyn Env, Error> {
        let env = match self.used.take() {
            Some(env) => env,
            None => self.fresh()?,
        };
        Ok(&mut **self.used.insert(env))
    }
}

/// Checks the environments that `make` makes. Their time limit is applied as in training.
///
/// A panic is caught and reported as a broken promise.
///
/// # Errors
///
/// No environment can be made.
pub fn run(make: impl Fn() -> Result<Box<dyn Env>, Error>) -> Result<Report, Error> {
    let mut subject = Subject { make: &make, used: None };
    let env = subject.used()?.spec().name.clone();
    let checks = PROMISES.iter().map(|&(promise, judge)| {
        let verdict = catch_unwind(AssertUnwindSafe(|| judge(&mut subject)));
        let verdict = match verdict {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => Verdict::Failed(error.to_string()),
            Err(panic) => {
                subject.used = None; // whatever is left of it
                Verdict::Failed(format!("it panicked: {}", message(&*panic)))
            }
        };
        Check { promise, verdict }
    });
    Ok(Report { env, checks: checks.collect() })
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}
