//! Launches that run at the same time: what fits is placed, no more, and what does not fit leaves
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tepui_core::{Error, Reservation, RunInstances, Strategy};
use tepui_db::model::{PlacementStrategy, Quota};
use tepui_types::NodeId;
use tepui_types::agent::NodeCapacity;

use super::harness::Harness;

/// Memory of a `t3.micro`, in MiB.
const MICRO: u64 = 1024;

/// Hosts with room for `each` `t3.micro`.
async fn hosts(t: &Harness, count: u128, each: u64) {
    for number in 1..=count {
        t.host_of(number, NodeCapacity { vcpus: 64, memory_mib: each * MICRO, disk_gib: 1000 }).await;
    }
}

/// The same request `count` times at once, each with a token of its own.
async fn at_once(t: &Harness, request: RunInstances, count: usize) -> Vec<Result<Reservation, Error>> {
    let calls = (0..count).map(|number| {
        let (cloud, admin) = (Arc::clone(&t.cloud), t.admin.clone());
        let request = RunInstances { client_token: Some(format!("{number}")), ..request.clone() };
        tokio::spawn(async move { cloud.run_instances(&admin, request).await })
    });
    let mut outcomes = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        outcomes.push(call.await.unwrap());
    }
    outcomes
}

/// How many were placed; every other call was refused for the reason that `refusal` knows.
fn placed(outcomes: &[Result<Reservation, Error>], refusal: fn(&Error) -> bool) -> usize {
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refused.iter().all(|error| refusal(error)), "{refused:?}");
    outcomes.iter().flatten().map(|made| made.instances.len()).sum()
}

fn no_capacity(error: &Error) -> bool {
    matches!(error, Error::NoCapacity { .. })
}

/// What is there is these instances and all that belongs to them, and nothing of any other.
async fn only(t: &Harness, count: usize) -> BTreeMap<NodeId, u64> {
    let instances = t.cloud.describe_instances(&t.admin, &[]).await.unwrap();
    let addresses: BTreeSet<_> =
        instances.iter().map(|view| view.record.interface.as_ref().unwrap().private_ip).collect();
    assert_eq!((instances.len(), addresses.len()), (count, count));
    assert_eq!(t.cloud.volumes(&t.admin, &[]).await.unwrap().len(), count);
    assert_eq!(t.cloud.network_interfaces(&t.admin, &[]).await.unwrap().len(), count);
    assert_eq!(t.cloud.quota(&t.admin).await.unwrap().used.instances as usize, count);
    let mut here: BTreeMap<NodeId, u64> = BTreeMap::new();
    for view in &instances {
        *here.entry(view.record.placement.as_ref().unwrap().node_id).or_default() += 1;
    }
    for view in t.cloud.nodes(&t.admin).await.unwrap() {
        let count = here.get(&view.load.node.id).copied().unwrap_or(0);
        assert_eq!(view.load.used_memory_mib, count * MICRO, "the node's sum is that of its instances");
        assert!(view.load.used_memory_mib <= view.load.node.capacity.memory_mib);
    }
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_launches_at_once_exactly_those_are_placed_that_fit() {
    for strategy in [Strategy::Spread, Strategy::Pack] {
        let t = Harness::with(|config| config.strategy = strategy).await;
        hosts(&t, 10, 5).await;
        let image = t.image(&t.admin, "i").await;
        let outcomes = at_once(&t, RunInstances::new(image, "t3.micro"), 200).await;
        assert_eq!(placed(&outcomes, no_capacity), 50, "{strategy:?}");
        let here = only(&t, 50).await;
        assert!(here.len() == 10 && here.values().all(|count| *count == 5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn launches_of_several_fill_the_last_room_with_fewer() {
    let t = Harness::new().await;
    hosts(&t, 10, 5).await;
    let image = t.image(&t.admin, "i").await;
    let request = RunInstances { max_count: 3, ..RunInstances::new(image, "t3.micro") };
    let outcomes = at_once(&t, request, 40).await;
    assert_eq!(placed(&outcomes, no_capacity), 50);
    only(&t, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spread_group_takes_each_node_once_also_at_once() {
    for strategy in [Strategy::Spread, Strategy::Pack] {
        let t = Harness::with(|config| config.strategy = strategy).await;
        hosts(&t, 20, 9).await;
        let image = t.image(&t.admin, "i").await;
        t.cloud.create_placement_group(&t.admin, "apart", PlacementStrategy::Spread).await.unwrap();
        let request =
            RunInstances { placement_group: Some("apart".into()), ..RunInstances::new(image, "t3.micro") };
        let outcomes = at_once(&t, request, 60).await;
        assert_eq!(placed(&outcomes, no_capacity), 20, "{strategy:?}");
        assert_eq!(only(&t, 20).await.len(), 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_quota_is_placed_also_at_once() {
    let t = Harness::new().await;
    hosts(&t, 10, 50).await;
    let image = t.image(&t.admin, "i").await;
    let quota =
        Quota { instances: 1000, vcpus: 101, memory_mib: 1 << 30, volumes: 5_000, volume_gib: 51_200 };
    t.cloud.set_quota(&t.admin, t.admin.project, quota).await.unwrap();
    let outcomes = at_once(&t, RunInstances::new(image, "t3.micro"), 200).await;
    let refusal = |error: &Error| matches!(error, Error::QuotaExceeded { quota: "vcpus", limit: 101, .. });
    assert_eq!(placed(&outcomes, refusal), 50, "two virtual CPUs each");
    only(&t, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_launch_can_be_repeated_once_there_is_room() {
    let t = Harness::new().await;
    hosts(&t, 1, 5).await;
    let image = t.image(&t.admin, "i").await;
    let outcomes = at_once(&t, RunInstances::new(image, "t3.micro"), 20).await;
    assert_eq!(placed(&outcomes, no_capacity), 5);
    t.host(2).await;
    let outcomes = at_once(&t, RunInstances::new(image, "t3.micro"), 20).await;
    assert_eq!(placed(&outcomes, no_capacity), 20, "each token stands for one instance");
    only(&t, 20).await;
}
