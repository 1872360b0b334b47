//! Removed volumes and snapshots, whose files their hosts keep until they are told to unlink them.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::Quarantined;
use tepui_db::{DbError, QuarantineDb};
use tepui_types::agent::StoredId;
use tepui_types::{NodeId, PoolId, ProjectId, VolumeId};

use crate::SqliteDb;
use crate::generation::Touched;
use crate::row::{Columns, all, execute, exists, first};
use crate::value::S;

/// The SELECT list, with `quarantine` as q and its pool as p, that [`read`] reads.
const QUARANTINED: &str = "q.id, q.pool_id, p.node_id, q.project_id, q.removed_at, q.ordered";

#[async_trait]
impl QuarantineDb for SqliteDb {
    async fn quarantined(&self) -> Result<Vec<Quarantined>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {QUARANTINED} FROM quarantine q JOIN pool p ON p.id = q.pool_id ORDER BY q.id, q.pool_id"
            );
            all(connection, &sql, [], read)
        })
        .await
    }

    async fn order_unlinks(&self, files: &[(PoolId, StoredId)]) -> Result<Vec<NodeId>, DbError> {
        let files = files.to_vec();
        self.write(move |connection| Ok(order(connection, &files)?)).await
    }

    async fn forget_quarantined(&self, files: &[(PoolId, StoredId)]) -> Result<Vec<NodeId>, DbError> {
        let files = files.to_vec();
        self.write(move |connection| Ok(forget(connection, &files)?)).await
    }
}

fn read(c: &Columns<'_>) -> rusqlite::Result<Quarantined> {
    Ok(Quarantined {
        id: c.stored()?,
        pool_id: c.stored()?,
        node_id: c.stored()?,
        project_id: c.optional()?,
        removed_at: c.stored()?,
        ordered: c.plain()?,
    })
}

/// What lies in the trash of a node's pools.
pub(crate) fn of_node(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<Quarantined>> {
    let sql = format!(
        "SELECT {QUARANTINED} FROM quarantine q JOIN pool p ON p.id = q.pool_id WHERE p.node_id = ?1
         ORDER BY q.id, q.pool_id"
    );
    all(connection, &sql, params![S(node)], read)
}

/// Its host has removed it, after an earlier file of it perhaps, which shares its grace.
pub(crate) fn add(
    connection: &Connection,
    (pool, id): (PoolId, StoredId),
    project: Option<ProjectId>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO quarantine (id, pool_id, project_id, removed_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET removed_at = excluded.removed_at";
    execute(connection, sql, params![S(id), S(pool), project.map(S), S(now)])?;
    Ok(())
}

/// A volume that has been in its pool before is about to be removed from there again: no order for the earlier file may
/// reach this one. The caller grows the host's storage part.
pub(crate) fn keep(connection: &Connection, id: VolumeId) -> rusqlite::Result<()> {
    let sql = "UPDATE quarantine SET ordered = 0
               WHERE id = ?1 AND pool_id = (SELECT pool_id FROM volume WHERE id = ?2)";
    execute(connection, sql, params![S(StoredId::Volume(id)), S(id)])?;
    Ok(())
}

/// A host found it in the trash of a pool of its own. The grace of what no row told of begins then; what its pool has in
/// quarantine already keeps its time.
pub(crate) fn found(
    connection: &Connection,
    node: NodeId,
    (pool, id): (PoolId, StoredId),
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM pool WHERE id = ?1 AND node_id = ?2";
    if exists(connection, sql, params![S(pool), S(node)])? && !is_referred_to(connection, (pool, id))? {
        let sql =
            "INSERT INTO quarantine (id, pool_id, removed_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        execute(connection, sql, params![S(id), S(pool), S(now)])?;
    }
    Ok(())
}

/// A volume or snapshot of the books stands for the file: that of a restored backup, which knows again what was removed
/// after it was made. One that is in another pool by now does not.
fn is_referred_to(connection: &Connection, (pool, id): (PoolId, StoredId)) -> rusqlite::Result<bool> {
    match id {
        StoredId::Volume(id) => {
            let sql = "SELECT 1 FROM volume WHERE id = ?1 AND pool_id = ?2";
            exists(connection, sql, params![S(id), S(pool)])
        }
        StoredId::Snapshot(id) => {
            let sql = "SELECT 1 FROM snapshot WHERE id = ?1 AND pool_id = ?2";
            exists(connection, sql, params![S(id), S(pool)])
        }
    }
}

fn order(connection: &Connection, files: &[(PoolId, StoredId)]) -> rusqlite::Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for file in files {
        if !is_referred_to(connection, *file)? && order_one(connection, *file)? {
            nodes.extend(host(connection, file.0)?);
        }
    }
    tell(connection, nodes)
}

/// Ends the grace of a file, whatever stands for it; whether that is news. The caller grows the host's storage part.
pub(crate) fn order_one(connection: &Connection, (pool, id): (PoolId, StoredId)) -> rusqlite::Result<bool> {
    let sql = "UPDATE quarantine SET ordered = 1 WHERE id = ?1 AND pool_id = ?2 AND NOT ordered";
    Ok(execute(connection, sql, params![S(id), S(pool)])? > 0)
}

fn host(connection: &Connection, pool: PoolId) -> rusqlite::Result<Option<NodeId>> {
    first(connection, "SELECT node_id FROM pool WHERE id = ?1", params![S(pool)], |c| c.stored())
}

fn forget(connection: &Connection, files: &[(PoolId, StoredId)]) -> rusqlite::Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for (pool, id) in files {
        let sql = "DELETE FROM quarantine WHERE id = ?1 AND pool_id = ?2 RETURNING ordered";
        let was_ordered = all(connection, sql, params![S(*id), S(*pool)], |c| c.plain::<bool>())?;
        if was_ordered.contains(&true) {
            nodes.extend(host(connection, *pool)?);
        }
    }
    tell(connection, nodes)
}

/// The storage parts of these nodes say something else now.
fn tell(connection: &Connection, mut nodes: Vec<NodeId>) -> rusqlite::Result<Vec<NodeId>> {
    nodes.sort_unstable();
    nodes.dedup();
    let mut touched = Touched::default();
    nodes.iter().for_each(|node| touched.storage(*node));
    touched.grow(connection)?;
    Ok(nodes)
}
