//! Removed volumes and snapshots, whose files their hosts keep until they are told to unlink them.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::Quarantined;
use tepui_db::{DbError, QuarantineDb};
use tepui_types::agent::StoredId;
use tepui_types::{NodeId, PoolId, ProjectId};

use crate::SqliteDb;
use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::value::S;

/// The SELECT list, with `quarantine` as q and its pool as p, that [`read`] reads.
const QUARANTINED: &str = "q.id, q.pool_id, p.node_id, q.project_id, q.removed_at, q.ordered";

#[async_trait]
impl QuarantineDb for SqliteDb {
    async fn quarantined(&self) -> Result<Vec<Quarantined>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {QUARANTINED} FROM quarantine q JOIN pool p ON p.id = q.pool_id ORDER BY q.id"
            );
            all(connection, &sql, [], read)
        })
        .await
    }

    async fn order_unlinks(&self, ids: &[StoredId]) -> Result<Vec<NodeId>, DbError> {
        let ids = ids.to_vec();
        self.write(move |connection| Ok(order(connection, &ids)?)).await
    }

    async fn forget_quarantined(&self, ids: &[StoredId]) -> Result<Vec<NodeId>, DbError> {
        let ids = ids.to_vec();
        self.write(move |connection| Ok(forget(connection, &ids)?)).await
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
        "SELECT {QUARANTINED} FROM quarantine q JOIN pool p ON p.id = q.pool_id WHERE p.node_id = ?1 ORDER BY q.id"
    );
    all(connection, &sql, params![S(node)], read)
}

/// Its host has removed it. One that its pool has in quarantine already keeps its time.
pub(crate) fn add(
    connection: &Connection,
    (pool, id): (PoolId, StoredId),
    project: Option<ProjectId>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO quarantine (id, pool_id, project_id, removed_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    execute(connection, sql, params![S(id), S(pool), project.map(S), S(now)])?;
    Ok(())
}

/// A host found it in the trash of a pool of its own. The grace of what no row told of begins then.
pub(crate) fn found(
    connection: &Connection,
    node: NodeId,
    (pool, id): (PoolId, StoredId),
    now: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "SELECT 1 FROM pool WHERE id = ?1 AND node_id = ?2";
    let is_own = first(connection, sql, params![S(pool), S(node)], |c| c.plain::<i64>())?.is_some();
    if is_own && !is_referred_to(connection, id)? {
        add(connection, (pool, id), None, now)?;
    }
    Ok(())
}

/// A volume or snapshot of the books stands for the file: that of a restored backup, which knows again what was removed
/// after it was made.
fn is_referred_to(connection: &Connection, id: StoredId) -> rusqlite::Result<bool> {
    let one = |c: &Columns<'_>| c.plain::<i64>();
    let found = match id {
        StoredId::Volume(id) => first(connection, "SELECT 1 FROM volume WHERE id = ?1", params![S(id)], one)?,
        StoredId::Snapshot(id) => {
            first(connection, "SELECT 1 FROM snapshot WHERE id = ?1", params![S(id)], one)?
        }
    };
    Ok(found.is_some())
}

fn order(connection: &Connection, ids: &[StoredId]) -> rusqlite::Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for id in ids {
        if is_referred_to(connection, *id)? {
            continue;
        }
        let sql = "UPDATE quarantine SET ordered = 1 WHERE id = ?1 AND NOT ordered
                   RETURNING (SELECT p.node_id FROM pool p WHERE p.id = quarantine.pool_id)";
        nodes.extend(all(connection, sql, params![S(*id)], |c| c.stored::<NodeId>())?);
    }
    tell(connection, nodes)
}

fn forget(connection: &Connection, ids: &[StoredId]) -> rusqlite::Result<Vec<NodeId>> {
    let mut nodes = Vec::new();
    for id in ids {
        let sql = "DELETE FROM quarantine WHERE id = ?1
                   RETURNING ordered, (SELECT p.node_id FROM pool p WHERE p.id = quarantine.pool_id)";
        let gone =
            all(connection, sql, params![S(*id)], |c| Ok((c.plain::<bool>()?, c.stored::<NodeId>()?)))?;
        nodes.extend(gone.into_iter().filter(|(ordered, _)| *ordered).map(|(_, node)| node));
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
