//! The command line of Tepui as a library: everything it needs from outside comes in a
//! [`World`](world::World), so that tests run whole commands without a process.

pub mod cli;
pub mod command;
pub mod complete;
pub mod dev;
pub mod exit;
pub mod failure;
pub mod output;
pub mod session;
pub mod world;

mod aws;
mod cloud;
mod confirm;
mod local;
mod progress;
mod repeat;
mod suggest;
mod usage;
mod wait;

use std::ffi::OsString;
use std::future::Future;

use clap::Parser;

use crate::cli::{Cli, Global};
use crate::command::Finish;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Session;
use crate::world::{Streams, World};

/// Runs one command line, the program's name first, until it is done or `interrupt` comes.
pub async fn run(
    words: Vec<OsString>,
    world: World,
    mut streams: Streams,
    interrupt: impl Future<Output = ()>,
) -> Finish {
    let cli = match Cli::try_parse_from(&words) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, &words, &mut streams),
    };
    let mut session = Session::new(world, streams, &cli.global);
    if let Err(failure) = check_output(&cli.global) {
        return refused(&failure, &mut session);
    }
    let outcome = tokio::select! {
        outcome = command::run(cli.noun, &mut session) => Some(outcome),
        () = interrupt => None,
    };
    match outcome {
        Some(Ok(finish)) => finish,
        Some(Err(failure)) => refused(&failure, &mut session),
        None => interrupted(&mut session),
    }
}

/// What clap cannot say of options that stand on every command.
fn check_output(global: &Global) -> Result<(), Failure> {
    let other = if global.jq.is_some() { "--jq" } else { "--json" };
    if global.quiet && global.json_fields().is_some() {
        let message = format!("--quiet and {other} exclude each other");
        return Err(Failure::usage(message).docs("tepui help output"));
    }
    global.jq.as_deref().map_or(Ok(()), output::check_filter)
}

fn refused(failure: &Failure, session: &mut Session) -> Finish {
    session.note(&failure.render());
    Finish::Exit(failure.exit)
}

fn interrupted(session: &mut Session) -> Finish {
    let text = session.go_on.take().unwrap_or_else(|| "cancelled".into());
    session.note(&format!("\n{text}"));
    Finish::Exit(Exit::Cancelled)
}
