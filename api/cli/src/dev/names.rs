//! The names of everything a dev cloud makes. All follow from its directory, so that `down` finds
//! them also when `up` died before it could write anything.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use tepui_types::Digest;

/// Where named network namespaces are bound (ip-netns(8)).
pub(super) const NETNS: &str = "/run/netns";

/// Names and paths of one dev cloud.
#[derive(Debug, Clone)]
pub(super) struct Names {
    id: String,
    dir: PathBuf,
}

impl Names {
    /// Of the cloud in `dir`, an absolute path.
    pub(super) fn of(dir: &Path) -> Self {
        let digest = Digest::of(dir.as_os_str().as_encoded_bytes());
        Self { id: HEXLOWER.encode(&digest.as_bytes()[..4]), dir: dir.to_owned() }
    }

    /// The second number of the cloud's networks that it tries first, from 1 to 254.
    pub(super) fn first_network(&self) -> u8 {
        let seed = u32::from_str_radix(&self.id, 16).unwrap_or_default();
        u8::try_from(seed % 254).unwrap_or_default() + 1
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The namespace of the network between the hosts.
    pub(super) fn underlay(&self) -> String {
        format!("tpd-{}-ul", self.id)
    }

    /// A host's network namespace; hosts count from 1.
    pub(super) fn node(&self, number: u16) -> String {
        format!("tpd-{}-n{number}", self.id)
    }

    /// What every network namespace of the cloud begins with.
    pub(super) fn namespace_prefix(&self) -> String {
        format!("tpd-{}-", self.id)
    }

    /// The machine's device towards the underlay.
    pub(super) fn device(&self) -> String {
        format!("tpd{}", self.id)
    }

    /// The machine's nft table.
    pub(super) fn table(&self) -> String {
        format!("tepui-dev-{}", self.id)
    }

    /// Sockets and mount points: a socket's path holds 107 bytes, and a guest's user may not pass
    /// through the home directory that `dir` may be in.
    pub(super) fn run_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/tepui-dev-{}", self.id))
    }

    /// A host's part of [`Self::run_dir`].
    pub(super) fn node_run(&self, number: u16) -> PathBuf {
        self.run_dir().join(format!("n{number}"))
    }

    /// A host's part of the directory.
    pub(super) fn node_dir(&self, number: u16) -> PathBuf {
        self.dir.join(format!("n{number}"))
    }

    /// Where mount and UTS namespaces are bound.
    pub(super) fn pins(&self) -> PathBuf {
        self.run_dir().join("ns")
    }

    /// A daemon's log.
    pub(super) fn log(&self, daemon: &str) -> PathBuf {
        self.dir.join("log").join(format!("{daemon}.log"))
    }
}

/// The addresses of a dev cloud whose network has number `network`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) network: u8,
}

impl Addresses {
    /// The control plane, inside the underlay.
    pub(super) const fn api(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.network, 1)
    }

    /// The machine, as the underlay's way out.
    pub(super) const fn machine(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.network, 254)
    }

    /// A host; there are at most 200 with a namespace.
    pub(super) fn node(self, number: u16) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.network, 10 + u8::try_from(number).unwrap_or(240).min(240))
    }

    /// The underlay's range.
    pub(super) fn underlay(self) -> String {
        format!("10.213.{}.0/24", self.network)
    }

    /// The pool of public addresses, of the range for benchmarks (RFC 2544): nobody routes it.
    pub(super) fn public_pool(self) -> String {
        format!("198.18.{}.0/24", self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_directories_give_two_clouds_whose_names_fit() {
        let (one, two) = (Names::of(Path::new("/a/demo")), Names::of(Path::new("/b/demo")));
        assert_ne!(one.device(), two.device());
        assert_ne!(one.namespace_prefix(), two.namespace_prefix());
        // The kernel's limit for a device's name.
        assert!(one.device().len() <= 15);
        // The limit for a socket's path, with the longest name libvirt makes below it.
        assert!(one.node_run(200).join("libvirt/virtqemud-admin-sock").as_os_str().len() < 107);
        assert_eq!(Names::of(Path::new("/a/demo")).run_dir(), one.run_dir());
    }

    #[test]
    fn hosts_have_addresses_of_their_own_beside_control_plane_and_machine() {
        let addresses = Addresses { network: 7 };
        let hosts: std::collections::BTreeSet<_> = (1..=200).map(|number| addresses.node(number)).collect();
        assert_eq!(hosts.len(), 200);
        assert!(!hosts.contains(&addresses.api()) && !hosts.contains(&addresses.machine()));
        assert!((1..=254).contains(&Names::of(Path::new("/x")).first_network()));
    }
}
