//! Command lines that do not parse, told in the five parts; and `--help`, which clap treats alike.

use std::ffi::OsString;
use std::io::Write as _;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::cli::Cli;
use crate::command::Finish;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::world::Streams;

/// Prints what clap found in these words. A reader that went away wants no more of it.
pub(crate) fn answer(error: &clap::Error, words: &[OsString], streams: &mut Streams) -> Finish {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(streams.out, "{}", error.render());
            Finish::Exit(Exit::Ok)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(streams.err, "{}", error.render());
            Finish::Exit(Exit::Usage)
        }
        _ => {
            let _ = streams.err.write_all(failure(error, &command(words)).render().as_bytes());
            Finish::Exit(Exit::Usage)
        }
    }
}

fn failure(error: &clap::Error, command: &str) -> Failure {
    let text = error.render().to_string();
    let said = text.split("\n\n").next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let failure = suggestions(error).into_iter().fold(Failure::usage(first_line(said)), Failure::why);
    let facts = said.lines().skip(1).map(|line| line.trim().trim_matches(['[', ']']));
    facts
        .fold(failure, Failure::why)
        .try_(format!("{command} --help"))
        .docs(format!("tepui help{}", command.trim_start_matches("tepui")))
}

/// Without the colon that announces the lines after it.
fn first_line(said: &str) -> &str {
    said.lines().next().unwrap_or_default().trim_end_matches(':')
}

fn suggestions(error: &clap::Error) -> Vec<String> {
    let kinds = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let found = kinds.into_iter().filter_map(|kind| error.get(kind)).flat_map(|value| match value {
        ContextValue::String(one) => vec![one.clone()],
        ContextValue::Strings(several) => several.clone(),
        _ => Vec::new(),
    });
    found.map(|word| format!("did you mean '{word}'?")).collect()
}

/// The command that was meant: the words that name one, as far as they go.
fn command(words: &[OsString]) -> String {
    let root = Cli::command();
    let (mut command, mut names) = (&root, vec!["tepui"]);
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(found) = command.find_subcommand(word) {
            names.push(found.get_name());
            command = found;
        } else if !word.starts_with('-') {
            break;
        }
    }
    names.join(" ")
}
