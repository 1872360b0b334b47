//! Nodes: enrolment, certificates, state, load.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{JoinToken, Node, NodeLoad, NodeState};
use tepui_db::{Certificate, DbError, EnrolOutcome, NewNode, NodeChanges, NodeDb};
use tepui_types::agent::NodeCapacity;
use tepui_types::{NodeId, ProjectId, UserId};
use uuid::Uuid;

use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, attachment};

#[async_trait]
impl NodeDb for SqliteDb {
    async fn create_join_token(&self, token: &JoinToken) -> Result<(), DbError> {
        let token = token.clone();
        self.write(move |connection| {
            let sql = "INSERT INTO join_token (secret_sha256, expires_at, project_id, user_id)
                       VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
            let values =
                params![token.secret_sha256, S(token.expires_at), S(token.project_id), S(token.user_id)];
            execute(connection, sql, values)?;
            Ok(())
        })
        .await
    }

    async fn join_token_maker(
        &self,
        secret_sha256: &[u8; 32],
    ) -> Result<Option<(ProjectId, UserId)>, DbError> {
        let secret = *secret_sha256;
        self.read(move |connection| {
            let sql = "SELECT project_id, user_id FROM join_token WHERE secret_sha256 = ?1";
            first(connection, sql, params![secret], |c| Ok((c.stored()?, c.stored()?)))
        })
        .await
    }

    async fn enrol_node(
        &self,
        secret_sha256: &[u8; 32],
        node: &NewNode,
        now: Timestamp,
    ) -> Result<EnrolOutcome, DbError> {
        let (secret, node) = (*secret_sha256, node.clone());
        self.write(move |connection| enrol(connection, &secret, &node, now)).await
    }

    async fn put_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<(), DbError> {
        let sha256 = *sha256;
        self.write(move |connection| {
            let sql = "UPDATE node SET pending_certificate_sha256 = ?2 WHERE id = ?1";
            execute(connection, sql, params![S(node), sha256])?;
            Ok(())
        })
        .await
    }

    async fn certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<Certificate, DbError> {
        let known = self.read(move |connection| certificates(connection, node)).await?;
        let (current, pending) = known.unwrap_or_default();
        Ok(match Some(*sha256) {
            asked if asked == current => Certificate::Current,
            asked if asked == pending => Certificate::Pending,
            _ => Certificate::Foreign,
        })
    }

    async fn promote_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<bool, DbError> {
        let sha256 = *sha256;
        self.write(move |connection| promote_certificate(connection, node, &sha256)).await
    }

    async fn nodes(&self) -> Result<Vec<NodeLoad>, DbError> {
        self.read(loads).await
    }

    async fn node_changes(&self, since: u64) -> Result<NodeChanges, DbError> {
        Ok(self.loads.since(since))
    }

    async fn update_node(
        &self,
        node: NodeId,
        capacity: NodeCapacity,
        agent_version: &str,
        impaired: Option<&str>,
    ) -> Result<(), DbError> {
        let report = (capacity, agent_version.to_owned(), impaired.map(str::to_owned));
        // Every host says this to a control plane that has just begun; none of them waits for a reader.
        if self.loads.of(node).is_none_or(|load| reported(&load.node) == report) {
            return Ok(());
        }
        self.write(move |connection| Ok(store_report(connection, node, &report)?)).await
    }

    async fn set_node_state(&self, node: NodeId, state: NodeState, now: Timestamp) -> Result<bool, DbError> {
        self.write(move |connection| {
            let sql = "UPDATE node SET state = ?2, state_since = ?3
                       WHERE id = ?1 AND state NOT IN (?2, 'expunged')";
            Ok(execute(connection, sql, params![S(node), S(state), S(now)])? > 0)
        })
        .await
    }

    async fn set_schedulable(&self, node: NodeId, schedulable: bool) -> Result<bool, DbError> {
        self.write(move |connection| {
            let sql = "UPDATE node SET schedulable = ?2 WHERE id = ?1 AND state <> 'expunged'";
            Ok(execute(connection, sql, params![S(node), schedulable])? > 0)
        })
        .await
    }
}

/// Whether nobody will ever hear of this node again.
pub(crate) fn is_expunged(connection: &Connection, id: NodeId) -> rusqlite::Result<bool> {
    let sql = "SELECT state FROM node WHERE id = ?1";
    Ok(first(connection, sql, params![S(id)], |c| c.stored())? == Some(NodeState::Expunged))
}

/// The SELECT list that [`read_load`] reads.
const LOAD: &str =
    "id, machine_uuid, name, state, schedulable, underlay_address, vcpus, memory_mib, disk_gib,
    impaired, agent_version, certificate_sha256, state_since, created_at, used_vcpus, used_memory_mib,
    used_disk_gib";

/// All nodes with what is taken on them, by id.
pub(crate) fn loads(connection: &Connection) -> rusqlite::Result<Vec<NodeLoad>> {
    all(connection, &format!("SELECT {LOAD} FROM node ORDER BY id"), [], read_load)
}

/// One node with what is taken on it.
pub(crate) fn load(connection: &Connection, id: NodeId) -> rusqlite::Result<Option<NodeLoad>> {
    first(connection, &format!("SELECT {LOAD} FROM node WHERE id = ?1"), params![S(id)], read_load)
}

fn read_load(c: &Columns<'_>) -> rusqlite::Result<NodeLoad> {
    let node = Node {
        id: c.stored()?,
        machine_uuid: c.stored()?,
        name: c.plain()?,
        state: c.stored()?,
        schedulable: c.plain()?,
        underlay_address: c.stored()?,
        capacity: read_capacity(c)?,
        impaired: c.plain()?,
        agent_version: c.plain()?,
        certificate_sha256: c.plain::<Option<[u8; 32]>>()?.unwrap_or_default(),
        state_since: c.stored()?,
        created_at: c.stored()?,
    };
    Ok(NodeLoad { node, used_vcpus: c.plain()?, used_memory_mib: c.stored()?, used_disk_gib: c.stored()? })
}

fn read_capacity(c: &Columns<'_>) -> rusqlite::Result<NodeCapacity> {
    Ok(NodeCapacity { vcpus: c.plain()?, memory_mib: c.stored()?, disk_gib: c.stored()? })
}

fn enrol(connection: &Connection, secret: &[u8; 32], node: &NewNode, now: Timestamp) -> Verb<EnrolOutcome> {
    let sql = "SELECT expires_at, used_by FROM join_token WHERE secret_sha256 = ?1";
    let token =
        first(connection, sql, params![secret], |c| Ok((c.stored::<Timestamp>()?, c.optional::<Uuid>()?)))?;
    let Some((expires_at, used_by)) = token else { return Ok(EnrolOutcome::UnknownToken) };
    if used_by.is_some_and(|machine| machine != node.machine_uuid) {
        return Ok(EnrolOutcome::UsedByOther);
    }
    if expires_at <= now {
        return Ok(EnrolOutcome::Expired(expires_at));
    }
    let sql = "SELECT id, underlay_address FROM node WHERE machine_uuid = ?1 AND state <> 'expunged'";
    let known: Option<(NodeId, Ipv4Addr)> =
        first(connection, sql, params![S(node.machine_uuid)], |c| Ok((c.stored()?, c.stored()?)))?;
    if let Some((node, address)) =
        known.filter(|(_, address)| *address != node.underlay_address && !node.may_move)
    {
        return Ok(EnrolOutcome::Elsewhere { node, address });
    }
    let sql = "UPDATE join_token SET used_by = ?2 WHERE secret_sha256 = ?1";
    execute(connection, sql, params![secret, S(node.machine_uuid)])?;
    match known {
        Some((id, _)) => {
            move_underlay(connection, id, node)?;
            Ok(EnrolOutcome::Enrolled(id))
        }
        None => {
            insert(connection, node, now)?;
            Ok(EnrolOutcome::Enrolled(node.id))
        }
    }
}

fn insert(connection: &Connection, node: &NewNode, now: Timestamp) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO node (id, machine_uuid, name, state, schedulable, underlay_address, vcpus,
                                 memory_mib, disk_gib, agent_version, state_since, created_at)
               VALUES (?1, ?2, ?3, 'up', 1, ?4, ?5, ?6, ?7, '', ?8, ?8)";
    let values = params![
        S(node.id),
        S(node.machine_uuid),
        node.name,
        S(node.underlay_address),
        node.capacity.vcpus,
        S(node.capacity.memory_mib),
        S(node.capacity.disk_gib),
        S(now),
    ];
    execute(connection, sql, values)
}

/// A host that enrols again may have another name, size or address; the address is in the part of
/// every VPC it carries, and of every node whose volumes it uses.
fn move_underlay(connection: &Connection, id: NodeId, node: &NewNode) -> rusqlite::Result<()> {
    let sql = "UPDATE node SET name = ?2, underlay_address = ?3, vcpus = ?4, memory_mib = ?5, disk_gib = ?6
               WHERE id = ?1";
    let values = params![
        S(id),
        node.name,
        S(node.underlay_address),
        node.capacity.vcpus,
        S(node.capacity.memory_mib),
        S(node.capacity.disk_gib),
    ];
    execute(connection, sql, values)?;
    let mut touched = Touched::default();
    for vpc in vpcs_of_node(connection, id)? {
        touched.vpc(vpc);
    }
    for storage in attachment::storage_hosts(connection, id)? {
        touched.storage(storage);
    }
    touched.grow(connection)
}

/// The VPCs in which a node has a placement that is not gone, by id.
pub(crate) fn vpcs_of_node(
    connection: &Connection,
    node: NodeId,
) -> rusqlite::Result<Vec<tepui_types::VpcId>> {
    let sql = "SELECT DISTINCT i.vpc_id FROM placement p JOIN instance i ON i.n = p.instance_n
               WHERE p.node_id = ?1 AND p.gone_at IS NULL ORDER BY i.vpc_id";
    all(connection, sql, params![S(node)], |c| c.stored())
}

type Certificates = (Option<[u8; 32]>, Option<[u8; 32]>);

fn certificates(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<Certificates>> {
    let sql = "SELECT certificate_sha256, pending_certificate_sha256 FROM node
               WHERE id = ?1 AND state <> 'expunged'";
    first(connection, sql, params![S(node)], |c| Ok((c.plain()?, c.plain()?)))
}

fn promote_certificate(connection: &Connection, node: NodeId, sha256: &[u8; 32]) -> Verb<bool> {
    let sql = "UPDATE node SET certificate_sha256 = ?2, pending_certificate_sha256 = NULL
               WHERE id = ?1 AND pending_certificate_sha256 = ?2 AND state <> 'expunged'";
    execute(connection, sql, params![S(node), sha256])?;
    // Another request may have promoted it between the look and this.
    let current = certificates(connection, node)?.and_then(|(current, _)| current);
    Ok(current.as_ref() == Some(sha256))
}

type Reported = (NodeCapacity, String, Option<String>);

fn reported(node: &Node) -> Reported {
    (node.capacity, node.agent_version.clone(), node.impaired.clone())
}

fn store_report(connection: &Connection, node: NodeId, report: &Reported) -> rusqlite::Result<()> {
    let sql = "UPDATE node SET vcpus = ?2, memory_mib = ?3, disk_gib = ?4, agent_version = ?5, impaired = ?6
               WHERE id = ?1";
    let (capacity, agent_version, impaired) = report;
    let values = params![
        S(node),
        capacity.vcpus,
        S(capacity.memory_mib),
        S(capacity.disk_gib),
        agent_version,
        impaired,
    ];
    execute(connection, sql, values)?;
    Ok(())
}
