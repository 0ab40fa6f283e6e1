//! Environments that are added to the registry while the program runs.
use std::{
    error,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{Env, Error};

/// Makes an environment, or says why it cannot.
type Build = dyn Fn() -> Result<Box<dyn Env>, Box<dyn error::Error + Send + Sync>> + Send + Sync;

/// Names are few and looked up rarely: a list, in the order of registration.
static REGISTERED: RwLock<Vec<(String, Arc<Build>)>> = RwLock::new(Vec::new());

/// Adds an environment under a name, for this process. From then on it is opened, listed and checked like those
/// that come with the program.
///
/// # Errors
///
/// The name is taken, or begins like those of Python environments.
pub fn register(
    name: &str,
    build: impl Fn() -> Result<Box<dyn Env>, Box<dyn error::Error + Send + Sync>> + Send + Sync + 'static,
) -> Result<(), Error> {
    // looked up before the list is locked, for looking up reads it
    let reserved = crate::registry::find(name).is_ok() || crate::python::is_python(name);
    let mut registered = REGISTERED.write().unwrap_or_else(PoisonError::into_inner);
    if reserved || registered.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Err(Error::NameTaken { name: name.to_owned() });
    }
    registered.push((name.to_owned(), Arc::new(build)));
    Ok(())
}

/// Makes the registered environment of that name, if there is one.
pub(crate) fn make(name: &str) -> Option<Result<Box<dyn Env>, Error>> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    let (known, build) = registered.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
    let (known, build) = (known.clone(), Arc::clone(build));
    drop(registered); // a constructor may register or open others
    Some(build().map_err(|error| Error::Build { env: known, message: error.to_string() }))
}

/// Whether an environment was registered under that name.
pub(crate) fn is_registered(name: &str) -> bool {
    names().iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The registered names.
pub(crate) fn names() -> Vec<String> {
    let registered = REGISTERED.read().unwrap_or_else(PoisonError::into_inner);
    registered.iter().map(|(name, _)| name.clone()).collect()
}
