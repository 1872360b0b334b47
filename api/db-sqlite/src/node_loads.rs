//! What is taken on the nodes, kept in memory as the last commit left it.
//!
//! Triggers of the writing connection tell which nodes a transaction changed, so that no verb can
//! forget to. They are temporary: the file has none, since nobody else writes it. The writer reads
//! those nodes at the end of its transaction and publishes them after the commit and before it
//! acknowledges.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Null;
use rusqlite::{Connection, Result};
use tepui_db::NodeChanges;
use tepui_db::model::NodeLoad;
use tepui_types::NodeId;

use crate::node;
use crate::value::S;

/// Nodes are never deleted. The columns left out are not of a load, and grow with every change of a
/// node's part.
const TRIGGERS: &str = "
    CREATE TEMP TRIGGER node_added AFTER INSERT ON main.node BEGIN SELECT node_changed(NEW.id); END;
    CREATE TEMP TRIGGER node_updated
    AFTER UPDATE OF name, state, schedulable, underlay_address, vcpus, memory_mib, disk_gib, used_vcpus,
        used_memory_mib, used_disk_gib, impaired, agent_version, certificate_sha256, state_since
    ON main.node BEGIN SELECT node_changed(NEW.id); END;";

/// The nodes by their last change.
#[derive(Default)]
pub(crate) struct NodeLoads(Mutex<Known>);

#[derive(Default)]
struct Known {
    upto: u64,
    by_change: BTreeMap<u64, Arc<NodeLoad>>,
    last_change: HashMap<NodeId, u64>,
}

impl NodeLoads {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What changed after `since`.
    pub(crate) fn since(&self, since: u64) -> NodeChanges {
        let known = self.known();
        let after = known.by_change.range(since.saturating_add(1)..);
        NodeChanges { upto: known.upto, nodes: after.map(|(_, load)| Arc::clone(load)).collect() }
    }

    /// One node, as the last commit left it.
    pub(crate) fn of(&self, node: NodeId) -> Option<Arc<NodeLoad>> {
        let known = self.known();
        known.last_change.get(&node).and_then(|change| known.by_change.get(change)).cloned()
    }

    fn publish(&self, loads: Vec<NodeLoad>) {
        let mut known = self.known();
        for load in loads {
            known.upto += 1;
            let change = known.upto;
            if let Some(before) = known.last_change.insert(load.node.id, change) {
                known.by_change.remove(&before);
            }
            known.by_change.insert(change, Arc::new(load));
        }
    }
}

/// Sees what the writing connection does to nodes.
pub(crate) struct NodeWatch {
    changed: Arc<Mutex<BTreeSet<NodeId>>>,
    loads: Arc<NodeLoads>,
}

impl NodeWatch {
    /// Watches a connection, and publishes what is there already.
    pub(crate) fn of(connection: &Connection, loads: Arc<NodeLoads>) -> Result<Self> {
        let changed: Arc<Mutex<BTreeSet<NodeId>>> = Arc::default();
        let noted = Arc::clone(&changed);
        let note = move |call: &Context<'_>| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).insert(call.get::<S<NodeId>>(0)?.0);
            Ok(Null)
        };
        connection.create_scalar_function("node_changed", 1, FunctionFlags::SQLITE_UTF8, note)?;
        connection.execute_batch(TRIGGERS)?;
        loads.publish(node::loads(connection)?);
        Ok(Self { changed, loads })
    }

    /// The nodes that the open transaction changed, as it leaves them. A verb that was undone may have
    /// named some that are as they were.
    pub(crate) fn changed(&self, connection: &Connection) -> Result<Vec<NodeLoad>> {
        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let loads = changed.into_iter().map(|id| node::load(connection, id));
        loads.filter_map(Result::transpose).collect()
    }

    /// Shows them to everybody.
    pub(crate) fn publish(&self, loads: Vec<NodeLoad>) {
        self.loads.publish(loads);
    }
}
