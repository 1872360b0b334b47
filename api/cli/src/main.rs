//! `tepui`: the composition root. Environment, terminal and chance are read here and
//! nowhere else.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufReader, IsTerminal};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use indicatif::ProgressDrawTarget;
use ssh_key::rand_core::{OsRng, RngCore};
use tepui_cli::command::Finish;
use tepui_cli::complete;
use tepui_cli::exit::Exit;
use tepui_cli::world::{Streams, World};

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    if complete::answered(world(), &words) {
        return ExitCode::SUCCESS;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: cannot start the runtime: {e}");
            return ExitCode::from(Exit::Failed.code());
        }
    };
    let interrupt = async {
        // Without a handler Ctrl-C ends the process in the ordinary way.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let finish = runtime.block_on(tepui_cli::run(words, world(), streams(), interrupt));
    // A thread may still sit in a read of standard input.
    runtime.shutdown_background();
    match finish {
        Finish::Exit(exit) => ExitCode::from(exit.code()),
        Finish::Exec(words) => exec(&words),
    }
}

fn world() -> World {
    let stderr_is_terminal = io::stderr().is_terminal();
    World {
        url: text("TEPUI_URL"),
        token: text("TEPUI_TOKEN"),
        ca_bundle: text("TEPUI_CA_BUNDLE").or_else(|| text("AWS_CA_BUNDLE")).map(PathBuf::from),
        config_dir: folder("XDG_CONFIG_HOME", ".config"),
        data_dir: folder("XDG_DATA_HOME", ".local/share"),
        stdout_is_terminal: io::stdout().is_terminal(),
        stdin_is_terminal: io::stdin().is_terminal(),
        width: width(),
        progress: if stderr_is_terminal { ProgressDrawTarget::stderr } else { ProgressDrawTarget::hidden },
        random,
    }
}

fn streams() -> Streams {
    Streams {
        out: Box::new(io::stdout()),
        err: Box::new(io::stderr()),
        input: Box::new(BufReader::new(io::stdin())),
    }
}

/// A variable that is set and not empty.
fn text(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Ours among a user's files, where the XDG base directory specification puts them.
fn folder(variable: &str, below_home: &str) -> PathBuf {
    let base = text(variable).map(PathBuf::from);
    let home = || text("HOME").map(|home| PathBuf::from(home).join(below_home));
    base.or_else(home).unwrap_or_else(|| ".".into()).join("tepui")
}

/// `COLUMNS`, or what the terminal says.
fn width() -> Option<u16> {
    let asked = || terminal_size::terminal_size().map(|(width, _)| width.0);
    text("COLUMNS").and_then(|columns| columns.parse().ok()).or_else(asked)
}

/// Becomes another program.
fn exec(words: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else { return ExitCode::from(Exit::Failed.code()) };
    let error = Command::new(program).args(arguments).exec();
    eprintln!("error: cannot run {}: {error}", program.display());
    eprintln!("try:   sudo apt install openssh-client");
    ExitCode::from(Exit::Failed.code())
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
