//! `tepui-node`: the agent of one host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use futures::future::select_all;
use rand::Rng;
use tepui_agent::config::{self, HypervisorConfig, NodeConfig, SimulationConfig};
use tepui_agent::hypervisor::{Hypervisor, LibvirtHypervisor, STATE_DIR, SimulatedSettings};
use tepui_agent::identity::{JoinToken, Joining, come_home, join};
use tepui_agent::images::CacheLimits;
use tepui_agent::network::{HostNetwork, HostNetworkConfig, Network};
use tepui_agent::simulate::{self, Chance, Simulated};
use tepui_agent::storage::PoolSettings;
use tepui_agent::{Agent, AgentParts, DiskChoice, Settings, accelerator, agent, doctor, host};
use tepui_libvirt::{Accelerator, LibvirtHost, probe_accelerator};
use tepui_types::rest::CheckOutcome;
use tepui_types::{Timestamp, failpoint};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Of a quick call to libvirt.
const LIBVIRT_DEADLINE: Duration = Duration::from_secs(30);
/// What the names of the network devices begin with.
const DEVICE_PREFIX: &str = "tp";
/// Where the system's name servers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

#[derive(Parser)]
#[command(name = "tepui-node", version, about = "The agent of a host of a Tepui cloud.")]
struct Arguments {
    /// The configuration: node.toml, or sim.toml for `simulate`.
    #[arg(long, global = true, default_value = "/etc/tepui/node.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the agent until it is ended by a signal. Guests run on without it.
    Run,
    /// Joins a cloud. Repeat it with the same token if it was interrupted.
    Join {
        /// What `tepui node join-token` printed; `-` reads it from standard input, so that no other user
        /// of the host sees it in the list of processes.
        token: String,
    },
    /// Compares the ledger with what is on this host, and names the cures. Ends with 1 if something is wrong,
    /// with 0 if nothing is or only what wants a look.
    Doctor(DoctorOptions),
    /// Runs many simulated nodes in this process.
    Simulate,
}

#[derive(Args)]
struct DoctorOptions {
    /// Only what is not as it should be.
    #[arg(long)]
    problems: bool,
    /// First put right what risks nothing: never a guest or a disk. Says what was done.
    #[arg(long)]
    fix: bool,
    /// Print one JSON object, of the form that `tepui doctor --json` has.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    failpoint::arm_from(&std::env::var(failpoint::VARIABLE).unwrap_or_default())?;
    match arguments.command {
        Command::Run => run(&node_config(&arguments.config)?).await?,
        Command::Join { token } => join_cloud(&node_config(&arguments.config)?, &token).await?,
        // It only looks, and makes no directory.
        Command::Doctor(options) => return run_doctor(&config::read(&arguments.config)?, &options).await,
        Command::Simulate => simulate(&config::read(&arguments.config)?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads node.toml and makes the data directory.
fn node_config(path: &Path) -> anyhow::Result<NodeConfig> {
    let config: NodeConfig = config::read(path)?;
    agent::make_dir(&config.data_dir).with_context(|| config.data_dir.display().to_string())?;
    Ok(config)
}

async fn run(config: &NodeConfig) -> anyhow::Result<()> {
    let (settings, parts) = build(config).await?;
    let _lock = agent::lock(&config.data_dir)?;
    come_home(&agent::identity_dir(&config.data_dir), config.underlay_address).await?;
    let mut agent = Agent::start(&settings, parts)?;
    tracing::info!(node = %agent.node_id(), "the agent runs");
    tokio::select! {
        ended = ended() => ended?,
        () = agent.died() => anyhow::bail!("the agent ends because a part of it died; guests run on"),
    }
    agent.stop().await;
    tracing::info!("the agent ends; guests run on");
    Ok(())
}

async fn simulate(config: &SimulationConfig) -> anyhow::Result<()> {
    let chance = Chance { clock: now, run: rand::rng().random(), boot_id: host::boot_id()? };
    let mut agents = simulate::start(config, &chance).await?;
    tracing::info!(nodes = agents.len(), "simulated nodes run");
    tokio::select! {
        ended = ended() => ended,
        _ = select_all(agents.iter_mut().map(|agent| Box::pin(agent.died()))) => {
            anyhow::bail!("the simulation ends because a part of an agent died")
        }
    }
}

async fn join_cloud(config: &NodeConfig, token: &str) -> anyhow::Result<()> {
    let token = JoinToken::read(token, std::io::stdin())?;
    let joining = Joining {
        api_url: config.api_url.clone(),
        name: config.name.clone().map_or_else(host_name, Ok)?,
        underlay_address: config.underlay_address,
        capacity: host::capacity(&config.data_dir)?,
    };
    let dir = agent::identity_dir(&config.data_dir);
    let identity = join(&dir, &joining, &token, simulate::uuid_of(rand::rng().random())).await?;
    println!("{}", identity.node_id);
    Ok(())
}

async fn run_doctor(config: &NodeConfig, options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let (_, parts) = build(config).await?;
    let site = doctor::Site {
        data_dir: &config.data_dir,
        underlay_address: config.underlay_address,
        hypervisor: parts.hypervisor.as_ref(),
        is_real: matches!(config.hypervisor, HypervisorConfig::Libvirt { .. }),
        network: parts.network.as_ref(),
        servers: parts.disks.servers(),
        now: now(),
    };
    let mut examination = doctor::examine(site).await?;
    let fixed = if options.fix { doctor::fix(site, &examination).await? } else { Vec::new() };
    if options.fix {
        examination = doctor::examine(site).await?;
    }
    let mut report = doctor::report(&examination, fixed);
    let failed = report.checks.iter().any(|check| check.outcome == CheckOutcome::Fail);
    report.checks.retain(|check| !options.problems || check.outcome != CheckOutcome::Pass);
    match options.json {
        true => println!("{}", serde_json::to_string(&report)?),
        false => print!("{}", doctor::lines(&report)),
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn build(config: &NodeConfig) -> anyhow::Result<(Settings, AgentParts)> {
    let (boot_id, capacity) = (host::boot_id()?, host::capacity(&config.data_dir)?);
    let (accelerator, parts) = match &config.hypervisor {
        HypervisorConfig::Simulated { start_ms, failure_percent } => {
            let run = rand::rng().random();
            let settings =
                SimulatedSettings { start_ms: *start_ms, failure_percent: *failure_percent, seed: run };
            let simulated = Simulated { settings, capacity, boot_id, run, clock: now };
            (Accelerator::Tcg, simulated.parts(&config.data_dir)?)
        }
        HypervisorConfig::Libvirt { uri, accelerator, connections } => {
            let preference = *accelerator;
            let (data_dir, boot) = (config.data_dir.clone(), boot_id.clone());
            let choose = move || accelerator::choose(&data_dir, &boot, preference, probe_accelerator);
            let probe = tokio::task::spawn_blocking(choose).await?;
            tracing::info!(accelerator = ?probe.accelerator, reason = probe.reason, "guests run on");
            let parts = AgentParts {
                hypervisor: hypervisor(uri, *connections)?,
                network: network(config).await?,
                disks: DiskChoice::Local {
                    cache: limits(config),
                    pools: PoolSettings { iscsi: iscsi(config), nfs: nfs(config) },
                },
                metadata: true,
                boot_id,
                capacity,
                run: rand::rng().random(),
                clock: now,
            };
            (probe.accelerator, parts)
        }
    };
    let settings = Settings {
        api_url: config.api_url.clone(),
        data_dir: config.data_dir.clone(),
        shutdown_grace: Duration::from_secs(config.shutdown.grace_seconds),
        accelerator,
    };
    Ok((settings, parts))
}

/// libvirtd need not run yet: until it does, the agent reports that it is away.
fn hypervisor(uri: &str, connections: usize) -> anyhow::Result<Arc<dyn Hypervisor>> {
    let host = LibvirtHost::new(uri, connections, LIBVIRT_DEADLINE)?;
    Ok(Arc::new(LibvirtHypervisor::new(host, STATE_DIR.into())))
}

/// How volumes are served: beside the guests' network, at the address by which the other hosts know this one.
fn iscsi(config: &NodeConfig) -> tepui_storage::iscsi::Settings {
    let portal = SocketAddr::from((config.underlay_address, tepui_storage::iscsi::PORT));
    tepui_storage::iscsi::Settings::new(config.run_dir.join("iscsi"), portal)
}

/// Its numbers must outlive a boot: `data_dir` does.
fn nfs(config: &NodeConfig) -> tepui_storage::nfs::Settings {
    tepui_storage::nfs::Settings {
        run_dir: config.run_dir.join("nfs"),
        state_dir: config.data_dir.join("nfs"),
        address: config.underlay_address,
    }
}

async fn network(config: &NodeConfig) -> anyhow::Result<Arc<dyn Network>> {
    let config = HostNetworkConfig {
        run_dir: config.run_dir.clone(),
        state_file: config.run_dir.join("network.json"),
        underlay_address: config.underlay_address,
        uplink: config.uplink.clone(),
        name_prefix: DEVICE_PREFIX.to_owned(),
        resolv_conf: PathBuf::from(RESOLV_CONF),
    };
    Ok(Arc::new(HostNetwork::new(config).await?))
}

fn limits(config: &NodeConfig) -> CacheLimits {
    CacheLimits {
        max_bytes: config.images.max_cache_gib << 30,
        grace: Duration::from_secs(config.images.grace_seconds),
    }
}

fn host_name() -> anyhow::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

async fn ended() -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the composition root owns the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}
