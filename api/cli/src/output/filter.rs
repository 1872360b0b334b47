//! Filters of jq over answers.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Exn, Vars, compile};
use jaq_json::{Val, read};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// A filter may run for ever; the longest list of a cloud takes well below a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// jq's formats for rows (jq manual, "Format strings and escaping"), which the library leaves out.
const ROWS: &str = r#"
def @csv: map(if . == null then "" elif type == "string" then "\"\(gsub("\""; "\"\""))\"" else tojson end) | join(",");
def @tsv: map(if . == null then "" elif type == "string" then
  gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r") else tojson end) | join("\t");
"#;

type Filter = jaq_core::compile::Filter<jaq_core::Native<JustLut<Val>>>;

/// Finds faults of a filter before anything is sent.
///
/// # Errors
/// A usage failure that quotes the place.
pub fn check(code: &str) -> Result<()> {
    compiled(code).map(drop).map_err(|fault| bad(code, &fault))
}

/// What the filter makes of an answer: one line for each value, strings without quotes.
pub(super) fn apply(code: &str, answer: &Value) -> Result<Vec<String>> {
    let (send, receive) = channel();
    let (owned, text) = (code.to_owned(), answer.to_string());
    // A thread of its own, because a filter cannot be stopped from outside.
    std::thread::spawn(move || send.send(run(&owned, &text)));
    match receive.recv_timeout(PATIENCE) {
        Ok(lines) => lines.map_err(|fault| {
            Failure::failed(format!("--jq '{code}' failed on the answer"))
                .why(fault)
                .try_("the same command with --json, to see the answer")
                .docs("tepui help output")
        }),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(Failure::failed(format!("--jq '{code}' does not end"))
                .why(format!("it was given {} s", PATIENCE.as_secs()))
                .docs("tepui help output"))
        }
    }
}

fn run(code: &str, answer: &str) -> Result<Vec<String>, String> {
    let filter = compiled(code)?;
    let input = read::parse_single(answer.as_bytes()).map_err(|e| e.to_string())?;
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    // What is no error is `halt`, which must not end this process.
    let told = |e: Exn<Val>| e.get_err().map_or_else(|_| "it halts".into(), |e| e.to_string());
    filter.id.run((context, input)).map(|value| value.map(|value| shown(&value)).map_err(told)).collect()
}

fn shown(value: &Val) -> String {
    match value {
        Val::TStr(text) | Val::BStr(text) => String::from_utf8_lossy(text).into_owned(),
        other => other.to_string(),
    }
}

fn compiled(code: &str) -> Result<Filter, String> {
    let rows = load::parse(ROWS, |parser| parser.defs()).into_iter().flatten();
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(rows);
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let loaded = Loader::new(definitions).load(&arena, File { code, path: () });
    let modules = loaded.map_err(|faults| first(faults, |fault| not_loaded(code, fault)))?;
    let compiled = Compiler::default().with_funs(functions).compile(modules);
    compiled.map_err(|faults| first(faults, undefined))
}

/// One fault is enough for a line of code.
fn first<E>(faults: load::Errors<&str, (), E>, tell: impl Fn(E) -> String) -> String {
    faults.into_iter().next().map(|(_, fault)| tell(fault)).unwrap_or_default()
}

fn not_loaded(code: &str, fault: load::Error<&str>) -> String {
    let expected = match fault {
        load::Error::Io(faults) => return faults.into_iter().map(|(_, fault)| fault).collect(),
        load::Error::Lex(faults) => {
            faults.into_iter().next().map(|(what, at): lex::Error<&str>| (what.as_str(), at))
        }
        load::Error::Parse(faults) => {
            faults.into_iter().next().map(|(what, at): parse::Error<&str>| (what.as_str(), at))
        }
    };
    let (what, at) = expected.unwrap_or(("a filter", ""));
    // What was found is a part of the code, so that its length tells where it begins.
    let at = at.as_ptr().addr().checked_sub(code.as_ptr().addr()).filter(|at| *at < code.len());
    let place =
        at.and_then(|at| code.get(at..)).map_or_else(|| "at its end".into(), |rest| format!("at '{rest}'"));
    format!("{what} is expected {place}")
}

fn undefined(faults: Vec<compile::Error<&str>>) -> String {
    let known = |(name, kind): &(&str, compile::Undefined)| format!("there is no {} '{name}'", kind.as_str());
    faults.first().map(known).unwrap_or_default()
}

fn bad(code: &str, fault: &str) -> Failure {
    Failure::usage(format!("--jq '{code}' is no filter of jq"))
        .why(fault)
        .try_("--jq '.[] | select(.state == \"running\") | .name'")
        .docs("tepui help output")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(code: &str) -> Vec<String> {
        apply(code, &json!([{"name": "web", "vcpus": 2}, {"name": "a b", "vcpus": 4}])).unwrap()
    }

    #[test]
    fn strings_come_out_bare_and_all_else_as_json() {
        assert_eq!(applied(".[].name"), ["web", "a b"]);
        assert_eq!(applied("map(.vcpus) | add"), ["6"]);
        assert_eq!(applied(".[0]"), [r#"{"name":"web","vcpus":2}"#]);
        assert_eq!(applied(".[] | [.name, .vcpus] | @tsv"), ["web\t2", "a b\t4"]);
        assert!(applied("empty").is_empty());
        assert_eq!(applied(r#"["a\tb\\c\n", 1, null] | @tsv"#), [r"a\tb\\c\n	1	"]);
        assert_eq!(applied(r#"["a \"b\"", 1.5, true] | @csv"#), [r#""a ""b""",1.5,true"#]);
    }

    #[test]
    fn a_fault_is_found_before_and_its_place_named() {
        for (code, said) in [
            (".[", "at its end"),
            (".[] | .name)", "at ')'"),
            (".[] | nmae", "there is no filter 'nmae'"),
            ("$x", "there is no variable"),
            ("", "at its end"),
        ] {
            let fault = check(code).unwrap_err();
            assert_eq!(fault.exit, crate::exit::Exit::Usage);
            assert!(fault.why[0].contains(said), "{code}: {fault:?}");
        }
    }

    #[test]
    fn a_filter_that_does_not_fit_the_answer_says_so() {
        let fault = apply(".name", &json!([1])).unwrap_err();
        assert_eq!(fault.exit, crate::exit::Exit::Failed);
        assert!(fault.why[0].contains("cannot index"), "{fault:?}");
    }
}
