//! The configuration file.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::uri::Authority;
use ipnet::Ipv4Net;
use serde::Deserialize;
use tepui_core::{CloudConfig, Overcommit, Strategy};

use crate::layout::Layout;

/// Why a configuration was refused. The message names file, field and rule.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML, or a field is missing, unknown or of the wrong kind.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Line, field and rule.
        message: String,
    },
    /// A field's value is not allowed.
    #[error("{}: {field} = {value}: {rule}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// The field with its table, for example `public.listen`.
        field: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        rule: &'static str,
    },
}

/// A control plane's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Everything the control plane keeps.
    pub data_dir: PathBuf,
    /// The region's name; its zone is the region and `a`.
    pub region: String,
    /// Where clients call.
    pub public: Public,
    /// Where agents call.
    pub agents: Agents,
    /// Where metrics are read.
    pub metrics: Metrics,
    /// How nodes are chosen and filled.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// The operator's networks.
    #[serde(default)]
    pub network: Network,
    /// How images come in.
    #[serde(default)]
    pub images: Images,
    /// How long what is over is remembered.
    #[serde(default)]
    pub retention: Retention,
}

/// The public listener: EC2 at `/`, REST at `/v1`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Public {
    /// Plain HTTP on loopback only.
    pub listen: SocketAddr,
    /// What `DescribeRegions` shows as the endpoint: host and port, without a scheme, as on AWS; the
    /// listener's address when absent.
    pub endpoint: Option<String>,
    /// PEM file of the certificate chain; turns TLS on.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub key: Option<PathBuf>,
}

/// The agents' listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agents {
    /// Its address; or `socket`.
    pub listen: Option<SocketAddr>,
    /// A socket that is inherited; or `listen`.
    pub socket: Option<InheritedSocket>,
    /// DNS names and addresses by which agents call, for the server's certificate.
    pub names: Vec<String>,
}

/// Who hands the socket over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InheritedSocket {
    /// The first one of systemd's protocol (`LISTEN_FDS`).
    Systemd,
}

/// The metrics' listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// On loopback only.
    pub listen: SocketAddr,
}

/// How nodes are chosen and filled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduling {
    /// `spread` or `pack`.
    pub strategy: ChosenStrategy,
    /// Virtual CPUs given out for each hardware thread.
    pub vcpu_overcommit: f64,
    /// Memory given out for each unit of it.
    pub memory_overcommit: f64,
    /// Disk given out for each unit of it.
    pub disk_overcommit: f64,
}

/// Which nodes come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChosenStrategy {
    /// The emptiest node.
    Spread,
    /// The fullest node that has room.
    Pack,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            strategy: ChosenStrategy::Spread,
            vcpu_overcommit: 4.0,
            memory_overcommit: 1.0,
            disk_overcommit: 2.0,
        }
    }
}

/// The operator's networks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Public addresses for instances.
    pub public_pool: Option<Ipv4Net>,
}

/// How images come in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Let URL imports reach loopback, link-local and private addresses.
    pub allow_private_urls: bool,
    /// The program that converts images in its sandbox; `tepui-image-convert` beside this program
    /// when absent.
    pub converter: Option<PathBuf>,
}

/// How long what is over is remembered, in days.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Audit records.
    pub audit_days: u32,
    /// Import tasks that have ended, with their idempotency tokens, from when they were asked for.
    pub import_task_days: u32,
    /// Join tokens, from their end.
    pub join_token_days: u32,
    /// Idempotency tokens of launches, from their first use.
    pub client_token_days: u32,
    /// Files of removed volumes and snapshots, in their pools' trash.
    pub quarantine_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            audit_days: 400,
            import_task_days: 30,
            join_token_days: 7,
            client_token_days: 2,
            quarantine_days: 1,
        }
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Parses and checks a file's text; `path` is for messages.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        match config.broken_rule() {
            None => Ok(config),
            Some((field, value, rule)) => {
                Err(ConfigError::Value { path: path.to_owned(), field, value, rule })
            }
        }
    }

    /// The paths under `data_dir`.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.data_dir)
    }

    /// The domain's part of the settings.
    pub fn cloud(&self) -> CloudConfig {
        let defaults = CloudConfig::new(&self.region, self.layout().consoles());
        CloudConfig {
            strategy: match self.scheduling.strategy {
                ChosenStrategy::Spread => Strategy::Spread,
                ChosenStrategy::Pack => Strategy::Pack,
            },
            overcommit: Overcommit {
                vcpus: self.scheduling.vcpu_overcommit,
                memory: self.scheduling.memory_overcommit,
                disk: self.scheduling.disk_overcommit,
            },
            public_pool: self.network.public_pool,
            retention: self.retention.durations(defaults.retention),
            ..defaults
        }
    }

    /// The first rule that a value breaks: field, value, rule.
    fn broken_rule(&self) -> Option<(&'static str, String, &'static str)> {
        self.broken_identity()
            .or_else(|| self.broken_listener())
            .or_else(|| self.public.broken_rule())
            .or_else(|| self.scheduling.broken_rule())
            .or_else(|| self.network.broken_rule())
            .or_else(|| self.broken_pool())
            .or_else(|| self.retention.broken_rule())
    }

    /// The pool must not hold the control plane's own addresses; those of hosts are known later.
    fn broken_pool(&self) -> Option<(&'static str, String, &'static str)> {
        let pool = self.network.public_pool?;
        let listeners = [Some(self.public.listen), self.agents.listen].into_iter().flatten();
        let names = self.agents.names.iter().filter_map(|name| name.parse().ok());
        let holds = |address| matches!(address, IpAddr::V4(address) if pool.contains(&address));
        let rule = "must not hold an address of agents.names, agents.listen or public.listen";
        let is_own = listeners.map(|listener| listener.ip()).chain(names).any(holds);
        is_own.then(|| ("network.public_pool", quoted(pool), rule))
    }

    fn broken_identity(&self) -> Option<(&'static str, String, &'static str)> {
        if !self.data_dir.is_absolute() {
            return Some(("data_dir", quoted(self.data_dir.display()), "must be an absolute path"));
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = self.region.starts_with(|c: char| c.is_ascii_lowercase())
            && self.region.ends_with(|c: char| c.is_ascii_digit())
            && self.region.len() <= 32
            && self.region.chars().all(allowed);
        // The zone is the region and a letter, which clients take apart again.
        let rule = "must be up to 32 lower-case letters, digits and hyphens, from a letter to a digit";
        (!good).then(|| ("region", quoted(&self.region), rule))
    }

    fn broken_listener(&self) -> Option<(&'static str, String, &'static str)> {
        let public = &self.public;
        if public.certificate.is_some() != public.key.is_some() {
            let value = if public.key.is_none() { "key is missing" } else { "certificate is missing" };
            return Some(("public.certificate", value.into(), "certificate and key go together"));
        }
        if public.certificate.is_none() && !public.listen.ip().is_loopback() {
            let rule = "plain HTTP is for loopback only; set public.certificate and public.key";
            return Some(("public.listen", quoted(public.listen), rule));
        }
        if self.agents.listen.is_some() == self.agents.socket.is_some() {
            let value = if self.agents.listen.is_some() { "both are set" } else { "neither is set" };
            return Some(("agents.listen", value.into(), "set either agents.listen or agents.socket"));
        }
        if self.agents.names.is_empty() {
            let rule = "names at least one DNS name or address by which agents call";
            return Some(("agents.names", "[]".into(), rule));
        }
        let metrics = self.metrics.listen;
        let rule = "metrics are for loopback only";
        (!metrics.ip().is_loopback()).then(|| ("metrics.listen", quoted(metrics), rule))
    }
}

impl Public {
    /// Clients put a scheme before the endpoint and a path after it.
    fn broken_rule(&self) -> Option<(&'static str, String, &'static str)> {
        let endpoint = self.endpoint.as_ref()?;
        let is_good = |authority: Authority| {
            let port = authority.port().is_some() == (authority.port_u16().is_some_and(|port| port > 0));
            let whole = authority.host().len() + authority.port().map_or(0, |port| port.as_str().len() + 1);
            // What is neither host nor port is a user, or a colon before nothing.
            !authority.host().is_empty() && port && whole == endpoint.len()
        };
        let rule = "must be a host, or host:port, without scheme and path";
        (!endpoint.parse().is_ok_and(is_good)).then(|| ("public.endpoint", quoted(endpoint), rule))
    }
}

impl Scheduling {
    fn broken_rule(&self) -> Option<(&'static str, String, &'static str)> {
        [
            ("scheduling.vcpu_overcommit", self.vcpu_overcommit),
            ("scheduling.memory_overcommit", self.memory_overcommit),
            ("scheduling.disk_overcommit", self.disk_overcommit),
        ]
        .into_iter()
        .find(|(_, factor)| !(0.1..=100.0).contains(factor))
        .map(|(field, factor)| (field, factor.to_string(), "must be from 0.1 to 100"))
    }
}

impl Network {
    fn broken_rule(&self) -> Option<(&'static str, String, &'static str)> {
        let pool = self.public_pool?;
        if pool.addr() != pool.network() {
            return Some(("network.public_pool", quoted(pool), "must begin at its network's address"));
        }
        // A larger pool would make the search for a free address slow, and nobody owns one.
        let rule = "must be a network of /16 to /32";
        let rule = (pool.prefix_len() < 16).then_some(rule).or_else(|| tepui_core::pool_conflict(pool))?;
        Some(("network.public_pool", quoted(pool), rule))
    }
}

impl Retention {
    fn durations(self, defaults: tepui_core::Retention) -> tepui_core::Retention {
        let days = |count: u32| Duration::from_secs(u64::from(count) * 86_400);
        tepui_core::Retention {
            audit: days(self.audit_days),
            import_tasks: days(self.import_task_days),
            join_tokens: days(self.join_token_days),
            client_tokens: days(self.client_token_days),
            quarantine: days(self.quarantine_days),
            ..defaults
        }
    }

    fn broken_rule(&self) -> Option<(&'static str, String, &'static str)> {
        [
            ("retention.audit_days", self.audit_days),
            ("retention.import_task_days", self.import_task_days),
            ("retention.join_token_days", self.join_token_days),
            ("retention.client_token_days", self.client_token_days),
            ("retention.quarantine_days", self.quarantine_days),
        ]
        .into_iter()
        .find(|(_, days)| !(1..=36_500).contains(days))
        .map(|(field, days)| (field, days.to_string(), "must be from 1 to 36500"))
    }
}

fn quoted(value: impl std::fmt::Display) -> String {
    format!("\"{value}\"")
}
