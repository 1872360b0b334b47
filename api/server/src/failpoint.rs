//! Arms the domain's fail points from the environment, in the same words as the agent does:
//! `TEPUI_FAILPOINT=core::run::committed=exit`. Nothing is installed where the variable is not set.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use tepui_core::failpoint::{Verdict, install};

/// The exit code of a point armed with `exit`, by which a test tells it from a crash; the agent's too.
const EXIT_CODE: i32 = 86;

/// A list that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fail point '{0}' is not NAME=error or NAME=exit")]
pub struct ParseFailpointError(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The operation fails there, each time.
    Error,
    /// The process ends at once, as if it were killed.
    Exit,
}

static ARMED: OnceLock<BTreeMap<String, Effect>> = OnceLock::new();

/// Arms what a list such as `core::run::committed=exit,core::stop::woken=error` names. The list is
/// shared with the agent, so that names of others are left alone.
///
/// # Errors
/// An item that is not of this form.
pub fn arm(list: &str) -> Result<(), ParseFailpointError> {
    let armed = parse(list)?;
    if !armed.is_empty() {
        ARMED.get_or_init(|| armed);
        install(verdict);
    }
    Ok(())
}

fn parse(list: &str) -> Result<BTreeMap<String, Effect>, ParseFailpointError> {
    let items = list.split(',').filter(|item| !item.is_empty());
    items
        .map(|item| match item.rsplit_once('=') {
            Some((name, "error")) => Ok((name.to_owned(), Effect::Error)),
            Some((name, "exit")) => Ok((name.to_owned(), Effect::Exit)),
            Some(_) | None => Err(ParseFailpointError(item.to_owned())),
        })
        .collect()
}

fn verdict(step: &'static str) -> Verdict {
    match ARMED.get().and_then(|armed| armed.get(step)) {
        None => Verdict::Continue,
        Some(Effect::Error) => Verdict::Die,
        Some(Effect::Exit) => std::process::exit(EXIT_CODE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_points_and_effects_and_anything_else_is_refused_by_name() {
        let armed = parse("core::run::committed=exit,core::stop::woken=error").unwrap();
        assert_eq!(armed["core::run::committed"], Effect::Exit);
        assert_eq!(armed["core::stop::woken"], Effect::Error);
        assert!(parse("").unwrap().is_empty());
        let error = parse("core::run::committed=explode").unwrap_err();
        assert_eq!(
            error.to_string(),
            "fail point 'core::run::committed=explode' is not NAME=error or NAME=exit"
        );
    }
}
