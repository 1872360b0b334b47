//! Who is asked for names outside of a VPC. A guest asks its VPC's own resolver, at the gateway of its subnet; that
//! one asks a forwarder in the host's namespace, which asks whom the host itself asks, also where that is a server
//! on loopback. So no router needs a way to the operator's name servers, and no guest has one: it reaches neither
//! the forwarder (see `router_filter`) nor, on the hosts' own network, anybody's port 53.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use resolv_conf::Config;

use super::NetworkError;
use super::dnsmasq::Dnsmasq;
use super::names::{Names, uplink_addresses};
use super::namespace::Namespace;

/// Not 53: there the host's own resolver may listen on every address.
pub(super) const FORWARDER_PORT: u16 = 1053;
/// Questions that the forwarder holds open. Each VPC's resolver holds 150 at most, dnsmasq's own bound, and one
/// must not take the place of all.
const OPEN_QUESTIONS: u32 = 10_000;

/// The lines of dnsmasq's configuration in the router of a VPC, by its number.
pub(super) fn upstream(vpc: u32) -> String {
    format!("no-resolv\nserver={}#{FORWARDER_PORT}\n", uplink_addresses(vpc).0)
}

/// The forwarder on the host.
#[derive(Debug)]
pub(super) struct Forwarder {
    server: Dnsmasq,
    resolv_conf: PathBuf,
}

impl Forwarder {
    /// The one whose files are below `run_dir`, and which asks the servers that `resolv_conf` names.
    pub(super) fn new(run_dir: &Path, resolv_conf: PathBuf) -> Self {
        Self { server: Dnsmasq::new(run_dir.join("resolver")), resolv_conf }
    }

    /// Whether it runs as it must.
    pub(super) fn is_intact(&self, names: &Names) -> bool {
        let found = fs::read_to_string(self.server.path("config"));
        self.server.runs() && found.is_ok_and(|found| found == self.config(names))
    }

    /// Makes it run.
    pub(super) async fn ensure(&self, host: &Namespace, names: &Names) -> Result<(), NetworkError> {
        if self.server.write("config", &self.config(names))? {
            self.server.stop().await?;
        }
        if self.server.runs() { Ok(()) } else { self.server.start(host).await }
    }

    /// Ends it.
    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.server.remove().await
    }

    /// It listens on the ways to the routers alone, also on those that come later, and remembers no answer: what
    /// one VPC asked for is not to be guessed in another. A host without a word on name servers means the one on
    /// itself (resolv.conf(5)).
    fn config(&self, names: &Names) -> String {
        let servers = if names_nobody(&self.resolv_conf) {
            format!("no-resolv\nserver={}\n", Ipv4Addr::LOCALHOST)
        } else {
            format!("resolv-file={}\n", self.resolv_conf.display())
        };
        format!(
            "port={FORWARDER_PORT}\nbind-dynamic\ninterface={}\nexcept-interface=lo\nno-hosts\ncache-size=0\n\
             dns-forward-max={OPEN_QUESTIONS}\n{servers}{}",
            names.all_uplinks(),
            self.server.own_files(),
        )
    }
}

fn names_nobody(file: &Path) -> bool {
    let config = fs::read(file).ok().and_then(|text| Config::parse(text).ok());
    config.is_none_or(|config| config.nameservers.iter().all(|server| IpAddr::from(server).is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_names_nobody_asks_itself() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        assert!(names_nobody(&file));
        for (text, expected) in [
            ("", true),
            ("search example.test\n", true),
            ("nameserver 0.0.0.0\n", true),
            ("nameserver 127.0.0.53\n", false),
            ("nameserver 2001:db8::53\n", false),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(names_nobody(&file), expected, "{text}");
        }
    }
}
