//! What a command says when it did not do what was asked: five parts, always in the same order.

use std::fmt::{self, Write as _};

use tepui_types::{ErrorBody, ErrorCode};

use crate::exit::Exit;
use crate::output::printable;

/// The result of everything that can end a command.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A failed command. `Display` is the message alone; [`Failure::render`] prints all five parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the shell sees.
    pub exit: Exit,
    /// What the cloud said to programs; `None` when it was not asked or did not answer.
    pub code: Option<ErrorCode>,
    /// What failed, with object and value.
    pub message: String,
    /// The facts behind it.
    pub why: Vec<String>,
    /// Commands that can be pasted, or changes that help.
    pub try_: Vec<String>,
    /// A command that shows the documentation.
    pub docs: String,
    /// Names the request in the cloud's logs.
    pub request_id: Option<Box<str>>,
}

impl Failure {
    /// A failure that so far only says what failed.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: None,
            message: message.into(),
            why: Vec::new(),
            try_: Vec::new(),
            docs: "tepui help exit-codes".into(),
            request_id: None,
        }
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// It was refused or went wrong.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// Reading or writing `what` on this machine failed.
    pub fn io(what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::failed(format!("{what}: {source}"))
    }

    /// Adds a fact.
    #[must_use]
    pub fn why(mut self, fact: impl Into<String>) -> Self {
        self.why.push(fact.into());
        self
    }

    /// Adds something that helps.
    #[must_use]
    pub fn try_(mut self, command: impl Into<String>) -> Self {
        self.try_.push(command.into());
        self
    }

    /// Names the documentation.
    #[must_use]
    pub fn docs(mut self, command: impl Into<String>) -> Self {
        self.docs = command.into();
        self
    }

    /// The text for standard error, control characters of the server's words made harmless.
    pub fn render(&self) -> String {
        let mut text = part("error: ", std::slice::from_ref(&self.message));
        text += &part("why:   ", &self.why);
        text += &part("try:   ", &self.try_);
        let _ = write!(text, "docs:  {}", printable(&self.docs));
        if let Some(id) = &self.request_id {
            let _ = write!(text, "        request: {}", printable(id));
        }
        text + "\n"
    }
}

/// The lines of one part under its label.
fn part(label: &str, lines: &[String]) -> String {
    let blank = " ".repeat(label.len());
    let heads = std::iter::once(label).chain(std::iter::repeat(blank.as_str()));
    heads.zip(lines.iter().flat_map(|line| line.lines())).fold(String::new(), |mut text, (head, line)| {
        let _ = writeln!(text, "{head}{}", printable(line));
        text
    })
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        Self {
            exit: body.code.into(),
            code: Some(body.code),
            message: body.message,
            why: body.why,
            try_: body.try_,
            docs: "tepui help errors".into(),
            request_id: Some(body.request_id.into()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_parts_stand_in_their_order_and_align() {
        let failure = Failure::from(ErrorBody {
            code: ErrorCode::NoCapacity,
            message: "no node can hold m5.2xlarge (8 vCPU, 32 GiB)".into(),
            why: vec!["node-1: 24 GiB free".into(), "node-2: draining".into()],
            try_: vec![
                "tepui instance run debian-12 --type m5.xlarge".into(),
                "tepui node undrain node-2".into(),
            ],
            request_id: "req-0123".into(),
        });
        assert_eq!(failure.exit, Exit::NoCapacity);
        insta::assert_snapshot!(failure.render(), @r"
        error: no node can hold m5.2xlarge (8 vCPU, 32 GiB)
        why:   node-1: 24 GiB free
               node-2: draining
        try:   tepui instance run debian-12 --type m5.xlarge
               tepui node undrain node-2
        docs:  tepui help errors        request: req-0123
        ");
    }

    #[test]
    fn control_characters_of_a_server_do_not_reach_the_terminal() {
        let text = Failure::failed("name '\u{1b}[31mred\u{7}'").render();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text:?}");
    }
}
