use std::net::Ipv4Addr;

use tepui_db::model::{Node, NodeState, PlacementStrategy};
use tepui_db_sqlite::{Options, SqliteDb};
use tepui_types::Timestamp;
use tepui_types::agent::NodeCapacity;

use super::*;
use crate::Strategy;
use crate::scheduler::Group;

const ONE: Demand = Demand { vcpus: 1, memory_mib: 1, disk_gib: 1 };

fn node(id: u128, vcpus: u32, used: u32) -> Arc<NodeLoad> {
    let node = Node {
        id: NodeId::from_random(id),
        machine_uuid: uuid::Uuid::from_u128(id),
        name: format!("node-{id}"),
        state: NodeState::Up,
        schedulable: true,
        underlay_address: Ipv4Addr::LOCALHOST,
        capacity: NodeCapacity { vcpus, memory_mib: 1000, disk_gib: 1000 },
        impaired: None,
        agent_version: String::new(),
        certificate_sha256: [0; 32],
        state_since: Timestamp::UNIX_EPOCH,
        created_at: Timestamp::UNIX_EPOCH,
    };
    Arc::new(NodeLoad { node, used_vcpus: used, used_memory_mib: used.into(), used_disk_gib: used.into() })
}

fn loads(nodes: Vec<Arc<NodeLoad>>) -> Loads {
    let loads = Loads::new(Overcommit { vcpus: 1.0, memory: 1.0, disk: 1.0 });
    tell(&loads, 1, nodes);
    loads
}

fn tell(loads: &Loads, upto: u64, nodes: Vec<Arc<NodeLoad>>) {
    loads.board().apply(NodeChanges { upto, nodes }, &loads.overcommit);
}

fn request(group: Option<Group>) -> Request {
    Request { demand: ONE, strategy: Strategy::Spread, group, duplicates: Vec::new(), only: None }
}

fn wish(request: &Request, min: usize, count: usize) -> Wish<'_> {
    Wish { request, group: None, min, count, own: &[] }
}

fn held(choice: Choice<'_>) -> Held<'_> {
    match choice {
        Choice::Held(held) => held,
        Choice::Contended => panic!("contended"),
        Choice::Full(why) => panic!("full: {why:?}"),
    }
}

#[test]
fn what_is_held_is_chosen_once_and_waited_for() {
    let (loads, request) = (loads(vec![node(1, 1, 0), node(2, 1, 0)]), request(None));
    let first = held(loads.choose(&wish(&request, 1, 1)));
    let second = held(loads.choose(&wish(&request, 1, 1)));
    assert_ne!(first.nodes(), second.nodes());
    assert!(matches!(loads.choose(&wish(&request, 1, 1)), Choice::Contended));
    drop(first);
    let third = held(loads.choose(&wish(&request, 1, 1)));
    drop((second, third));
    assert_eq!(held(loads.choose(&wish(&request, 1, 5))).nodes().len(), 2, "as many as fit");
}

#[test]
fn a_launch_takes_what_is_left_and_waits_only_for_what_it_must_have() {
    let (loads, request) = (loads(vec![node(1, 1, 0), node(2, 1, 0)]), request(None));
    let _first = held(loads.choose(&wish(&request, 1, 1)));
    assert!(matches!(loads.choose(&wish(&request, 2, 5)), Choice::Contended));
    assert_eq!(held(loads.choose(&wish(&request, 1, 5))).nodes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_launches_that_never_end_ends() {
    let dir = tempfile::TempDir::new().unwrap();
    let db = SqliteDb::open(&dir.path().join("db.sqlite3"), Options::default()).unwrap();
    let (loads, request) = (loads(vec![node(1, 1, 0)]), request(None));
    let first = held(loads.choose(&wish(&request, 1, 1)));
    let one = wish(&request, 1, 1);
    let waited = tokio::time::timeout(2 * PATIENCE, loads.hold(&db, &one)).await.unwrap();
    assert!(matches!(waited, Err(Error::Busy)));
    drop(first);
    assert!(loads.hold(&db, &one).await.unwrap().is_ok());
}

#[test]
fn only_what_the_store_says_makes_a_node_full() {
    let (loads, request) = (loads(vec![node(1, 1, 0)]), request(None));
    let first = held(loads.choose(&wish(&request, 1, 1)));
    // The write is acknowledged, and for a moment counted twice.
    tell(&loads, 2, vec![node(1, 1, 1)]);
    let Choice::Full(why) = loads.choose(&wish(&request, 1, 1)) else { panic!("not full") };
    assert_eq!(why[0].rule, "needs 1 vCPU, 0 free");
    tell(&loads, 3, vec![node(1, 2, 1)]);
    assert!(matches!(loads.choose(&wish(&request, 1, 1)), Choice::Contended), "the node grew");
    drop(first);
    held(loads.choose(&wish(&request, 1, 1)));
}

#[test]
fn an_older_answer_takes_nothing_back() {
    let (loads, request) = (loads(vec![node(1, 1, 0)]), request(None));
    tell(&loads, 3, vec![node(1, 1, 1)]);
    tell(&loads, 2, vec![node(1, 1, 0)]);
    assert!(matches!(loads.choose(&wish(&request, 1, 1)), Choice::Full(_)));
}

#[test]
fn members_to_be_keep_a_spread_group_apart() {
    let loads = loads(vec![node(1, 9, 0), node(2, 9, 3)]);
    let (group, other) = (PlacementGroupId::from_random(1), PlacementGroupId::from_random(2));
    let strategy = PlacementStrategy::Spread;
    let request = request(Some(Group { strategy, members: [].into() }));
    let wish = |group| Wish { request: &request, group: Some(group), min: 1, count: 1, own: &[] };
    let first = held(loads.choose(&wish(group)));
    let second = held(loads.choose(&wish(group)));
    assert_ne!(first.nodes(), second.nodes());
    assert!(matches!(loads.choose(&wish(group)), Choice::Contended));
    assert_eq!(held(loads.choose(&wish(other))).nodes(), first.nodes(), "another group does not mind");
    drop(second);
    assert_ne!(held(loads.choose(&wish(group))).nodes(), first.nodes());
}

#[test]
fn launches_under_way_spread_evenly_or_pack_tightly() {
    for (strategy, nodes, most) in [(Strategy::Spread, 5, 4), (Strategy::Pack, 2, 10)] {
        let loads = loads((1..=5).map(|id| node(id, 10, 0)).collect());
        let request = Request { strategy, ..request(None) };
        let under_way: Vec<_> = (0..20).map(|_| held(loads.choose(&wish(&request, 1, 1)))).collect();
        let mut here: HashMap<NodeId, u32> = HashMap::new();
        for node in under_way.iter().flat_map(Held::nodes) {
            *here.entry(*node).or_default() += 1;
        }
        assert_eq!((here.len(), here.values().max()), (nodes, Some(&most)), "{strategy:?}: {here:?}");
    }
}
