//! Pools.

use async_trait::async_trait;
use rusqlite::{Connection, params};
use tepui_db::model::{NodeState, Pool};
use tepui_db::{CreateOutcome, DbError, DeleteOutcome, PoolDb, PoolLoad};
use tepui_types::{NodeId, PoolId};

use crate::SqliteDb;
use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::volume_move;

/// The SELECT list that [`read`] reads.
pub(crate) const POOL: &str =
    "id, name, class, backend, node_id, path, filer, soft_percent, hard_percent, draining, created_at";

#[async_trait]
impl PoolDb for SqliteDb {
    async fn create_pool(&self, pool: &Pool) -> Result<CreateOutcome<PoolId>, DbError> {
        let pool = pool.clone();
        self.write(move |connection| create(connection, &pool)).await
    }

    async fn pools(&self) -> Result<Vec<PoolLoad>, DbError> {
        self.read(|connection| {
            let sql = format!(
                "SELECT {POOL}, (SELECT count(*) FROM volume v WHERE v.pool_id = pool.id),
                        (SELECT ifnull(sum(size_gib), 0) FROM volume v WHERE v.pool_id = pool.id),
                        (SELECT count(*) FROM snapshot s WHERE s.pool_id = pool.id AND NOT s.of_move),
                        moves_out,
                        (SELECT n.state FROM node n WHERE n.id = pool.node_id)
                 FROM pool ORDER BY id"
            );
            all(connection, &sql, [], |c| {
                Ok(PoolLoad {
                    pool: read(c)?,
                    volumes: c.stored()?,
                    provisioned_gib: c.stored()?,
                    snapshots: c.stored()?,
                    moves_out: c.plain()?,
                    node_state: c.stored()?,
                })
            })
        })
        .await
    }

    async fn set_pool_draining(&self, id: PoolId, draining: bool) -> Result<Option<NodeId>, DbError> {
        self.write(move |connection| {
            let sql = "UPDATE pool SET draining = ?2, moves_out = 0 WHERE id = ?1 RETURNING node_id";
            let host = all(connection, sql, params![S(id), draining], |c| c.stored())?.pop();
            let mut touched = Touched::default();
            volume_move::call_off_drain(connection, id, &mut touched)?;
            touched.grow(connection)?;
            Ok(host)
        })
        .await
    }

    async fn delete_pool(&self, id: PoolId) -> Result<DeleteOutcome, DbError> {
        self.write(move |connection| delete(connection, id)).await
    }
}

/// Reads a pool's row.
pub(crate) fn read(c: &Columns<'_>) -> rusqlite::Result<Pool> {
    Ok(Pool {
        id: c.stored()?,
        name: c.plain()?,
        class: c.plain()?,
        backend: c.stored()?,
        node_id: c.stored()?,
        path: c.plain()?,
        filer: c.optional()?,
        soft_percent: c.plain()?,
        hard_percent: c.plain()?,
        draining: c.plain()?,
        created_at: c.stored()?,
    })
}

fn create(connection: &Connection, pool: &Pool) -> Verb<CreateOutcome<PoolId>> {
    let sql = "SELECT id FROM pool WHERE name = ?1 OR (node_id = ?2 AND path = ?3)";
    let taken = first(connection, sql, params![pool.name, S(pool.node_id), pool.path], |c| c.stored())?;
    if let Some(taken) = taken {
        return Ok(CreateOutcome::NameTaken(taken));
    }
    let sql = "SELECT state FROM node WHERE id = ?1";
    match first(connection, sql, params![S(pool.node_id)], |c| c.stored())? {
        None | Some(NodeState::Expunged) => return Ok(CreateOutcome::ParentMissing),
        Some(NodeState::Up | NodeState::Unreachable) => {}
    }
    let sql = "INSERT INTO storage_host (node_id) VALUES (?1)
               ON CONFLICT DO UPDATE SET generation = generation + 1";
    execute(connection, sql, params![S(pool.node_id)])?;
    let sql = format!("INSERT INTO pool ({POOL}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)");
    let values = params![
        S(pool.id),
        pool.name,
        pool.class,
        S(pool.backend),
        S(pool.node_id),
        pool.path,
        pool.filer.clone().map(S),
        pool.soft_percent,
        pool.hard_percent,
        pool.draining,
        S(pool.created_at),
    ];
    execute(connection, &sql, values)?;
    Ok(CreateOutcome::Created)
}

fn delete(connection: &Connection, id: PoolId) -> Verb<DeleteOutcome> {
    const NEEDED_BY: [(&str, &str); 4] = [
        ("SELECT count(*) FROM volume WHERE pool_id = ?1", "volumes"),
        ("SELECT count(*) FROM snapshot WHERE pool_id = ?1", "snapshots"),
        // Its snapshot was another project's and is gone: its host says so soon.
        (
            "SELECT count(*) FROM snapshot WHERE copy_pool_id = ?1 AND state = 'pending'",
            "copies that are being made",
        ),
        (
            "SELECT count(*) FROM volume_move WHERE ?1 IN (from_pool, to_pool) AND stage <> 'failed'",
            "volumes that move",
        ),
    ];
    for (sql, what) in NEEDED_BY {
        let count = first(connection, sql, params![S(id)], |c| c.stored::<u64>())?.unwrap_or(0);
        if count > 0 {
            return Ok(DeleteOutcome::InUse(format!("{count} {what}")));
        }
    }
    // It has none of the volumes that have failed to come: nothing but the word of that goes.
    execute(connection, "DELETE FROM volume_move WHERE to_pool = ?1 AND stage = 'failed'", params![S(id)])?;
    // What is in its folder stays there, and is its operator's.
    execute(connection, "DELETE FROM quarantine WHERE pool_id = ?1", params![S(id)])?;
    let sql = "DELETE FROM pool WHERE id = ?1 RETURNING node_id";
    let Some(node) = all(connection, sql, params![S(id)], |c| c.stored())?.pop() else {
        return Ok(DeleteOutcome::NotFound);
    };
    let mut touched = Touched::default();
    touched.storage(node);
    touched.grow(connection)?;
    Ok(DeleteOutcome::Deleted)
}
