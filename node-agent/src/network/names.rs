//! Names of devices. The kernel allows 15 characters, so they come from small numbers per host and
//! not from ids; the numbers are kept in a file, since a running guest holds its tap by name. Devices and
//! guests end with the host, and so may the file: it is replaced whole, and not fsynced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Deserializer, Serialize};
use tepui_types::agent::VpcPart;
use tepui_types::{NetworkInterfaceId, PlacementId, SubnetId, VpcId};

use super::NetworkError;
use super::error::file;

/// The subnets' devices inside a router's namespace begin with this.
pub(super) const SUBNET_PREFIX: &str = "sub";
/// The way out of a router's namespace.
pub(super) const UPLINK: &str = "up0";
/// The VXLAN device inside a router's namespace.
pub(super) const VXLAN: &str = "vx0";

/// The numbers in use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Numbers {
    /// VPCs: the uplink pair and its addresses.
    pub(super) vpcs: BTreeMap<VpcId, u32>,
    /// Subnets: bridge and veth pair.
    pub(super) subnets: BTreeMap<SubnetId, u32>,
    /// Placements: taps.
    pub(super) taps: BTreeMap<PlacementId, u32>,
    /// Public addresses that the host answers ARP requests for, which it must stop one day, with the
    /// interface that each was given to when flows were last ended; `None` when that is not known.
    #[serde(deserialize_with = "proxied")]
    pub(super) proxied: BTreeMap<Ipv4Addr, Option<NetworkInterfaceId>>,
    /// Parts with a port of a guest that runs on although nothing wanted names it any more.
    #[serde(default)]
    pub(super) kept: Vec<VpcPart>,
}

impl Numbers {
    /// Reads the file; `None` when there is none that can be used: it says nothing that the devices do not.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, NetworkError> {
        match fs::read(path) {
            Ok(bytes) => {
                let numbers = serde_json::from_slice(&bytes);
                let told = |error: &serde_json::Error| {
                    tracing::warn!(path = %path.display(), %error, "damaged; made anew from the devices");
                };
                Ok(numbers.inspect_err(told).ok())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(path)(error)),
        }
    }

    /// Writes the file so that the agent's death leaves the old or the new one.
    pub(super) fn save(&self, path: &Path) -> Result<(), NetworkError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| file(path)(error.into()))?;
        replace(path, &bytes)
    }
}

/// An agent from before owners were noted wrote the addresses alone; guests run on over its upgrade.
fn proxied<'de, D: Deserializer<'de>>(
    file: D,
) -> Result<BTreeMap<Ipv4Addr, Option<NetworkInterfaceId>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Proxied {
        Owned(BTreeMap<Ipv4Addr, Option<NetworkInterfaceId>>),
        Addresses(BTreeSet<Ipv4Addr>),
    }
    Ok(match Proxied::deserialize(file)? {
        Proxied::Owned(owned) => owned,
        Proxied::Addresses(addresses) => addresses.into_iter().map(|address| (address, None)).collect(),
    })
}

/// Writes a file whole, so that a death leaves the old or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), NetworkError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.persist(path)?;
        Ok(())
    };
    write().map_err(file(path))
}

/// Gives every wanted key a number: its old one, or the lowest free one from 1. Keys that are not
/// wanted lose theirs.
pub(super) fn assign<K: Copy + Ord>(numbers: &mut BTreeMap<K, u32>, wanted: &BTreeSet<K>) {
    numbers.retain(|key, _| wanted.contains(key));
    for key in wanted {
        if !numbers.contains_key(key) {
            let used: BTreeSet<u32> = numbers.values().copied().collect();
            let free = (1..).find(|number| !used.contains(number)).unwrap_or(u32::MAX);
            numbers.insert(*key, free);
        }
    }
}

/// Names in the host's namespace; all begin with one prefix, so that what is ours can be told.
#[derive(Debug, Clone)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    /// A guest's tap.
    pub(super) fn tap(&self, number: u32) -> String {
        format!("{}t{number}", self.prefix)
    }

    /// A subnet's bridge.
    pub(super) fn bridge(&self, number: u32) -> String {
        format!("{}b{number}", self.prefix)
    }

    /// The host's end of the pair between a subnet's bridge and the router.
    pub(super) fn router_port(&self, number: u32) -> String {
        format!("{}r{number}", self.prefix)
    }

    /// The host's end of a router's way out.
    pub(super) fn uplink(&self, number: u32) -> String {
        format!("{}u{number}", self.prefix)
    }

    /// A pattern for nft that matches every tap.
    pub(super) fn all_taps(&self) -> String {
        format!("{}t*", self.prefix)
    }

    /// A pattern for nft that matches every subnet's bridge.
    pub(super) fn all_bridges(&self) -> String {
        format!("{}b*", self.prefix)
    }

    /// A pattern for nft that matches every router's port on a bridge.
    pub(super) fn all_router_ports(&self) -> String {
        format!("{}r*", self.prefix)
    }

    /// A pattern for nft that matches every router's way out.
    pub(super) fn all_uplinks(&self) -> String {
        format!("{}u*", self.prefix)
    }

    /// Whether Tepui made the device of this name.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        ['t', 'b', 'r', 'u', 'x', 'p'].iter().any(|kind| self.has_kind(name, *kind))
    }

    /// Whether the name is one of a tap.
    pub(super) fn is_tap(&self, name: &str) -> bool {
        self.has_kind(name, 't')
    }

    /// The number in the name of a tap.
    pub(super) fn tap_number(&self, name: &str) -> Option<u32> {
        name.strip_prefix(&self.prefix)?.strip_prefix('t')?.parse().ok()
    }

    /// Whether the name is one of a router's way out.
    pub(super) fn is_uplink(&self, name: &str) -> bool {
        self.has_kind(name, 'u')
    }

    /// A name for a moment, before the device is moved into its router's namespace.
    pub(super) fn passing(&self, kind: char, number: u32) -> String {
        format!("{}{kind}{number}", self.prefix)
    }

    fn has_kind(&self, name: &str, kind: char) -> bool {
        name.strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_prefix(kind))
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

/// The name of a subnet's device inside the router's namespace.
pub(super) fn subnet_device(number: u32) -> String {
    format!("{SUBNET_PREFIX}{number}")
}

/// Host's and router's address on the way between them: a /31 of 100.64.0.0/16 (RFC 6598, shared
/// address space, RFC 3021 for the /31). At most 32,768 VPCs on a host.
pub(super) fn uplink_addresses(number: u32) -> (Ipv4Addr, Ipv4Addr) {
    let base = u32::from(Ipv4Addr::new(100, 64, 0, 0)) + 2 * (number % 0x8000);
    (Ipv4Addr::from(base), Ipv4Addr::from(base + 1))
}

/// The range of [`uplink_addresses`].
pub(super) const fn uplink_range() -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 16)
}

/// The number of which this is the router's address of [`uplink_addresses`].
pub(super) fn uplink_number(router: Ipv4Addr) -> Option<u32> {
    let number = u32::from(router).checked_sub(u32::from(Ipv4Addr::new(100, 64, 0, 0)))? / 2;
    (uplink_addresses(number).1 == router).then_some(number)
}

/// Where a VPC's namespace is bound.
pub(super) fn namespace_path(run_dir: &Path, vpc: VpcId) -> PathBuf {
    run_dir.join("netns").join(vpc.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_key_and_is_free_again_after_it() {
        let mut numbers = BTreeMap::new();
        assign(&mut numbers, &BTreeSet::from(['a', 'b', 'c']));
        assert_eq!(numbers, BTreeMap::from([('a', 1), ('b', 2), ('c', 3)]));
        assign(&mut numbers, &BTreeSet::from(['b', 'c', 'd']));
        assert_eq!(numbers, BTreeMap::from([('b', 2), ('c', 3), ('d', 1)]));
    }

    #[test]
    fn only_names_with_prefix_kind_and_number_are_ours() {
        let names = Names::new("tp".into());
        assert!(names.is_ours("tpt1") && names.is_ours("tpu27") && names.is_tap("tpt1"));
        for foreign in ["tp0", "tpt", "tptx", "eth0", "vnet0", "tpt1a", "tun0"] {
            assert!(!names.is_ours(foreign), "{foreign}");
        }
        assert!(names.tap(u32::MAX).len() <= 15);
    }

    #[test]
    fn the_state_file_survives_being_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/network.json");
        let numbers =
            Numbers { taps: BTreeMap::from([(PlacementId::from_random(7), 3)]), ..Numbers::default() };
        numbers.save(&path).unwrap();
        numbers.save(&path).unwrap();
        assert_eq!(Numbers::load(&path).unwrap(), Some(numbers));
        fs::write(&path, "{").unwrap();
        assert_eq!(Numbers::load(&path).unwrap(), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(Numbers::load(&path).unwrap(), None);
    }

    const OLD_STATE: &str = r#"{
        "vpcs": { "vpc-00000000000000001": 1 },
        "subnets": { "subnet-00000000000000001": 2 },
        "taps": { "p-00000000000000001": 3 },
        "proxied": ["203.0.113.7", "203.0.113.9"],
        "kept": [{
            "id": "vpc-00000000000000001",
            "cidr": "172.31.0.0/16",
            "vni": 1,
            "domain": "tepui-1.compute.internal",
            "subnets": [
                { "id": "subnet-00000000000000001", "cidr": "172.31.0.0/20", "gateway": "172.31.0.1" }
            ],
            "ports": [{
                "id": "eni-00000000000000001",
                "placement_id": "p-00000000000000001",
                "node_id": "node-00000000000000001",
                "subnet_id": "subnet-00000000000000001",
                "mac": "02:00:00:00:00:01",
                "private_ip": "172.31.0.10",
                "public_ip": null,
                "groups": []
            }],
            "groups": [],
            "nodes": []
        }]
    }"#;

    /// As the agent before wrote it, while a guest ran that no part named any more.
    #[test]
    fn a_state_file_without_owners_keeps_its_numbers_and_the_ports_of_unnamed_guests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.json");
        fs::write(&path, OLD_STATE).unwrap();
        let numbers = Numbers::load(&path).unwrap().unwrap();
        let owners: Vec<_> = numbers.proxied.iter().map(|(address, owner)| (*address, *owner)).collect();
        assert_eq!(owners, [(Ipv4Addr::new(203, 0, 113, 7), None), (Ipv4Addr::new(203, 0, 113, 9), None)]);
        assert_eq!(numbers.taps.into_values().collect::<Vec<_>>(), [3]);
        let kept: Vec<_> = numbers.kept.iter().flat_map(|part| &part.ports).collect();
        assert_eq!(
            kept.iter().map(|port| port.private_ip).collect::<Vec<_>>(),
            [Ipv4Addr::new(172, 31, 0, 10)]
        );
    }

    #[test]
    fn uplink_addresses_of_two_vpcs_do_not_meet() {
        assert_eq!(uplink_addresses(1), (Ipv4Addr::new(100, 64, 0, 2), Ipv4Addr::new(100, 64, 0, 3)));
        assert_eq!(uplink_addresses(128).0, Ipv4Addr::new(100, 64, 1, 0));
        assert_eq!(uplink_number(uplink_addresses(300).1), Some(300));
        for other in [uplink_addresses(300).0, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(100, 65, 0, 1)] {
            assert_eq!(uplink_number(other), None, "{other}");
        }
    }
}
