use std::net::Ipv4Addr;

use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as Generator;
use tepui_db::model::Node;
use tepui_types::Timestamp;
use tepui_types::agent::NodeCapacity;

use super::*;

const OVER: Overcommit = Overcommit { vcpus: 4.0, memory: 1.0, disk: 2.0 };

fn node(id: u128, capacity: NodeCapacity) -> NodeLoad {
    NodeLoad {
        node: Node {
            id: NodeId::from_random(id),
            machine_uuid: uuid::Uuid::from_u128(id),
            name: format!("node-{id}"),
            state: NodeState::Up,
            schedulable: true,
            underlay_address: Ipv4Addr::LOCALHOST,
            capacity,
            impaired: None,
            agent_version: String::new(),
            certificate_sha256: [0; 32],
            state_since: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
        },
        used_vcpus: 0,
        used_memory_mib: 0,
        used_disk_gib: 0,
    }
}

fn host(id: u128) -> NodeLoad {
    node(id, NodeCapacity { vcpus: 8, memory_mib: 16_384, disk_gib: 500 })
}

fn request(strategy: Strategy) -> Request {
    let demand = Demand { vcpus: 2, memory_mib: 1024, disk_gib: 8 };
    Request { demand, strategy, group: None, duplicates: Vec::new(), only: None }
}

fn seats(nodes: &[NodeLoad]) -> Vec<Seat> {
    nodes.iter().map(|load| Seat::of(load, &OVER)).collect()
}

fn planned(nodes: &[NodeLoad], request: &Request, count: usize) -> Vec<NodeId> {
    plan(&seats(nodes), request, count)
}

fn rejected(nodes: &[NodeLoad], request: &Request, placed: &[NodeId]) -> Vec<Rejection> {
    rejections(nodes, &OVER, request, placed)
}

fn counts(placed: &[NodeId]) -> BTreeMap<NodeId, usize> {
    placed.iter().fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(*id).or_default() += 1;
        counts
    })
}

#[test]
fn spread_levels_and_pack_fills() {
    let nodes = [host(1), host(2), host(3)];
    let spread = counts(&planned(&nodes, &request(Strategy::Spread), 6));
    assert!(spread.values().all(|count| *count == 2), "{spread:?}");
    let pack = counts(&planned(&nodes, &request(Strategy::Pack), 6));
    assert_eq!(pack.values().copied().collect::<Vec<_>>(), [6]);
}

#[test]
fn a_thousand_instances_spread_over_a_hundred_nodes_ten_each() {
    let nodes: Vec<_> = (1..=100).map(host).collect();
    let placed = counts(&planned(&nodes, &request(Strategy::Spread), 1000));
    assert_eq!(placed.len(), 100);
    assert!(placed.values().all(|count| *count == 10));
}

#[test]
fn the_first_failing_rule_is_told_with_its_numbers() {
    let mut nodes: Vec<_> = (1..=6).map(host).collect();
    nodes[0].used_memory_mib = 16_000;
    nodes[1].node.schedulable = false;
    nodes[2].node.state = NodeState::Unreachable;
    nodes[3].node.impaired = Some("libvirtd is away".into());
    nodes[4].used_vcpus = 31;
    nodes[5].used_disk_gib = 995;
    nodes.push(host(7));
    let request = Request { duplicates: vec![NodeId::from_random(7)], ..request(Strategy::Spread) };
    assert_eq!(planned(&nodes, &request, 1), []);
    let rules: Vec<_> = rejected(&nodes, &request, &[]).into_iter().map(|r| r.rule).collect();
    assert_eq!(
        rules,
        [
            "needs 1024 MiB of memory, 384 free",
            "draining",
            "unreachable since 1970-01-01T00:00:00Z",
            "impaired: libvirtd is away",
            "needs 2 vCPU, 1 free",
            "needs 8 GiB of disk, 5 free",
            "impaired: duplicate node identity",
        ]
    );
}

#[test]
fn a_spread_group_takes_each_node_once_and_a_cluster_group_stays_together() {
    let nodes = [host(1), host(2), host(3)];
    let member = NodeId::from_random(2);
    let in_group = |strategy| Request {
        group: Some(Group { strategy, members: BTreeMap::from([(member, 1)]) }),
        ..request(Strategy::Spread)
    };
    let spread = planned(&nodes, &in_group(PlacementStrategy::Spread), 3);
    assert_eq!(spread, [NodeId::from_random(1), NodeId::from_random(3)]);
    assert_eq!(rejected(&nodes, &in_group(PlacementStrategy::Spread), &spread).len(), 3);
    let cluster = planned(&nodes, &in_group(PlacementStrategy::Cluster), 3);
    assert_eq!(cluster, [member; 3]);
}

fn any_node() -> impl Generator<Value = NodeLoad> {
    (1u128..50, 1u32..64, 1u64..65_536, 1u64..2000, any::<bool>(), 0u32..64, 0u64..65_536).prop_map(
        |(id, vcpus, memory_mib, disk_gib, schedulable, used_vcpus, used_memory_mib)| {
            let mut load = node(id, NodeCapacity { vcpus, memory_mib, disk_gib });
            load.node.schedulable = schedulable;
            NodeLoad { used_vcpus, used_memory_mib, ..load }
        },
    )
}

proptest! {
    #[test]
    fn no_plan_overfills_a_node_and_none_gives_up_while_one_has_room(
        nodes in prop::collection::vec(any_node(), 0..20),
        count in 0usize..60,
        pack: bool,
    ) {
        let unique: BTreeMap<_, _> = nodes.into_iter().map(|load| (load.node.id, load)).collect();
        let mut nodes: Vec<_> = unique.into_values().collect();
        let request = request(if pack { Strategy::Pack } else { Strategy::Spread });
        let placed = planned(&nodes, &request, count);
        prop_assert_eq!(&placed, &one_by_one(&nodes, &request, count));
        let told = rejected(&nodes, &request, &placed);
        for load in &mut nodes {
            let here = placed.iter().filter(|id| **id == load.node.id).count();
            let taken = u32::try_from(here).unwrap();
            take(load, taken, &request);
            prop_assert!(taken == 0 || f64::from(load.used_vcpus) <= f64::from(load.node.capacity.vcpus) * 4.0);
            prop_assert!(taken == 0 || load.used_memory_mib <= load.node.capacity.memory_mib);
            prop_assert!(taken == 0 || load.used_disk_gib <= load.node.capacity.disk_gib * 2);
            prop_assert!(taken == 0 || load.node.schedulable);
        }
        let left = planned(&nodes, &request, 1);
        prop_assert!(placed.len() == count || left.is_empty());
        prop_assert_eq!(&told, &rejected(&nodes, &request, &[]));
        prop_assert_eq!(left.is_empty(), told.len() == nodes.len());
    }
}

fn take(load: &mut NodeLoad, count: u32, request: &Request) {
    load.used_vcpus += count * request.demand.vcpus;
    load.used_memory_mib += u64::from(count) * request.demand.memory_mib;
    load.used_disk_gib += u64::from(count) * request.demand.disk_gib;
}

/// The plan that looks at every node again for each instance.
fn one_by_one(nodes: &[NodeLoad], request: &Request, count: usize) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    let mut placed = Vec::new();
    while placed.len() < count
        && let Some(id) = planned(&nodes, request, 1).pop()
    {
        take(nodes.iter_mut().find(|load| load.node.id == id).unwrap(), 1, request);
        placed.push(id);
    }
    placed
}
