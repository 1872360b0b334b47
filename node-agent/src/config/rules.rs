//! What the values of a configuration must be, beside their form.

use std::ops::RangeInclusive;
use std::path::Path;

use url::Url;

use super::{HypervisorConfig, NodeConfig, SimulationConfig};

/// A day, in seconds.
const DAY: u64 = 86_400;

/// A value and the rule that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The field's path in the file.
    pub field: &'static str,
    /// As given.
    pub value: String,
    /// What it must be.
    pub rule: String,
}

/// A configuration whose values have rules.
pub trait Checked {
    /// The first value that breaks its rule.
    fn broken_rule(&self) -> Option<Broken>;
}

impl Checked for NodeConfig {
    fn broken_rule(&self) -> Option<Broken> {
        let grace = self.shutdown.grace_seconds;
        https("api_url", &self.api_url)
            .or_else(|| absolute("data_dir", &self.data_dir))
            .or_else(|| absolute("run_dir", &self.run_dir))
            .or_else(|| device("uplink", &self.uplink))
            .or_else(|| self.hypervisor.broken_rule())
            // Larger ones could not be counted in bytes.
            .or_else(|| within("images.max_cache_gib", self.images.max_cache_gib, 1..=1 << 30))
            .or_else(|| within("images.grace_seconds", self.images.grace_seconds, 0..=365 * DAY))
            .or_else(|| within("shutdown.grace_seconds", grace, 0..=DAY))
    }
}

impl Checked for HypervisorConfig {
    fn broken_rule(&self) -> Option<Broken> {
        match self {
            Self::Libvirt { connections, .. } => {
                within("hypervisor.connections", *connections as u64, 1..=64)
            }
            Self::Simulated { start_ms, failure_percent } => {
                within("hypervisor.start_ms", *start_ms, 0..=1000 * DAY)
                    .or_else(|| within("hypervisor.failure_percent", u64::from(*failure_percent), 0..=100))
            }
        }
    }
}

impl Checked for SimulationConfig {
    fn broken_rule(&self) -> Option<Broken> {
        https("api_url", &self.api_url)
            .or_else(|| absolute("data_dir", &self.data_dir))
            .or_else(|| within("count", self.count as u64, 1..=100_000))
            .or_else(|| within("start_ms", self.start_ms, 0..=1000 * DAY))
            .or_else(|| within("failure_percent", u64::from(self.failure_percent), 0..=100))
            .or_else(|| within("vcpus", u64::from(self.vcpus), 1..=1 << 16))
            .or_else(|| within("memory_mib", self.memory_mib, 1..=1 << 40))
            .or_else(|| within("disk_gib", self.disk_gib, 1..=1 << 30))
    }
}

fn broken(field: &'static str, value: impl ToString, rule: impl Into<String>) -> Option<Broken> {
    Some(Broken { field, value: value.to_string(), rule: rule.into() })
}

fn within(field: &'static str, value: u64, range: RangeInclusive<u64>) -> Option<Broken> {
    let rule = format!("must be from {} to {}", range.start(), range.end());
    if range.contains(&value) { None } else { broken(field, value, rule) }
}

/// Agents know the control plane by its certificate.
fn https(field: &'static str, url: &Url) -> Option<Broken> {
    let is_good = url.scheme() == "https" && url.username().is_empty() && url.password().is_none();
    // Without what could be a secret.
    let shown = url.host_str().map_or_else(String::new, |host| format!("{}://{host}", url.scheme()));
    if is_good { None } else { broken(field, shown, "must be https://HOST:PORT, without a user") }
}

fn absolute(field: &'static str, path: &Path) -> Option<Broken> {
    if path.is_absolute() { None } else { broken(field, path.display(), "must be an absolute path") }
}

/// As the kernel names devices (`dev_valid_name` in Linux).
fn device(field: &'static str, name: &str) -> Option<Broken> {
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '/' | ':' | '\0');
    let is_good = (1..=15).contains(&name.len()) && name.chars().all(is_plain) && !matches!(name, "." | "..");
    if is_good { None } else { broken(field, name, "must be a network device's name of 1 to 15 bytes") }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::parse;
    use super::*;

    const NODE: &str = "api_url = \"https://10.213.0.1:8774\"\nunderlay_address = \"10.213.0.11\"\n\
                        uplink = \"eth0\"\n[hypervisor]\nkind = \"libvirt\"\n";
    const SIMULATION: &str = "api_url = \"https://10.213.0.1:8774\"\ndata_dir = \"/d\"\ncount = 3\n";

    /// What is said of the file with `to` in the place of `from`, or with `to` behind it.
    fn told<T: Checked + serde::de::DeserializeOwned>(good: &str, from: &str, to: &str) -> String {
        assert!(good.contains(from), "{from}");
        let text = if from.is_empty() { format!("{good}{to}") } else { good.replace(from, to) };
        let told = parse::<T>(Path::new("node.toml"), &text).err().map(|error| error.to_string());
        told.unwrap_or_else(|| "good".into())
    }

    #[test]
    fn each_value_out_of_its_range_is_told_with_file_field_and_rule() {
        let mut all = String::new();
        for (from, to) in [
            ("https://10", "http://10"),
            ("https://10", "https://a:secret@10"),
            ("eth0", "a-name-of-16-byte"),
            ("eth0", "eth/0"),
            ("eth0", ""),
            ("", "connections = 0"),
            ("uplink", "data_dir = \"var\"\nuplink"),
            ("uplink", "run_dir = \"run\"\nuplink"),
            ("", "[images]\nmax_cache_gib = 17179869184"),
            ("", "[images]\ngrace_seconds = 31536001"),
            ("", "[shutdown]\ngrace_seconds = 9223372036854775807"),
            ("\"libvirt\"", "\"simulated\"\nfailure_percent = 101"),
        ] {
            let _ = writeln!(all, "{}", told::<NodeConfig>(NODE, from, to));
        }
        for (from, to) in
            [("/d", "d"), ("count = 3", "count = 0"), ("", "disk_gib = 17179869184"), ("", "vcpus = 0")]
        {
            let _ = writeln!(all, "{}", told::<SimulationConfig>(SIMULATION, from, to));
        }
        insta::assert_snapshot!(all);
    }

    #[test]
    fn values_at_the_ends_of_their_ranges_are_good() {
        for text in
            ["connections = 64", "[images]\nmax_cache_gib = 1073741824", "[shutdown]\ngrace_seconds = 0"]
        {
            assert_eq!(told::<NodeConfig>(NODE, "", text), "good", "{text}");
        }
        assert_eq!(told::<SimulationConfig>(SIMULATION, "", "disk_gib = 1"), "good");
    }
}
