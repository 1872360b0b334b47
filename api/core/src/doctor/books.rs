//! The rows among themselves.

use tepui_db::Discrepancy;
use tepui_db::model::{NodeLoad, NodeState};

use super::{Finding, failure};
use crate::Overcommit;

/// What the store finds.
pub(super) fn finding(discrepancy: Discrepancy) -> Finding {
    let cure = match discrepancy.mendable {
        true => "tepui doctor --fix",
        false => "restore the newest backup, and report this as a bug",
    };
    let fixable = discrepancy.mendable;
    Finding { fixable, ..failure(discrepancy.object, discrepancy.what, cure) }
}

/// A node that holds more than it offers: its host shrank, or the overcommit was lowered. No launch does that.
pub(super) fn overfull(load: &NodeLoad, overcommit: Overcommit) -> Option<Finding> {
    let (node, capacity) = (&load.node, load.node.capacity);
    let of = |unit, used: u64, offered: u64, factor: f64| {
        let most = offered as f64 * factor;
        (used as f64 > most).then(|| format!("holds {used} {unit} and offers {most:.0}"))
    };
    let what = of("vCPUs", load.used_vcpus.into(), capacity.vcpus.into(), overcommit.vcpus)
        .or_else(|| of("MiB of memory", load.used_memory_mib, capacity.memory_mib, overcommit.memory))
        .or_else(|| of("GiB of disk", load.used_disk_gib, capacity.disk_gib, overcommit.disk))
        .filter(|_| node.state != NodeState::Expunged)?;
    let cure = "stop or delete instances on it, give the host back what it had, or raise its overcommit in [scheduling]";
    Some(failure(format!("node {}", node.name), what, cure))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tepui_db::model::Node;
    use tepui_types::NodeId;
    use tepui_types::agent::NodeCapacity;

    use super::*;

    fn load(used_vcpus: u32, used_memory_mib: u64, used_disk_gib: u64) -> NodeLoad {
        let node = Node {
            id: NodeId::from_random(1),
            machine_uuid: uuid::Uuid::from_u128(1),
            name: "node-1".into(),
            state: NodeState::Up,
            schedulable: true,
            underlay_address: [10, 0, 0, 1].into(),
            capacity: NodeCapacity { vcpus: 4, memory_mib: 1024, disk_gib: 10 },
            impaired: None,
            agent_version: String::new(),
            certificate_sha256: [0; 32],
            state_since: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
        };
        NodeLoad { node, used_vcpus, used_memory_mib, used_disk_gib }
    }

    #[test]
    fn a_node_holds_what_it_offers_times_the_overcommit_and_no_more() {
        let overcommit = Overcommit { vcpus: 2.0, memory: 1.0, disk: 1.5 };
        assert_eq!(overfull(&load(8, 1024, 15), overcommit), None);
        for (load, says) in [
            (load(9, 0, 0), "holds 9 vCPUs and offers 8"),
            (load(0, 1025, 0), "holds 1025 MiB of memory and offers 1024"),
            (load(0, 0, 16), "holds 16 GiB of disk and offers 15"),
        ] {
            assert_eq!(overfull(&load, overcommit).map(|found| found.what).as_deref(), Some(says));
        }
    }
}
