//! What the pool of public addresses must leave alone. A slice of the hosts' own network is allowed, as long
//! as no host has an address in it: that is how a pool for a home or an office looks.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use tepui_db::model::NodeState;

use crate::network::VPC_CIDR;
use crate::{Cloud, Error};

/// The rule about a range that the pool overlaps, if it overlaps one.
pub fn pool_conflict(pool: Ipv4Net) -> Option<&'static str> {
    let range = |a, b, length| Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length);
    let ranges = [
        (Ipv4Net::new_assert(VPC_CIDR.0, VPC_CIDR.1), "must not overlap 172.31.0.0/16, the range of VPCs"),
        (
            range(169, 254, 16),
            "must not overlap 169.254.0.0/16, where guests find their metadata (169.254.169.254)",
        ),
        (range(100, 64, 16), "must not overlap 100.64.0.0/16, the ways between hosts and routers"),
        (range(0, 0, 8), "must not overlap 0.0.0.0/8, which is nobody's (RFC 6890)"),
        (range(127, 0, 8), "must not overlap 127.0.0.0/8, the loopback addresses"),
        (range(224, 0, 3), "must not overlap 224.0.0.0/3, the multicast and reserved addresses (RFC 6890)"),
    ];
    let overlaps = |range: &Ipv4Net| range.contains(&pool) || pool.contains(range);
    ranges.into_iter().find(|(range, _)| overlaps(range)).map(|(_, rule)| rule)
}

impl Cloud {
    /// A node whose address between the hosts is in the pool of public addresses: its name and address. An
    /// instance that got the address would cut the host off. One that was given up blocks no pool: its
    /// host is off, as its operator vouched.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn node_in_public_pool(&self) -> Result<Option<(String, Ipv4Addr)>, Error> {
        let Some(pool) = self.config.public_pool else { return Ok(None) };
        let nodes = self.db.nodes().await?;
        let mut hosts = nodes.into_iter().filter(|load| load.node.state != NodeState::Expunged);
        let inside = hosts.find(|load| pool.contains(&load.node.underlay_address));
        Ok(inside.map(|load| (load.node.name, load.node.underlay_address)))
    }

    /// Refuses a host's address in the pool.
    pub(crate) fn check_outside_of_pool(&self, address: Ipv4Addr) -> Result<(), Error> {
        match self.config.public_pool.filter(|pool| pool.contains(&address)) {
            Some(pool) => {
                let rule = format!("must not be in the pool of public addresses, {pool}");
                Err(Error::invalid("underlay_address", address, rule))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_overlaps_a_range_of_the_clouds_own_is_told_which() {
        let conflict = |pool: &str| pool_conflict(pool.parse().unwrap()).unwrap_or_default();
        for (pool, range) in [
            ("172.31.5.0/24", "172.31.0.0/16"),
            ("172.0.0.0/8", "172.31.0.0/16"),
            ("169.254.169.254/32", "169.254.169.254"),
            ("100.64.3.0/24", "100.64.0.0/16"),
            ("127.0.0.0/16", "127.0.0.0/8"),
            ("0.0.0.0/0", "172.31.0.0/16"),
            ("0.1.0.0/16", "0.0.0.0/8"),
            ("239.1.0.0/16", "224.0.0.0/3"),
        ] {
            assert!(conflict(pool).contains(range), "{pool}: {}", conflict(pool));
        }
        for good in ["198.18.0.0/24", "172.30.0.0/16", "172.32.0.0/16", "100.65.0.0/16", "10.9.0.64/27"] {
            assert_eq!(conflict(good), "", "{good}");
        }
    }
}
