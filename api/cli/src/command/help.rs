//! Help of commands, and the topics that belong to no single command.

use clap::{Args, CommandFactory};

use crate::cli::Cli;
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::suggest::nearest;

/// Topics and their texts.
pub const TOPICS: &[(&str, &str)] = &[
    ("contexts", include_str!("../help/contexts.txt")),
    ("environment", include_str!("../help/environment.txt")),
    ("errors", include_str!("../help/errors.txt")),
    ("exit-codes", include_str!("../help/exit-codes.txt")),
    ("names", include_str!("../help/names.txt")),
    ("output", include_str!("../help/output.txt")),
];

/// What to explain.
#[derive(Debug, Args)]
pub struct Help {
    /// A command, or one of: contexts, environment, errors, exit-codes, names, output
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

/// Prints the help of a command or a topic.
///
/// # Errors
/// There is no such command or topic.
pub fn run(help: &Help, session: &mut Session) -> Result<()> {
    if let [word] = help.words.as_slice()
        && let Some((_, text)) = TOPICS.iter().find(|(name, _)| name == word)
    {
        return session.print(text);
    }
    let text = command_help(&help.words)?;
    session.print(&text)
}

/// What the command's own `--help` says.
fn command_help(words: &[String]) -> Result<String> {
    let root = Cli::command();
    let mut command = &root;
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| unknown(word, command))?;
    }
    let line = ["tepui"].into_iter().chain(words.iter().map(String::as_str)).chain(["--help"]);
    Ok(root
        .clone()
        .try_get_matches_from(line)
        .err()
        .map(|help| help.render().to_string())
        .unwrap_or_default())
}

fn unknown(word: &str, command: &clap::Command) -> Failure {
    let commands = command.get_subcommands().filter(|inner| !inner.is_hide_set());
    let names = commands.map(|inner| inner.get_name().to_owned());
    let topics = TOPICS.iter().map(|(name, _)| (*name).to_owned()).filter(|_| command.get_name() == "tepui");
    let failure =
        Failure::usage(format!("no command or topic '{word}'")).try_("tepui help").docs("tepui help");
    match nearest(names.chain(topics), word) {
        Some(name) => failure.why(format!("did you mean '{name}'?")),
        None => failure,
    }
}
