//! Generations of the parts of the desired state. A verb collects what it touched and grows each
//! part once at its end.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};
use tepui_types::{NodeId, VpcId};

use crate::row::execute;
use crate::value::S;

/// Parts whose content a verb changed.
#[derive(Default)]
pub(crate) struct Touched {
    nodes: BTreeSet<NodeId>,
    vpcs: BTreeSet<VpcId>,
    storage_hosts: BTreeSet<NodeId>,
}

impl Touched {
    /// The node's own part says something else now.
    pub(crate) fn node(&mut self, node: NodeId) {
        self.nodes.insert(node);
    }

    /// The VPC's part says something else now.
    pub(crate) fn vpc(&mut self, vpc: VpcId) {
        self.vpcs.insert(vpc);
    }

    /// The node's storage part says something else now.
    pub(crate) fn storage(&mut self, node: NodeId) {
        self.storage_hosts.insert(node);
    }

    /// Grows the generation of each touched part by one.
    pub(crate) fn grow(&self, connection: &Connection) -> rusqlite::Result<()> {
        for node in &self.nodes {
            let sql = "UPDATE node SET generation = generation + 1 WHERE id = ?1";
            execute(connection, sql, params![S(*node)])?;
        }
        for vpc in &self.vpcs {
            let sql = "UPDATE vpc SET generation = generation + 1 WHERE id = ?1";
            execute(connection, sql, params![S(*vpc)])?;
        }
        for node in &self.storage_hosts {
            let sql = "UPDATE storage_host SET generation = generation + 1 WHERE node_id = ?1";
            execute(connection, sql, params![S(*node)])?;
        }
        Ok(())
    }
}
