//! `tepui-fleet`: thousands of simulated hosts in one process. Each is enrolled as a real host is, and
//! holds one connection with its own certificate over which it speaks the agents' protocol: it polls,
//! takes parts, "runs" what they name, and reports. What a host would keep on disk is only remembered.
//!
//! The state of all is one line of JSON on standard output whenever it changed, at most ten a second.

mod agent;
mod guests;
mod join;
mod line;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tepui_types::agent::NodeCapacity;
use tokio::task::JoinSet;
use url::Url;

use agent::{Agent, Manner};
use tally::Tally;

/// Runs many simulated hosts until it is ended.
#[derive(Parser)]
#[command(name = "tepui-fleet", version)]
struct Arguments {
    /// The control plane's listener for agents.
    #[arg(long, value_name = "URL")]
    api_url: Url,
    /// How many hosts.
    #[arg(long)]
    count: usize,
    /// Where their identities are kept; those that are there already need not join.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The REST listener, for join tokens of hosts that are not there yet.
    #[arg(long, env = "TEPUI_URL")]
    url: Option<String>,
    /// An administrator's token for it.
    #[arg(long, env = "TEPUI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Hardware threads that each host shows.
    #[arg(long, default_value_t = 64)]
    vcpus: u32,
    /// Memory that each host shows, in MiB.
    #[arg(long, default_value_t = 256 << 10)]
    memory_mib: u64,
    /// Disk that each host shows, in GiB.
    #[arg(long, default_value_t = 4096)]
    disk_gib: u64,
    /// How long a guest takes to start, in milliseconds.
    #[arg(long, default_value_t = 0)]
    start_ms: u64,
    /// The hosts begin spread over so many milliseconds.
    #[arg(long, default_value_t = 0)]
    spread_ms: u64,
    /// Only connect, shake hands, and hold the connection: what a host costs before it says a word.
    #[arg(long)]
    handshakes_only: bool,
    /// Let the hosts join and end.
    #[arg(long)]
    join_only: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let capacity = NodeCapacity {
        vcpus: arguments.vcpus,
        memory_mib: arguments.memory_mib,
        disk_gib: arguments.disk_gib,
    };
    let client = client(&arguments)?;
    let fleet =
        join::Fleet { api_url: arguments.api_url.clone(), dir: arguments.dir.clone(), capacity, client };
    let identities = fleet.identities(arguments.count).await?;
    if arguments.join_only {
        return Ok(());
    }
    let tally = Arc::new(Tally::new(arguments.count));
    let manner = Manner {
        handshakes_only: arguments.handshakes_only,
        start: Duration::from_millis(arguments.start_ms),
        spread: Duration::from_millis(arguments.spread_ms),
        capacity,
    };
    let address = address(&arguments.api_url)?;
    let mut agents = JoinSet::new();
    for identity in &identities {
        let agent = Agent::new(identity, &address, manner, Arc::clone(&tally))?;
        agents.spawn(agent.live());
    }
    drop(identities);
    tally.tell().await
}

fn client(arguments: &Arguments) -> anyhow::Result<Option<tepui_client::Client>> {
    let (Some(url), Some(token)) = (&arguments.url, &arguments.token) else { return Ok(None) };
    Ok(Some(tepui_client::Client::new(url, token, None)?))
}

fn address(url: &Url) -> anyhow::Result<String> {
    let (host, port) = (url.host_str(), url.port_or_known_default());
    let (host, port) = host.zip(port).with_context(|| format!("--api-url {url} names no host and port"))?;
    Ok(format!("{host}:{port}"))
}
