//! `tepui-api`: the control plane of a Tepui cloud.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use tepui_server::{Config, Server};
use tepui_types::failpoint;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The control plane of a Tepui cloud. Without a command it serves.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Form of the log on stderr; TEPUI_LOG chooses what it tells, for example `info,tepui_core=debug`.
    #[arg(long, value_enum, default_value = "text")]
    log: LogForm,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Makes database, keys, authority and the first administrator, and prints the key as JSON.
    /// Repeated it prints the same.
    Init,
    /// Copies the database to a new file, also while the control plane runs.
    Backup {
        /// An absolute path.
        file: PathBuf,
    },
    /// Puts a backup in the place of a stopped control plane's database.
    Restore {
        /// The backup.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Backups and whatever else is made here are the owner's alone unless its maker says otherwise.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    start_log(arguments.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done =
        runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(run(arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    failpoint::arm_from(&std::env::var(failpoint::VARIABLE).unwrap_or_default())?;
    let config = Config::load(&arguments.config)?;
    match arguments.command {
        None => serve(&config).await,
        Some(Command::Init) => {
            let made = tepui_server::init(&config).await?;
            Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&made)?)?)
        }
        Some(Command::Backup { file }) => Ok(tepui_server::backup(&config, &file).await?),
        Some(Command::Restore { file }) => {
            let epoch = tepui_server::restore(&config, &file).await?;
            Ok(writeln!(std::io::stdout(), "restored; epoch {epoch}")?)
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    raise_file_limit();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let running = Server::start(config).await?;
    tracing::info!(
        public = %running.public_addr, agents = %running.agents_addr, metrics = %running.metrics_addr,
        version = env!("CARGO_PKG_VERSION"), "the control plane answers"
    );
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    tracing::info!("shutting down");
    running.shutdown().await;
    Ok(())
}

/// Each agent holds a connection; the usual soft limit of 1,024 is for programs that use select(2).
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn start_log(form: LogForm) {
    let filter =
        EnvFilter::try_from_env("TEPUI_LOG").unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn"));
    let colour = std::io::stderr().is_terminal();
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr);
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().init(),
    }
}
