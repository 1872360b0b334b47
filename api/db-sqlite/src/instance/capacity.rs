//! What a node may still take, and what a project may still have.

use rusqlite::{Connection, params};
use tepui_db::model::NodeState;
use tepui_types::{NodeId, ProjectId};

use crate::row::first;
use crate::value::S;

/// An amount of the three things a node gives out.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    pub(super) vcpus: u64,
    pub(super) memory_mib: u64,
    pub(super) disk_gib: u64,
}

/// How much a node may give out for each unit of its own.
#[derive(Clone, Copy)]
pub(super) struct Overcommit {
    pub(super) vcpu: f64,
    pub(super) memory: f64,
    pub(super) disk: f64,
}

/// A node as a placement needs it.
pub(super) struct Host {
    pub(super) up: bool,
    pub(super) schedulable: bool,
    capacity: Amount,
    used: Amount,
}

impl Host {
    /// Reads a node; `None` when there is no such node.
    pub(super) fn read(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<Self>> {
        let sql = "SELECT state, schedulable, vcpus, memory_mib, disk_gib,
                          used_vcpus, used_memory_mib, used_disk_gib
                   FROM node WHERE id = ?1";
        first(connection, sql, params![S(node)], |c| {
            let up = c.stored::<NodeState>()? == NodeState::Up;
            let schedulable = c.plain()?;
            let amount = || {
                Ok::<_, rusqlite::Error>(Amount {
                    vcpus: c.stored()?,
                    memory_mib: c.stored()?,
                    disk_gib: c.stored()?,
                })
            };
            Ok(Self { up, schedulable, capacity: amount()?, used: amount()? })
        })
    }

    /// Whether `more` fits beside what is taken.
    pub(super) fn fits(&self, more: Amount, overcommit: Overcommit) -> bool {
        fits(self.capacity.vcpus, overcommit.vcpu, self.used.vcpus, more.vcpus)
            && fits(self.capacity.memory_mib, overcommit.memory, self.used.memory_mib, more.memory_mib)
            && fits(self.capacity.disk_gib, overcommit.disk, self.used.disk_gib, more.disk_gib)
    }
}

/// Sizes of machines are far below 2^53, where `f64` is exact. What takes nothing always fits, also
/// on a node that shrank below what is taken.
fn fits(capacity: u64, overcommit: f64, used: u64, more: u64) -> bool {
    more == 0 || (used.saturating_add(more)) as f64 <= capacity as f64 * overcommit
}

/// A quota that would be exceeded.
pub(super) struct Exceeded {
    pub(super) quota: &'static str,
    pub(super) limit: u64,
    pub(super) used: u64,
}

/// Checks a project's quota for more of each; stopped instances count in full.
pub(super) fn check_quota(
    connection: &Connection,
    project: ProjectId,
    instances: u64,
    vcpus: u64,
    memory_mib: u64,
) -> rusqlite::Result<Option<Exceeded>> {
    let sql = "SELECT quota_instances, used_instances, quota_vcpus, used_vcpus,
                      quota_memory_mib, used_memory_mib
               FROM project WHERE id = ?1";
    let wanted = [("instances", instances), ("vcpus", vcpus), ("memory_mib", memory_mib)];
    let exceeded = first(connection, sql, params![S(project)], |c| {
        for (quota, more) in wanted {
            let (limit, used) = (c.stored::<u64>()?, c.stored::<u64>()?);
            if more > 0 && used.saturating_add(more) > limit {
                return Ok(Some(Exceeded { quota, limit, used }));
            }
        }
        Ok(None)
    })?;
    Ok(exceeded.flatten())
}
