//! The configuration files of the agent. Unknown fields are refused: a misspelt one would silently not
//! hold.

mod rules;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tepui_libvirt::AcceleratorPreference;
use url::Url;

pub use rules::{Broken, Checked};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file cannot be understood.
    #[error("{path} is not a valid configuration")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is not what it must be.
    #[error("{path}: {field} = {value}: {rule}", field = .broken.field, value = .broken.value, rule = .broken.rule)]
    Value {
        /// Which file.
        path: PathBuf,
        /// The value and its rule.
        broken: Broken,
    },
}

/// `node.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The control plane's listener for agents.
    pub api_url: Url,
    /// Identity, ledger, images, disks and consoles.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// Sockets, namespaces and leases; keep it short, a socket's path has 107 bytes.
    #[serde(default = "default_run_dir")]
    pub run_dir: PathBuf,
    /// For people; the host name if it is missing.
    pub name: Option<String>,
    /// Where other hosts reach this one.
    pub underlay_address: Ipv4Addr,
    /// The device towards the underlay and the public pool.
    pub uplink: String,
    /// What runs guests.
    pub hypervisor: HypervisorConfig,
    /// The image cache.
    #[serde(default)]
    pub images: ImagesConfig,
    /// Stopping guests.
    #[serde(default)]
    pub shutdown: ShutdownConfig,
}

/// What runs guests.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HypervisorConfig {
    /// libvirt with QEMU.
    Libvirt {
        /// libvirt's address.
        #[serde(default = "default_uri")]
        uri: String,
        /// How guests run.
        #[serde(default)]
        accelerator: AcceleratorPreference,
        /// Connections, each with a thread and one call at a time; opened when they are needed. libvirtd
        /// works on twenty calls at once (`max_workers` of libvirtd.conf).
        #[serde(default = "default_connections")]
        connections: usize,
    },
    /// Nothing runs; for tests.
    Simulated {
        /// How long a start takes, in milliseconds.
        #[serde(default)]
        start_ms: u64,
        /// How many of a hundred starts fail.
        #[serde(default)]
        failure_percent: u8,
    },
}

/// The image cache.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImagesConfig {
    /// Above this, images that nothing uses are evicted.
    pub max_cache_gib: u64,
    /// An image used within this time stays.
    pub grace_seconds: u64,
}

impl Default for ImagesConfig {
    fn default() -> Self {
        Self { max_cache_gib: 50, grace_seconds: 3600 }
    }
}

/// Stopping guests.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// How long a guest may take before the plug is pulled.
    pub grace_seconds: u64,
}

impl Default for ShutdownConfig {
    /// 90 seconds, as systemd gives to a service.
    fn default() -> Self {
        Self { grace_seconds: 90 }
    }
}

/// `sim.toml`: many simulated nodes in one process.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// The control plane's listener for agents.
    pub api_url: Url,
    /// One directory a node below it.
    pub data_dir: PathBuf,
    /// How many nodes.
    pub count: usize,
    /// Join tokens, one a node; only those nodes use one that have not joined yet.
    #[serde(default)]
    pub join_tokens: Vec<String>,
    /// The same in a file, one a line.
    pub join_tokens_file: Option<PathBuf>,
    /// How long a start takes, in milliseconds.
    #[serde(default)]
    pub start_ms: u64,
    /// How many of a hundred starts fail.
    #[serde(default)]
    pub failure_percent: u8,
    /// Decides which.
    #[serde(default)]
    pub seed: u64,
    /// Hardware threads that each node shows.
    #[serde(default = "default_vcpus")]
    pub vcpus: u32,
    /// Memory that each node shows, in MiB.
    #[serde(default = "default_memory_mib")]
    pub memory_mib: u64,
    /// Disk that each node shows, in GiB.
    #[serde(default = "default_disk_gib")]
    pub disk_gib: u64,
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/tepui-node")
}

fn default_run_dir() -> PathBuf {
    PathBuf::from("/run/tepui-node")
}

fn default_uri() -> String {
    "qemu:///system".to_owned()
}

fn default_connections() -> usize {
    20
}

fn default_vcpus() -> u32 {
    32
}

fn default_memory_mib() -> u64 {
    128 << 10
}

fn default_disk_gib() -> u64 {
    2 << 10
}

/// Reads a configuration file.
pub fn read<T: DeserializeOwned + Checked>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path);
    parse(path, &text.map_err(|source| ConfigError::File { path: path.into(), source })?)
}

/// Reads and checks a file's text; `path` is for messages.
pub fn parse<T: DeserializeOwned + Checked>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let content = |source| ConfigError::Content { path: path.into(), source: Box::new(source) };
    let config: T = toml::from_str(text).map_err(content)?;
    match config.broken_rule() {
        None => Ok(config),
        Some(broken) => Err(ConfigError::Value { path: path.into(), broken }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = r#"
        api_url = "https://10.213.0.1:8774"
        underlay_address = "10.213.0.11"
        uplink = "eth0"
        [hypervisor]
        kind = "libvirt"
    "#;

    #[test]
    fn the_shortest_file_gets_the_documented_defaults() {
        let config: NodeConfig = toml::from_str(NODE).unwrap();
        assert_eq!(config.data_dir, Path::new("/var/lib/tepui-node"));
        assert_eq!(config.images.max_cache_gib, 50);
        assert_eq!(config.shutdown.grace_seconds, 90);
        assert!(matches!(config.hypervisor, HypervisorConfig::Libvirt { connections: 20, .. }));
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        for line in ["uplnik = \"eth0\"", "[images]\nmax_cache = 3", "[hypervisor.x]\na = 1"] {
            let text =
                if line.starts_with('[') { format!("{NODE}\n{line}") } else { format!("{line}\n{NODE}") };
            let error = toml::from_str::<NodeConfig>(&text).unwrap_err().to_string();
            assert!(error.contains("unknown field"), "{error}");
        }
    }
}
