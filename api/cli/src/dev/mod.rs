//! `tepui dev`: a whole cloud on one machine, of the real daemons, and its end without a trace.
//!
//! ```text
//!   the machine                 underlay namespace         node namespaces (network, mount, UTS)
//!   tepui-api ── public 127.0.0.1
//!       └─ agents' socket ───── 10.213.K.1 ─┐
//!   10.213.K.254 (veth) ─────────────────── bridge ─────── eth0 10.213.K.11 … tepui-node, libvirtd
//!   route 198.18.K.0/24 ────────┘
//! ```

mod config;
mod down;
mod env;
mod marker;
mod names;
mod node;
mod process;
mod reap;
mod shared;
mod state;
mod tools;
mod topology;
mod up;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::geteuid;

use crate::cli::examples;
use crate::failure::{Failure, Result};
use crate::session::Session;

/// The verbs of `tepui dev`.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Start a cloud on this machine, or what died of one
    #[command(before_help = examples!("sudo tepui dev up --dir target/demo", "sudo tepui dev up --dir /tmp/sim --hypervisor sim --nodes 50"))]
    Up(Up),
    /// End a cloud and remove everything it made
    #[command(before_help = examples!("sudo tepui dev down --dir target/demo", "sudo tepui dev down --dir /tmp/sim"))]
    Down(Down),
    /// Run a program and adopt the orphans it leaves
    #[command(hide = true, before_help = examples!("tepui dev reap true", "tepui dev reap libvirtd"))]
    Reap(reap::Reap),
}

/// Options of `tepui dev up`.
#[derive(Debug, Clone, Args)]
pub struct Up {
    /// Directory of the cloud; it is made
    #[arg(long)]
    pub dir: PathBuf,
    /// Address of the EC2 and REST listener, on loopback
    #[arg(long, default_value = "127.0.0.1:8773")]
    pub listen: SocketAddr,
    /// Number of hosts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub nodes: u16,
    /// What the hosts run guests with
    #[arg(long, value_enum, default_value_t = Hypervisor::Libvirt)]
    pub hypervisor: Hypervisor,
    /// Directory of tepui-api and tepui-node; that of this program when absent
    #[arg(long)]
    pub bin_dir: Option<PathBuf>,
}

/// Options of `tepui dev down`.
#[derive(Debug, Clone, Args)]
pub struct Down {
    /// Directory of the cloud
    #[arg(long)]
    pub dir: PathBuf,
}

/// What a dev cloud's hosts run guests with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// Real guests, each host with a libvirtd of its own
    Libvirt,
    /// Simulated guests, all hosts in one process
    Sim,
}

/// Runs a verb.
///
/// # Errors
/// What it met; what was made so far stays for the next `up` or `down`.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::Up(up) => {
            require_root("up", &up.dir)?;
            up::run(&up, session).await
        }
        Verb::Down(down) => {
            require_root("down", &down.dir)?;
            down::run(&down.dir, session).await
        }
        Verb::Reap(reap) => reap::run(&reap),
    }
}

fn require_root(verb: &str, dir: &std::path::Path) -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::failed(format!("'tepui dev {verb}' needs root"))
        .why("it makes network namespaces, bridges and mounts")
        .try_(format!("sudo tepui dev {verb} --dir {}", dir.display())))
}
