//! Named places where a test can make the agent fail or die. Inert unless a test or the environment
//! variable `TEPUI_FAILPOINT` arms one; the cost is one atomic load.
//!
//! The names are `agent::<operation>::<step>`; the operations and steps are in
//! [`crate::execute::STAGES`], and a test fails if one of them does not pass its point.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What an armed point does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The step fails, each time.
    Error,
    /// The process ends at once, as if it were killed.
    Exit,
}

/// An armed point was passed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fail point {0}")]
pub struct Tripped(pub String);

/// The variable or its value cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fail point '{0}' is not NAME=error or NAME=exit")]
pub struct ParseFailpointError(String);

/// The exit code of [`Effect::Exit`], by which a test tells it from a crash.
pub const EXIT_CODE: i32 = 86;

static ANY_ARMED: AtomicBool = AtomicBool::new(false);
static ARMED: Mutex<BTreeMap<String, Armed>> = Mutex::new(BTreeMap::new());

struct Armed {
    effect: Effect,
    trips: u64,
}

/// Arms `name`.
pub fn arm(name: &str, effect: Effect) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    armed.insert(name.to_owned(), Armed { effect, trips: 0 });
    ANY_ARMED.store(true, Ordering::Release);
}

/// Disarms `name`.
pub fn disarm(name: &str) {
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    armed.remove(name);
    ANY_ARMED.store(!armed.is_empty(), Ordering::Release);
}

/// How often an armed point was passed since it was armed.
pub fn trips(name: &str) -> u64 {
    let armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    armed.get(name).map_or(0, |armed| armed.trips)
}

/// Arms what a list such as `agent::start::domain=exit,agent::stop::record=error` names.
pub fn arm_from(list: &str) -> Result<(), ParseFailpointError> {
    for item in list.split(',').filter(|item| !item.is_empty()) {
        match item.rsplit_once('=') {
            Some((name, "error")) => arm(name, Effect::Error),
            Some((name, "exit")) => arm(name, Effect::Exit),
            Some(_) | None => return Err(ParseFailpointError(item.to_owned())),
        }
    }
    Ok(())
}

/// Passes the point `name`.
pub fn hit(name: &str) -> Result<(), Tripped> {
    if !ANY_ARMED.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut armed = ARMED.lock().unwrap_or_else(PoisonError::into_inner);
    let effect = armed.get_mut(name).map(|armed| {
        armed.trips += 1;
        armed.effect
    });
    drop(armed);
    match effect {
        None => Ok(()),
        Some(Effect::Error) => Err(Tripped(name.to_owned())),
        Some(Effect::Exit) => std::process::exit(EXIT_CODE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fails_only_while_it_is_armed() {
        assert_eq!(hit("test::only"), Ok(()));
        arm_from("test::only=error").unwrap();
        assert_eq!(hit("test::only"), Err(Tripped("test::only".into())));
        assert_eq!(hit("test::other"), Ok(()));
        disarm("test::only");
        assert_eq!(hit("test::only"), Ok(()));
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_by_name() {
        let error = arm_from("agent::start::domain=explode").unwrap_err();
        assert_eq!(
            error.to_string(),
            "fail point 'agent::start::domain=explode' is not NAME=error or NAME=exit"
        );
    }
}
