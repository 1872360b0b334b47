//! Many simulated nodes in one process: real agents, with guests, disks and networks that are only
//! remembered.

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tepui_libvirt::{Accelerator, DomainSpec, DomainStatus};
use tepui_types::agent::NodeCapacity;
use tepui_types::{PlacementId, Timestamp};
use uuid::Uuid;

use crate::agent::Layout;
use crate::config::SimulationConfig;
use crate::disks::SimulatedDisks;
use crate::hypervisor::{Hypervisor, HypervisorError, SimulatedHypervisor, SimulatedSettings};
use crate::identity::{Identity, IdentityError, JoinToken, Joining, ParseJoinTokenError, join};
use crate::network::SimulatedNetwork;
use crate::storage::SimulatedStorage;
use crate::{Agent, AgentParts, DiskChoice, Settings, StartError};

/// Why the simulation did not start.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The file of join tokens cannot be read.
    #[error("could not read {path}")]
    Tokens {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// There are more nodes to join than tokens.
    #[error("join_tokens has {given} tokens; {needed} nodes have not joined yet")]
    TooFewTokens {
        /// How many there are.
        given: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A token is malformed.
    #[error("join_tokens")]
    Token(#[from] ParseJoinTokenError),
    /// A node could not join.
    #[error("simulated node {node} could not join")]
    Join {
        /// Which.
        node: usize,
        /// Why.
        #[source]
        source: IdentityError,
    },
    /// A node's simulated domains or disks cannot be used.
    #[error("the files of simulated node {node} cannot be used")]
    Host {
        /// Which.
        node: usize,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A node could not start.
    #[error("simulated node {node} could not start")]
    Start {
        /// Which.
        node: usize,
        /// Why.
        #[source]
        source: StartError,
    },
}

/// The clock and the chance of a simulation.
#[derive(Debug, Clone)]
pub struct Chance {
    /// The wall clock, for certificates.
    pub clock: fn() -> Timestamp,
    /// Differs from run to run.
    pub run: u64,
    /// As of the real host: simulated ones reboot with it.
    pub boot_id: String,
}

/// Starts all nodes; those that have not joined yet join first. They run until they are dropped.
pub async fn start(config: &SimulationConfig, chance: &Chance) -> Result<Vec<Agent>, SimulationError> {
    let tokens = tokens(config)?;
    let joined = |node: &usize| Identity::load(&crate::agent::identity_dir(&data_dir(config, *node))).is_ok();
    let strangers: Vec<usize> = (0..config.count).filter(|node| !joined(node)).collect();
    if strangers.len() > tokens.len() {
        return Err(SimulationError::TooFewTokens { given: tokens.len(), needed: strangers.len() });
    }
    for (node, token) in strangers.into_iter().zip(&tokens) {
        join_node(config, chance, node, token).await?;
    }
    (0..config.count).map(|node| start_node(config, chance, node)).collect()
}

fn tokens(config: &SimulationConfig) -> Result<Vec<JoinToken>, SimulationError> {
    let mut texts = config.join_tokens.clone();
    if let Some(path) = &config.join_tokens_file {
        let file = std::fs::read_to_string(path);
        let file = file.map_err(|source| SimulationError::Tokens { path: path.clone(), source })?;
        texts.extend(file.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    Ok(texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?)
}

fn data_dir(config: &SimulationConfig, node: usize) -> PathBuf {
    config.data_dir.join(format!("node-{node}"))
}

fn capacity(config: &SimulationConfig) -> NodeCapacity {
    NodeCapacity { vcpus: config.vcpus, memory_mib: config.memory_mib, disk_gib: config.disk_gib }
}

/// An address of 10.192.0.0/10 for each node; nothing is ever sent to it.
fn underlay_address(node: usize) -> Ipv4Addr {
    let low = u32::try_from(node).unwrap_or(u32::MAX) & 0x003f_ffff;
    Ipv4Addr::from_bits(u32::from_be_bytes([10, 192, 0, 0]) | low)
}

async fn join_node(
    config: &SimulationConfig,
    chance: &Chance,
    node: usize,
    token: &JoinToken,
) -> Result<(), SimulationError> {
    let dir = crate::agent::identity_dir(&data_dir(config, node));
    let joining = Joining {
        api_url: config.api_url.clone(),
        name: format!("sim-{node}"),
        underlay_address: underlay_address(node),
        capacity: capacity(config),
    };
    let mut random = SmallRng::seed_from_u64(chance.run.wrapping_add(node as u64));
    let uuid = uuid_of(random.random());
    let joined = join(&dir, &joining, token, uuid).await;
    joined.map(drop).map_err(|source| SimulationError::Join { node, source })
}

fn start_node(config: &SimulationConfig, chance: &Chance, node: usize) -> Result<Agent, SimulationError> {
    let dir = data_dir(config, node);
    let settings = SimulatedSettings {
        start_ms: config.start_ms,
        failure_percent: config.failure_percent,
        seed: config.seed.wrapping_add(node as u64),
    };
    let simulated = Simulated {
        settings,
        capacity: capacity(config),
        boot_id: chance.boot_id.clone(),
        run: chance.run.wrapping_add(node as u64),
        clock: chance.clock,
    };
    let settings = Settings {
        api_url: config.api_url.clone(),
        data_dir: dir.clone(),
        shutdown_grace: Duration::from_secs(90),
        accelerator: Accelerator::Tcg,
    };
    let parts = simulated.parts(&dir);
    let parts = parts.map_err(|source| SimulationError::Host { node, source })?;
    Agent::start(&settings, parts).map_err(|source| SimulationError::Start { node, source })
}

/// What a simulated host is made of.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// How its hypervisor behaves.
    pub settings: SimulatedSettings,
    /// What it shows.
    pub capacity: NodeCapacity,
    /// Its boot.
    pub boot_id: String,
    /// This run of its agent.
    pub run: u64,
    /// The wall clock, for certificates.
    pub clock: fn() -> Timestamp,
}

impl Simulated {
    /// Makes the host's parts. Domains and disks are files below `data_dir`, so that they outlive the
    /// process as real ones do.
    pub fn parts(self, data_dir: &Path) -> std::io::Result<AgentParts> {
        let layout = Layout(data_dir);
        let disks = SimulatedDisks::open(&layout.disks(), self.capacity.disk_gib << 30)?;
        let hypervisor = Talking {
            hypervisor: SimulatedHypervisor::kept_in(data_dir.join("domains.json"), self.settings)?,
            consoles: layout.consoles(),
        };
        Ok(AgentParts {
            hypervisor: Arc::new(hypervisor),
            network: Arc::new(SimulatedNetwork::new()),
            disks: DiskChoice::Given {
                disks: Arc::new(disks),
                storage: Arc::new(SimulatedStorage::new(self.capacity.disk_gib << 30)),
            },
            metadata: false,
            boot_id: self.boot_id,
            capacity: self.capacity,
            run: self.run,
            clock: self.clock,
        })
    }
}

/// Simulated guests that say on their console who they are.
struct Talking {
    hypervisor: SimulatedHypervisor,
    consoles: PathBuf,
}

#[async_trait]
impl Hypervisor for Talking {
    async fn domains(&self) -> Result<Vec<DomainStatus>, HypervisorError> {
        self.hypervisor.domains().await
    }

    async fn start(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        self.hypervisor.start(spec).await?;
        let path = self.consoles.join(crate::console::file_name(spec.placement_id));
        let text = format!("simulated console of {}\n", spec.instance_id);
        if let Err(error) = std::fs::write(&path, text) {
            tracing::warn!(path = %path.display(), %error, "cannot write a simulated console");
        }
        Ok(())
    }

    async fn request_shutdown(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.hypervisor.request_shutdown(id).await
    }

    async fn force_off(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.hypervisor.force_off(id).await
    }

    async fn reset(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.hypervisor.reset(id).await
    }

    async fn forget(&self, id: PlacementId) -> Result<(), HypervisorError> {
        self.hypervisor.forget(id).await
    }
}

/// A random UUID made of `random`, for a host that has none yet.
pub fn uuid_of(random: [u8; 16]) -> Uuid {
    uuid::Builder::from_random_bytes(random).into_uuid()
}
