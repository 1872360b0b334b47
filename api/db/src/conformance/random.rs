//! Random sequences of verbs, after each of which the invariants hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tepui_types::agent::NodeCapacity;
use tepui_types::{Generation, InstanceId, NodeId};

use super::world::{Tenant, World};
use crate::model::{Instance, InstanceRecord, InstanceState, NodeLoad, NodeState, StateReason};
use crate::{AttributeChange, Cutoffs, Db, InstanceFilter, PowerChange};

/// A verb; numbers are taken modulo what there is.
#[derive(Debug, Clone)]
pub enum Verb {
    Launch { tenant: usize, node: usize, vcpus: u32, count: usize, public: bool },
    Stop { instance: usize, force: bool },
    Start(usize),
    Reboot(usize),
    Terminate(usize),
    Observe { instance: usize, to: usize },
    Resize { instance: usize, vcpus: u32 },
    Tag { instance: usize, value: bool },
    Expunge(usize),
    Purge,
}

const STATES: [InstanceState; 4] =
    [InstanceState::Running, InstanceState::Stopped, InstanceState::Running, InstanceState::Terminated];

fn verb() -> impl Strategy<Value = Verb> {
    let index = 0..64usize;
    prop_oneof![
        6 => (0..2usize, 0..3usize, 1..4u32, 1..4usize, any::<bool>())
            .prop_map(|(tenant, node, vcpus, count, public)| Verb::Launch { tenant, node, vcpus, count, public }),
        3 => (index.clone(), any::<bool>()).prop_map(|(instance, force)| Verb::Stop { instance, force }),
        3 => index.clone().prop_map(Verb::Start),
        1 => index.clone().prop_map(Verb::Reboot),
        3 => index.clone().prop_map(Verb::Terminate),
        8 => (index.clone(), 0..4usize).prop_map(|(instance, to)| Verb::Observe { instance, to }),
        2 => (index.clone(), 1..4u32).prop_map(|(instance, vcpus)| Verb::Resize { instance, vcpus }),
        2 => (index, any::<bool>()).prop_map(|(instance, value)| Verb::Tag { instance, value }),
        1 => (0..3usize).prop_map(Verb::Expunge),
        1 => Just(Verb::Purge),
    ]
}

/// Draws sequences and has the engine's tests run each on a new database with [`run`].
pub fn random_verbs_keep_the_invariants(run: impl Fn(Vec<Verb>) -> Result<(), TestCaseError>) {
    let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
    let sequences = prop::collection::vec(verb(), 1..60);
    TestRunner::new(config).run(&sequences, run).unwrap();
}

/// Runs one sequence.
pub async fn run(db: Arc<dyn Db>, verbs: Vec<Verb>) -> Result<(), TestCaseError> {
    let world = World::new(db);
    let tenants = [world.tenant("alpha").await, world.tenant("beta").await];
    let capacity = NodeCapacity { vcpus: 6, memory_mib: 8192, disk_gib: 64 };
    let nodes = [world.node(capacity).await, world.node(capacity).await, world.node(capacity).await];
    let (mut generations, mut taking) = (BTreeMap::new(), BTreeMap::new());
    let mut followed = Followed::default();
    for verb in verbs {
        apply(&world, &tenants, &nodes, &verb).await;
        check_nodes(&world, &nodes, capacity, &mut taking).await?;
        check_changes(&world, &mut followed).await?;
        check_addresses(&world).await?;
        check_listings(&world, &tenants).await?;
        check_generations(&world, &nodes, &mut generations).await?;
        prop_assert_eq!(world.db.discrepancies().await.unwrap(), []);
    }
    Ok(())
}

async fn apply(world: &World, tenants: &[Tenant; 2], nodes: &[NodeId; 3], verb: &Verb) {
    match *verb {
        Verb::Launch { tenant, node, vcpus, count, public } => {
            let tenant = &tenants[tenant];
            let mut instances: Vec<_> = (0..count).map(|_| world.instance(tenant, nodes[node])).collect();
            for new in &mut instances {
                new.instance.vcpus = vcpus;
                new.interface.public_ip = public;
            }
            world.try_launch(&world.launch(tenant, instances)).await;
        }
        Verb::Stop { instance, force } => power(world, tenants, instance, PowerChange::Stop { force }).await,
        Verb::Reboot(instance) => power(world, tenants, instance, PowerChange::Reboot).await,
        Verb::Terminate(instance) => power(world, tenants, instance, PowerChange::Terminate).await,
        Verb::Start(instance) => {
            if let Some((tenant, id)) = pick(world, tenants, instance).await {
                world.start(tenant, id).await;
            }
        }
        Verb::Observe { instance, to } => observe(world, tenants, instance, STATES[to]).await,
        Verb::Resize { instance, vcpus } => {
            if let Some((tenant, id)) = pick(world, tenants, instance).await {
                let change = AttributeChange::InstanceType("t".into(), vcpus, 512);
                world.db.change_attributes(tenant.project, id, &[change], world.now()).await.unwrap();
            }
        }
        Verb::Tag { instance, value } => {
            if let Some((tenant, id)) = pick(world, tenants, instance).await {
                let tags = [("value".to_owned(), value.to_string())];
                world.db.put_tags(tenant.project, &[id.to_string()], &tags, 50).await.unwrap();
            }
        }
        Verb::Expunge(node) => {
            let reason =
                StateReason { code: "Server.Expunged".into(), message: "given up".into(), detail: None };
            world.db.set_node_state(nodes[node], NodeState::Unreachable, world.now()).await.unwrap();
            world.db.expunge_node(nodes[node], &reason, world.now()).await.unwrap();
        }
        Verb::Purge => {
            world.db.purge(&Cutoffs::all(world.now()), 1000).await.unwrap();
        }
    }
}

async fn pick<'a>(world: &World, tenants: &'a [Tenant; 2], index: usize) -> Option<(&'a Tenant, InstanceId)> {
    let mut all = Vec::new();
    for tenant in tenants {
        all.extend(world.records(tenant).await.into_iter().map(|record| (tenant, record.instance.id)));
    }
    if all.is_empty() { None } else { Some(all[index % all.len()]) }
}

async fn power(world: &World, tenants: &[Tenant; 2], instance: usize, change: PowerChange) {
    if let Some((tenant, id)) = pick(world, tenants, instance).await {
        world.power(tenant, id, change).await;
    }
}

/// Only what the diagram of the states allows: a stopped instance does not take capacity back by
/// being seen, and only what was asked to go goes.
async fn observe(world: &World, tenants: &[Tenant; 2], instance: usize, to: InstanceState) {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let Some((tenant, id)) = pick(world, tenants, instance).await else { return };
    let allowed = match world.state(tenant, id).await {
        Pending => to == Running,
        Running | Stopping => to == Stopped,
        ShuttingDown => to == Terminated,
        Stopped | Terminated => false,
    };
    if allowed {
        world.observe(tenant, id, to).await;
    }
}

async fn check_nodes(
    world: &World,
    nodes: &[NodeId],
    capacity: NodeCapacity,
    taking: &mut BTreeMap<InstanceId, bool>,
) -> Result<(), TestCaseError> {
    for node in nodes {
        let used = world.used(*node).await;
        let recomputed = world.recomputed(*node, |instance| takes(taking, instance)).await;
        prop_assert_eq!(used, recomputed);
        prop_assert!(used.0 <= capacity.vcpus.into() && used.1 <= capacity.memory_mib);
        prop_assert!(used.2 <= capacity.disk_gib);
    }
    Ok(())
}

/// Nodes as one knows them who asks only for what changed.
#[derive(Default)]
struct Followed {
    upto: u64,
    nodes: BTreeMap<NodeId, Arc<NodeLoad>>,
}

/// Who follows the changes knows what the rows say, and who asks for all learns it at once.
async fn check_changes(world: &World, followed: &mut Followed) -> Result<(), TestCaseError> {
    let changes = world.db.node_changes(followed.upto).await.unwrap();
    prop_assert!(changes.upto >= followed.upto);
    followed.upto = changes.upto;
    followed.nodes.extend(changes.nodes.into_iter().map(|load| (load.node.id, load)));
    let rows: BTreeMap<_, _> =
        world.db.nodes().await.unwrap().into_iter().map(|load| (load.node.id, Arc::new(load))).collect();
    prop_assert_eq!(&followed.nodes, &rows);
    let all = world.db.node_changes(0).await.unwrap().nodes;
    prop_assert_eq!(all.into_iter().map(|load| (load.node.id, load)).collect::<BTreeMap<_, _>>(), rows);
    prop_assert_eq!(world.db.node_changes(followed.upto).await.unwrap().nodes, vec![]);
    Ok(())
}

/// Whether an instance takes virtual CPUs and memory; while it shuts down, as before.
fn takes(taking: &mut BTreeMap<InstanceId, bool>, instance: &Instance) -> bool {
    use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};
    let takes = match instance.state {
        Pending | Running | Stopping => true,
        ShuttingDown => taking.get(&instance.id).copied().unwrap_or(true),
        Stopped | Terminated => false,
    };
    taking.insert(instance.id, takes);
    takes
}

async fn check_addresses(world: &World) -> Result<(), TestCaseError> {
    let records = world.db.all_instances().await.unwrap();
    prop_assert!(records.iter().all(|record| record.placement.is_some()), "one live placement each");
    let interfaces: Vec<_> = records.iter().filter_map(|record| record.interface.as_ref()).collect();
    distinct(interfaces.iter().map(|interface| (interface.vpc_id, interface.private_ip)))?;
    distinct(interfaces.iter().filter_map(|interface| interface.public_ip))?;
    distinct(interfaces.iter().map(|interface| interface.mac))?;
    distinct(records.iter().map(|record| record.instance.id))
}

/// What an engine keeps of its listings is what it would read.
async fn check_listings(world: &World, tenants: &[Tenant; 2]) -> Result<(), TestCaseError> {
    for tenant in tenants {
        let listed = world.records(tenant).await;
        let filter =
            InstanceFilter { ids: listed.iter().map(|r| r.instance.id).collect(), reservation: None };
        if !listed.is_empty() {
            prop_assert_eq!(&listed, &world.db.instances(tenant.project, &filter).await.unwrap());
        }
        let living = listed.iter().filter(|r| r.instance.state != InstanceState::Terminated);
        let all = world.db.all_instances().await.unwrap();
        let own = all.iter().filter(|r| r.instance.project_id == tenant.project);
        prop_assert_eq!(living.count(), own.count());
    }
    Ok(())
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Result<(), TestCaseError> {
    let mut values: Vec<_> = values.collect();
    let count = values.len();
    values.sort();
    values.dedup();
    prop_assert_eq!(values.len(), count);
    Ok(())
}

/// What a node must do, as far as the part says it.
type Content = Vec<(InstanceId, bool, bool, u64, u64, bool, u32)>;

fn content(records: &[InstanceRecord]) -> Content {
    use InstanceState::{Pending, Running, ShuttingDown, Terminated};
    let tell = |record: &InstanceRecord| {
        let i = &record.instance;
        let on = matches!(i.state, Pending | Running);
        let absent = matches!(i.state, ShuttingDown | Terminated);
        (i.id, on, absent, i.start_seq, i.reboot_seq, i.force, i.vcpus)
    };
    records.iter().map(tell).collect()
}

/// A generation never goes back and never stands for two contents.
async fn check_generations(
    world: &World,
    nodes: &[NodeId],
    seen: &mut BTreeMap<NodeId, (Generation, Content)>,
) -> Result<(), TestCaseError> {
    for node in nodes {
        let part = world.db.node_part(*node).await.unwrap().unwrap();
        let now = (part.generation, content(&part.records));
        if let Some(before) = seen.insert(*node, now.clone()) {
            prop_assert!(now.0 >= before.0);
            prop_assert!(now.0 > before.0 || now.1 == before.1, "{:?} {:?}", before, now);
        }
    }
    Ok(())
}
