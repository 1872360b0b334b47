//! Named places where a test can make a daemon fail or die, the same in the control plane and in the agent.
//! Inert unless a test or the environment variable [`VARIABLE`] arms one; the cost is one atomic load.
//!
//! Which points there are stands with the operations: `tepui_core::failpoint::STEPS` and the agent's
//! `execute::steps`. A test of each fails if a listed step does not pass its point, or if a call or a
//! job is not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The environment variable whose list a daemon arms at its start.
pub const VARIABLE: &str = "TEPUI_FAILPOINT";

/// The exit code of [`Effect::Exit`], by which a test tells it from a crash.
pub const EXIT_CODE: i32 = 86;

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

/// A list that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fail point '{0}' is not NAME=error or NAME=exit")]
pub struct ParseFailpointError(String);

/// What is armed, and what was passed while anything was.
struct Points {
    armed: BTreeMap<String, Armed>,
    passed: BTreeSet<String>,
}

struct Armed {
    effect: Effect,
    trips: u64,
}

static ANY_ARMED: AtomicBool = AtomicBool::new(false);
static POINTS: Mutex<Points> = Mutex::new(Points { armed: BTreeMap::new(), passed: BTreeSet::new() });

/// Arms `name` in this process.
pub fn arm(name: &str, effect: Effect) {
    with(|points| points.armed.insert(name.to_owned(), Armed { effect, trips: 0 }));
}

/// Disarms `name`.
pub fn disarm(name: &str) {
    with(|points| points.armed.remove(name));
}

/// How often an armed point was passed since it was armed.
pub fn trips(name: &str) -> u64 {
    with(|points| points.armed.get(name).map_or(0, |armed| armed.trips))
}

/// Every point that was passed while any was armed.
pub fn passed() -> BTreeSet<String> {
    with(|points| points.passed.clone())
}

/// Arms what a list such as `core::run::committed=exit,agent::stop::record=error` names; points that the
/// process does not have are never passed, so that all daemons can be given one list.
///
/// # Errors
/// An item that is not of this form; nothing is armed then.
pub fn arm_from(list: &str) -> Result<(), ParseFailpointError> {
    let items = list.split(',').filter(|item| !item.is_empty());
    for (name, effect) in items.map(parse).collect::<Result<Vec<_>, _>>()? {
        arm(name, effect);
    }
    Ok(())
}

fn parse(item: &str) -> Result<(&str, Effect), ParseFailpointError> {
    match item.rsplit_once('=') {
        Some((name, "error")) => Ok((name, Effect::Error)),
        Some((name, "exit")) => Ok((name, Effect::Exit)),
        Some(_) | None => Err(ParseFailpointError(item.to_owned())),
    }
}

/// Passes the point `name`.
///
/// # Errors
/// The point is armed with [`Effect::Error`].
pub fn hit(name: &str) -> Result<(), Tripped> {
    if !ANY_ARMED.load(Ordering::Acquire) {
        return Ok(());
    }
    let effect = with(|points| {
        points.passed.insert(name.to_owned());
        let armed = points.armed.get_mut(name)?;
        armed.trips += 1;
        Some(armed.effect)
    });
    match effect {
        None => Ok(()),
        Some(Effect::Error) => Err(Tripped(name.to_owned())),
        Some(Effect::Exit) => std::process::exit(EXIT_CODE),
    }
}

fn with<T>(change: impl FnOnce(&mut Points) -> T) -> T {
    let mut points = POINTS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = change(&mut points);
    ANY_ARMED.store(!points.armed.is_empty(), Ordering::Release);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fails_only_while_it_is_armed() {
        assert_eq!(hit("test::only"), Ok(()));
        assert!(!passed().contains("test::only"));
        arm_from("test::only=error").unwrap();
        assert_eq!(hit("test::only"), Err(Tripped("test::only".into())));
        assert_eq!(hit("test::other"), Ok(()));
        assert_eq!((trips("test::only"), trips("test::other")), (1, 0));
        assert!(passed().contains("test::only") && passed().contains("test::other"));
        disarm("test::only");
        assert_eq!(hit("test::only"), Ok(()));
    }

    #[test]
    fn a_list_names_points_and_effects_and_anything_else_is_refused_by_name() {
        assert_eq!(parse("core::run::committed=exit"), Ok(("core::run::committed", Effect::Exit)));
        assert_eq!(parse("agent::stop::record=error"), Ok(("agent::stop::record", Effect::Error)));
        assert_eq!(arm_from(""), Ok(()));
        let error = arm_from("test::never=error,agent::start::domain=explode").unwrap_err();
        assert_eq!(
            error.to_string(),
            "fail point 'agent::start::domain=explode' is not NAME=error or NAME=exit"
        );
        assert_eq!(hit("test::never"), Ok(()), "half a list was armed");
    }
}
