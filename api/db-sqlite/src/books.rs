//! Whether the rows agree with each other: a list of questions, each with what puts the answer right where
//! one side follows from the other.

use async_trait::async_trait;
use rusqlite::Connection;
use tepui_db::{BooksDb, DbError, Discrepancy};

use crate::SqliteDb;
use crate::row::all;

/// One question.
struct Check {
    /// Selects an object and what is wrong with it.
    find: &'static str,
    /// Puts all that was found right.
    mend: Option<&'static str>,
}

/// What a live placement takes follows from its instance's state and size. One that shuts down takes what it
/// took before: all or nothing.
const TAKES: Check = Check {
    find: "SELECT 'placement p-' || substr(lower(hex(p.id)), 2),
                  format('takes %d vCPUs and %d MiB, and its instance is %s with %d vCPUs and %d MiB',
                         p.vcpus, p.memory_mib, i.state, i.vcpus, i.memory_mib)
           FROM placement p JOIN instance i ON i.n = p.instance_n
           WHERE p.gone_at IS NULL AND (p.vcpus, p.memory_mib) <>
                 (iif(i.state IN ('stopped', 'terminated'), 0, i.vcpus),
                  iif(i.state IN ('stopped', 'terminated'), 0, i.memory_mib))
             AND NOT (i.state = 'shutting-down' AND p.vcpus = 0 AND p.memory_mib = 0)",
    mend: Some(
        "UPDATE placement SET
             vcpus = iif(i.state IN ('stopped', 'terminated'), 0, i.vcpus),
             memory_mib = iif(i.state IN ('stopped', 'terminated'), 0, i.memory_mib)
         FROM instance i
         WHERE i.n = placement.instance_n AND placement.gone_at IS NULL
           AND (placement.vcpus, placement.memory_mib) <>
               (iif(i.state IN ('stopped', 'terminated'), 0, i.vcpus),
                iif(i.state IN ('stopped', 'terminated'), 0, i.memory_mib))
           AND NOT (i.state = 'shutting-down' AND placement.vcpus = 0 AND placement.memory_mib = 0)",
    ),
};

/// A root disk that is not there is a finding of its own, and nothing follows from it.
const DISKS: Check = Check {
    find: "SELECT 'placement p-' || substr(lower(hex(p.id)), 2),
                  format('takes %d GiB of disk, and its disks have %d', p.disk_gib,
                         ifnull(v.size_gib, 0) + i.scratch_gib + i.swap_gib)
           FROM placement p JOIN instance i ON i.n = p.instance_n
           LEFT JOIN root_volume v ON v.instance_n = p.instance_n
           WHERE p.gone_at IS NULL AND (i.volume_root OR v.instance_n IS NOT NULL)
             AND p.disk_gib <> ifnull(v.size_gib, 0) + i.scratch_gib + i.swap_gib",
    mend: Some(
        "UPDATE placement SET disk_gib = ifnull(v.size_gib, 0) + i.scratch_gib + i.swap_gib
         FROM instance i LEFT JOIN root_volume v ON v.instance_n = i.n
         WHERE i.n = placement.instance_n AND placement.gone_at IS NULL
           AND (i.volume_root OR v.instance_n IS NOT NULL)
           AND placement.disk_gib <> ifnull(v.size_gib, 0) + i.scratch_gib + i.swap_gib",
    ),
};

const NODE_SUMS: Check = Check {
    find: "SELECT 'node ' || n.name,
                  format('counts %d vCPUs, %d MiB and %d GiB, and its placements take %d, %d and %d',
                         n.used_vcpus, n.used_memory_mib, n.used_disk_gib,
                         ifnull(p.vcpus, 0), ifnull(p.memory_mib, 0), ifnull(p.disk_gib, 0))
           FROM node n LEFT JOIN (SELECT node_id, sum(vcpus) AS vcpus, sum(memory_mib) AS memory_mib,
                                         sum(disk_gib) AS disk_gib
                                  FROM placement WHERE gone_at IS NULL GROUP BY node_id) p
               ON p.node_id = n.id
           WHERE (n.used_vcpus, n.used_memory_mib, n.used_disk_gib) <>
                 (ifnull(p.vcpus, 0), ifnull(p.memory_mib, 0), ifnull(p.disk_gib, 0))",
    mend: Some(
        "UPDATE node SET (used_vcpus, used_memory_mib, used_disk_gib) =
             (SELECT ifnull(sum(vcpus), 0), ifnull(sum(memory_mib), 0), ifnull(sum(disk_gib), 0)
              FROM placement WHERE node_id = node.id AND gone_at IS NULL)",
    ),
};

const PROJECT_SUMS: Check = Check {
    find: "SELECT 'project ' || p.name,
                  format('counts %d instances, %d vCPUs and %d MiB, and its instances come to %d, %d and %d',
                         p.used_instances, p.used_vcpus, p.used_memory_mib,
                         ifnull(i.instances, 0), ifnull(i.vcpus, 0), ifnull(i.memory_mib, 0))
           FROM project p LEFT JOIN (SELECT project_id, count(*) AS instances, sum(vcpus) AS vcpus,
                                            sum(memory_mib) AS memory_mib
                                     FROM instance WHERE state <> 'terminated' GROUP BY project_id) i
               ON i.project_id = p.id
           WHERE (p.used_instances, p.used_vcpus, p.used_memory_mib) <>
                 (ifnull(i.instances, 0), ifnull(i.vcpus, 0), ifnull(i.memory_mib, 0))",
    mend: Some(
        "UPDATE project SET (used_instances, used_vcpus, used_memory_mib) =
             (SELECT count(*), ifnull(sum(vcpus), 0), ifnull(sum(memory_mib), 0)
              FROM instance WHERE project_id = project.id AND state <> 'terminated')",
    ),
};

const VOLUME_SUMS: Check = Check {
    find: "SELECT 'project ' || p.name,
                  format('counts %d volumes with %d GiB, and its volumes come to %d with %d',
                         p.used_volumes, p.used_volume_gib, ifnull(v.volumes, 0), ifnull(v.gib, 0))
           FROM project p LEFT JOIN (SELECT project_id, count(*) AS volumes, sum(size_gib) AS gib
                                     FROM volume GROUP BY project_id) v
               ON v.project_id = p.id
           WHERE (p.used_volumes, p.used_volume_gib) <> (ifnull(v.volumes, 0), ifnull(v.gib, 0))",
    mend: Some(
        "UPDATE project SET (used_volumes, used_volume_gib) =
             (SELECT count(*), ifnull(sum(size_gib), 0) FROM volume WHERE project_id = project.id)",
    ),
};

/// Its guest is gone, so nothing but the fence is left to wait for.
const OPEN_TO_NOBODY: Check = Check {
    find: "SELECT 'volume vol-' || substr(lower(hex(a.volume_id)), 2),
                  'is open to placement p-' || substr(lower(hex(a.placement_id)), 2) || ', which is gone'
           FROM attachment a
           WHERE a.export_state IN ('making', 'open') AND NOT EXISTS
               (SELECT 1 FROM placement p WHERE p.id = a.placement_id AND p.gone_at IS NULL)",
    mend: None,
};

/// The index that forbids it may be damaged, so the rows are asked.
const WRITTEN_BY_TWO: Check = Check {
    find: "SELECT 'volume vol-' || substr(lower(hex(a.volume_id)), 2),
                  'has ' || count(*) || ' attachments, and ' || sum(NOT a.read_only) || ' of them may write'
           FROM attachment a NOT INDEXED
           GROUP BY a.volume_id HAVING count(*) > 1 AND sum(NOT a.read_only) > 0",
    mend: None,
};

/// Its hosts would be told of it in a pool where its bytes are not.
const MOVED_ASTRAY: Check = Check {
    find: "SELECT 'volume vol-' || substr(lower(hex(m.volume_id)), 2),
                  'is ' || m.stage || ' by a move, and in another pool than that says'
           FROM volume_move m JOIN volume v ON v.id = m.volume_id
           WHERE v.pool_id <> iif(m.stage = 'arriving', m.to_pool, m.from_pool)",
    mend: None,
};

const HELD_ADDRESSES: Check = Check {
    find: "SELECT 'interface eni-' || substr(lower(hex(f.id)), 2),
                  'holds its addresses, and its instance is terminated and nowhere'
           FROM interface f JOIN instance i ON i.n = f.instance_n
           WHERE i.state = 'terminated' AND NOT EXISTS
               (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL)",
    mend: Some(
        "DELETE FROM interface WHERE instance_n IN
             (SELECT i.n FROM instance i WHERE i.state = 'terminated' AND NOT EXISTS
                 (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL))",
    ),
};

const STRAY_INTERFACES: Check = Check {
    find: "SELECT 'interface eni-' || substr(lower(hex(f.id)), 2), 'is in another network than its instance'
           FROM interface f JOIN instance i ON i.n = f.instance_n
           WHERE f.vpc_id <> i.vpc_id OR f.subnet_id <> i.subnet_id OR f.project_id <> i.project_id",
    mend: None,
};

/// The index that forbids it may be damaged, so the rows are asked.
const PLACED_TWICE: Check = Check {
    find: "SELECT 'instance i-' || substr(lower(hex(i.id)), 2), 'has more than one live placement'
           FROM placement p NOT INDEXED JOIN instance i ON i.n = p.instance_n
           WHERE p.gone_at IS NULL GROUP BY p.instance_n HAVING count(*) > 1",
    mend: None,
};

const NOWHERE: Check = Check {
    find:
        "SELECT 'instance i-' || substr(lower(hex(i.id)), 2), 'is ' || i.state || ' and has no live placement'
           FROM instance i
           WHERE i.state <> 'terminated' AND NOT (i.volume_root AND i.state IN ('stopping', 'stopped'))
             AND NOT EXISTS (SELECT 1 FROM placement p WHERE p.instance_n = i.n AND p.gone_at IS NULL)",
    mend: None,
};

/// It would start there, and its next start elsewhere.
const STOPPED_AND_PLACED: Check = Check {
    find: "SELECT 'placement p-' || substr(lower(hex(p.id)), 2),
                  'is live, and its instance, which boots from a volume, is stopped'
           FROM placement p JOIN instance i ON i.n = p.instance_n
           WHERE p.gone_at IS NULL AND i.state = 'stopped' AND i.volume_root",
    mend: None,
};

const BARE: Check = Check {
    find: "SELECT 'instance i-' || substr(lower(hex(i.id)), 2),
                  'is ' || i.state || ' and has no ' || iif(f.id IS NULL, 'interface', 'root disk')
           FROM instance i LEFT JOIN interface f ON f.instance_n = i.n
                LEFT JOIN root_volume v ON v.instance_n = i.n
                LEFT JOIN attachment a ON a.instance_n = i.n AND a.is_root
           WHERE i.state <> 'terminated'
             AND (f.id IS NULL OR iif(i.volume_root, a.id IS NULL, v.id IS NULL))",
    mend: None,
};

const ON_GIVEN_UP_NODES: Check = Check {
    find: "SELECT 'placement p-' || substr(lower(hex(p.id)), 2), 'is live on the node ' || n.name || ', which was given up'
           FROM placement p JOIN node n ON n.id = p.node_id
           WHERE p.gone_at IS NULL AND n.state = 'expunged'",
    mend: None,
};

const TERMINATED_AND_THERE: Check = Check {
    find: "SELECT 'placement p-' || substr(lower(hex(p.id)), 2), 'is live, and its instance is terminated'
           FROM placement p JOIN instance i ON i.n = p.instance_n
           WHERE p.gone_at IS NULL AND i.state = 'terminated'",
    mend: None,
};

const ORPHANS: Check = Check {
    find: "SELECT 'table ' || \"table\", 'has rows whose ' || parent || ' does not exist'
           FROM pragma_foreign_key_check GROUP BY \"table\", parent",
    mend: None,
};

/// In this order: each change of a placement changes its node's sums, which must be right before it.
const CHECKS: &[Check] = &[
    NODE_SUMS,
    TAKES,
    DISKS,
    PROJECT_SUMS,
    VOLUME_SUMS,
    HELD_ADDRESSES,
    STRAY_INTERFACES,
    PLACED_TWICE,
    NOWHERE,
    STOPPED_AND_PLACED,
    BARE,
    ON_GIVEN_UP_NODES,
    TERMINATED_AND_THERE,
    OPEN_TO_NOBODY,
    WRITTEN_BY_TWO,
    MOVED_ASTRAY,
    ORPHANS,
];

#[async_trait]
impl BooksDb for SqliteDb {
    async fn discrepancies(&self) -> Result<Vec<Discrepancy>, DbError> {
        self.read(|connection| {
            let found = CHECKS.iter().map(|check| check.run(connection));
            Ok(found.collect::<rusqlite::Result<Vec<_>>>()?.concat())
        })
        .await
    }

    async fn mend(&self) -> Result<Vec<Discrepancy>, DbError> {
        self.write(|connection| {
            let mut mended = Vec::new();
            for check in CHECKS {
                let Some(mend) = check.mend else { continue };
                let found = check.run(connection)?;
                if !found.is_empty() {
                    connection.execute(mend, [])?;
                    mended.extend(found);
                }
            }
            Ok(mended)
        })
        .await
    }
}

impl Check {
    fn run(&self, connection: &Connection) -> rusqlite::Result<Vec<Discrepancy>> {
        let mendable = self.mend.is_some();
        all(connection, self.find, [], |columns| {
            Ok(Discrepancy { object: columns.plain()?, what: columns.plain()?, mendable })
        })
    }
}
