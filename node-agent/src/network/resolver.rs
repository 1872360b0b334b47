//! Who is asked for names outside of a VPC. A router reaches the operator's name servers itself unless they are
//! on the host: dnsmasq, unbound or systemd-resolved on a loopback address, which in the router's namespace is
//! another. Then a forwarder in the host's namespace asks for the routers.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use resolv_conf::{Config, ScopedIp};

use super::NetworkError;
use super::dnsmasq::Dnsmasq;
use super::names::{Names, uplink_addresses};
use super::namespace::Namespace;

/// Not 53: there the host's own resolver may listen on every address.
pub(super) const FORWARDER_PORT: u16 = 1053;

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The servers that this file names.
    File(PathBuf),
    /// The forwarder on the host, which asks the servers that this file names.
    Host(PathBuf),
}

impl Resolver {
    /// The first of the files with a server that a router reaches: over IPv4, and not on the host, whose
    /// addresses are `own`. Else the host itself asks those of the last file, the system's own, as all its
    /// programs do; also when that one names nobody (resolv.conf(5): then the host's own is meant).
    pub(super) fn choose(files: &[PathBuf], own: &BTreeSet<Ipv4Addr>) -> Self {
        match files.iter().find(|file| names_a_server_elsewhere(file, own)) {
            Some(file) => Self::File(file.clone()),
            None => Self::Host(files.last().cloned().unwrap_or_default()),
        }
    }

    /// The lines of dnsmasq's configuration in the router of a VPC, by its number.
    pub(super) fn upstream(&self, vpc: u32) -> String {
        match self {
            Self::File(file) => format!("resolv-file={}\n", file.display()),
            Self::Host(_) => format!("no-resolv\nserver={}#{FORWARDER_PORT}\n", uplink_addresses(vpc).0),
        }
    }
}

fn names_a_server_elsewhere(file: &Path, own: &BTreeSet<Ipv4Addr>) -> bool {
    let Some(config) = fs::read(file).ok().and_then(|text| Config::parse(text).ok()) else { return false };
    config.nameservers.iter().any(|server| match server {
        ScopedIp::V4(address) => {
            !address.is_loopback() && !address.is_unspecified() && !own.contains(address)
        }
        ScopedIp::V6(..) => false,
    })
}

/// The forwarder on the host.
#[derive(Debug)]
pub(super) struct Forwarder(Dnsmasq);

impl Forwarder {
    /// The one whose files are below `run_dir`.
    pub(super) fn new(run_dir: &Path) -> Self {
        Self(Dnsmasq::new(run_dir.join("resolver")))
    }

    /// Whether it runs exactly if it is needed.
    pub(super) fn is_intact(&self, resolver: &Resolver) -> bool {
        self.0.runs() == matches!(resolver, Resolver::Host(_))
    }

    /// Makes it run if it is needed, and end if not.
    pub(super) async fn ensure(
        &self,
        host: &Namespace,
        names: &Names,
        resolver: &Resolver,
    ) -> Result<(), NetworkError> {
        let Resolver::Host(file) = resolver else { return self.remove().await };
        let is_new = self.0.write("config", &self.config(names, file))?;
        if is_new {
            self.0.stop().await?;
        }
        if self.0.runs() { Ok(()) } else { self.0.start(host).await }
    }

    /// Ends it.
    pub(super) async fn remove(&self) -> Result<(), NetworkError> {
        self.0.remove().await
    }

    /// It listens on the ways to the routers alone, also on those that come later. A host without a word
    /// on name servers means the one on itself.
    fn config(&self, names: &Names, file: &Path) -> String {
        let servers = if names_nobody(file) {
            format!("no-resolv\nserver={}\n", Ipv4Addr::LOCALHOST)
        } else {
            format!("resolv-file={}\n", file.display())
        };
        format!(
            "port={FORWARDER_PORT}\nbind-dynamic\ninterface={}\nexcept-interface=lo\nno-hosts\n{servers}{}",
            names.all_uplinks(),
            self.0.own_files(),
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

    fn chosen(resolved: Option<&str>, system: &str) -> &'static str {
        let folder = tempfile::tempdir().unwrap();
        let files = ["resolved", "system"].map(|name| folder.path().join(name));
        if let Some(text) = resolved {
            fs::write(&files[0], text).unwrap();
        }
        fs::write(&files[1], system).unwrap();
        match Resolver::choose(&files, &BTreeSet::from([Ipv4Addr::new(10, 9, 0, 1)])) {
            Resolver::File(file) if file == files[0] => "resolved",
            Resolver::File(_) => "system",
            Resolver::Host(file) => {
                assert_eq!(file, files[1]);
                "host"
            }
        }
    }

    #[test]
    fn servers_that_a_router_reaches_are_asked_directly_and_all_others_by_the_host() {
        assert_eq!(chosen(None, "nameserver 192.0.2.53\n"), "system");
        assert_eq!(chosen(None, "nameserver 127.0.0.1\nnameserver 192.0.2.53\n"), "system");
        assert_eq!(chosen(Some("nameserver 192.0.2.53\n"), "nameserver 127.0.0.53\n"), "resolved");
        for on_the_host in ["127.0.0.1", "127.0.0.53", "10.9.0.1", "0.0.0.0", "::1", "2001:db8::53"] {
            let line = format!("nameserver {on_the_host}\n");
            assert_eq!(chosen(None, &line), "host", "{on_the_host}");
            assert_eq!(chosen(Some(&line), "nameserver 127.0.0.53\n"), "host", "{on_the_host}");
        }
        assert_eq!(chosen(None, ""), "host");
        assert_eq!(chosen(Some(""), "nameserver 192.0.2.53\n"), "system");
    }
}
