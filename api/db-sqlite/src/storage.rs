//! What storage hosts are to hold and serve, and what becomes of it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{
    Attachment, AttachmentState, ExportState, InstanceState, SnapshotState, VolumeEvent, VolumeState,
};
use tepui_db::{DbError, StorageDb, StorageNews, StoragePartState};
use tepui_types::agent::{IoLimits, StoredId, VolumeSource};
use tepui_types::{ExportId, Generation, NodeId, PoolId, ProjectId, SnapshotId, VolumeId};

use crate::SqliteDb;
use crate::attachment::{self, ATTACHMENT};
use crate::freeze;
use crate::generation::Touched;
use crate::modification;
use crate::placement;
use crate::pool::{self, POOL};
use crate::quarantine;
use crate::row::{all, execute, first};
use crate::snapshot::{self, SNAPSHOT};
use crate::snapshot_test;
use crate::value::S;
use crate::volume::{self, VOLUME};
use crate::volume_move;

#[async_trait]
impl StorageDb for SqliteDb {
    async fn storage_generation(&self, node: NodeId) -> Result<Option<Generation>, DbError> {
        self.read(move |connection| generation(connection, node)).await
    }

    async fn storage_part(&self, node: NodeId) -> Result<Option<StoragePartState>, DbError> {
        self.read(move |connection| part(connection, node)).await
    }

    async fn exports_of(&self, node: NodeId) -> Result<Vec<(ExportId, PoolId, Timestamp)>, DbError> {
        self.read(move |connection| {
            let sql = "SELECT a.export_id, v.pool_id, a.since FROM placement l
                       JOIN attachment a ON a.placement_id = l.id
                       JOIN volume v ON v.id = a.volume_id
                       WHERE l.node_id = ?1 AND l.gone_at IS NULL ORDER BY a.export_id";
            all(connection, sql, params![S(node)], |c| Ok((c.stored()?, c.stored()?, c.stored()?)))
        })
        .await
    }

    async fn hosts_of_volumes(&self, volumes: &[VolumeId]) -> Result<Vec<NodeId>, DbError> {
        let volumes = volumes.to_vec();
        self.read(move |connection| attachment::hosts_of(connection, &volumes)).await
    }

    async fn apply_storage_news(
        &self,
        node: NodeId,
        news: &[StorageNews],
        now: Timestamp,
    ) -> Result<Vec<NodeId>, DbError> {
        let news = news.to_vec();
        self.write(move |connection| Ok(News::of(connection, node, now).apply(&news)?)).await
    }
}

/// The generation of a node's storage part, if it has one.
pub(crate) fn generation(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<Generation>> {
    let sql = "SELECT generation FROM storage_host WHERE node_id = ?1";
    first(connection, sql, params![S(node)], |c| c.stored())
}

fn part(connection: &Connection, node: NodeId) -> rusqlite::Result<Option<StoragePartState>> {
    let Some(generation) = generation(connection, node)? else { return Ok(None) };
    let sql = format!("SELECT {POOL} FROM pool WHERE node_id = ?1 ORDER BY id");
    let pools = all(connection, &sql, params![S(node)], pool::read)?;
    let sql = format!(
        "SELECT {VOLUME} FROM volume v JOIN pool p ON p.id = v.pool_id WHERE p.node_id = ?1 ORDER BY v.id"
    );
    let volumes = all(connection, &sql, params![S(node)], volume::read)?;
    let sql = format!(
        "SELECT {SNAPSHOT} FROM snapshot WHERE pool_id IN (SELECT id FROM pool WHERE node_id = ?1) ORDER BY id"
    );
    let snapshots = all(connection, &sql, params![S(node)], snapshot::read)?;
    let sql = format!(
        "SELECT {ATTACHMENT}, n.underlay_address FROM {from}
         JOIN volume v ON v.id = a.volume_id
         JOIN pool p ON p.id = v.pool_id
         JOIN placement l ON l.id = a.placement_id
         JOIN node n ON n.id = l.node_id
         WHERE p.node_id = ?1 AND a.export_state <> 'closed' ORDER BY a.export_id",
        from = attachment::FROM
    );
    let attachments = all(connection, &sql, params![S(node)], |c| Ok((attachment::read(c)?, c.stored()?)))?;
    let quarantine = quarantine::of_node(connection, node)?;
    let tests = snapshot_test::of_node(connection, node)?;
    let moves = volume_move::of_node(connection, node)?;
    Ok(Some(StoragePartState {
        generation,
        pools,
        volumes,
        snapshots,
        attachments,
        quarantine,
        tests,
        moves,
    }))
}

/// What one node says, while it is applied.
struct News<'a> {
    connection: &'a Connection,
    node: NodeId,
    now: Timestamp,
    touched: Touched,
    wake: BTreeSet<NodeId>,
}

/// An attachment, with the nodes that have its volume and its placement.
struct Known {
    attachment: Attachment,
    storage: NodeId,
    compute: Option<NodeId>,
    instance: InstanceState,
}

impl<'a> News<'a> {
    fn of(connection: &'a Connection, node: NodeId, now: Timestamp) -> Self {
        Self { connection, node, now, touched: Touched::default(), wake: BTreeSet::new() }
    }

    fn apply(mut self, news: &[StorageNews]) -> rusqlite::Result<Vec<NodeId>> {
        for one in news {
            match one {
                StorageNews::VolumePresent(id, gib) => self.volume_present(*id, *gib)?,
                StorageNews::VolumeFailed(id, message) => self.volume_failed(*id, message)?,
                StorageNews::VolumeGone(id) => self.volume_gone(*id)?,
                StorageNews::SnapshotPresent(id, gib) => self.snapshot_present(*id, *gib)?,
                StorageNews::SnapshotFailed(id, why) => self.snapshot_failed(*id, why)?,
                StorageNews::SnapshotGone(id) => self.snapshot_gone(*id)?,
                StorageNews::SnapshotTested(id, outcome) => {
                    let test = (self.node, *id);
                    snapshot_test::tested(self.connection, test, outcome, self.now, &mut self.touched)?;
                }
                StorageNews::InTrash(pool, id) => {
                    quarantine::found(self.connection, self.node, (*pool, *id), self.now)?;
                }
                StorageNews::ExportOpen(id, source) => self.export_open(*id, source)?,
                StorageNews::ExportGone(id) => self.export_gone(*id)?,
                StorageNews::DiskAttached(id) => self.disk_attached(*id)?,
                StorageNews::DiskFitted(id, gib, limits) => self.disk_fitted(*id, *gib, *limits)?,
                StorageNews::DiskAbsent(id) => self.disk_absent(*id)?,
                StorageNews::Failed(id, message) => self.failed(*id, message)?,
            }
        }
        volume_move::advance(self.connection, self.now, &mut self.touched, &mut self.wake)?;
        self.touched.grow(self.connection)?;
        Ok(self.wake.into_iter().collect())
    }

    /// The state of a volume in one of the node's own pools.
    fn own_volume(&self, id: VolumeId) -> rusqlite::Result<Option<(VolumeState, u32, ProjectId)>> {
        let sql = "SELECT v.state, v.actual_gib, v.project_id FROM volume v JOIN pool p ON p.id = v.pool_id
                   WHERE v.id = ?1 AND p.node_id = ?2";
        first(self.connection, sql, params![S(id), S(self.node)], |c| {
            Ok((c.stored()?, c.plain()?, c.stored()?))
        })
    }

    fn volume_present(&mut self, id: VolumeId, gib: u32) -> rusqlite::Result<()> {
        let Some((state, actual, _)) = self.own_volume(id)? else { return Ok(()) };
        let next = state.after(VolumeEvent::Made).unwrap_or(state);
        if next != state || actual != gib {
            let sql = "UPDATE volume SET state = ?2, actual_gib = ?3, message = NULL WHERE id = ?1";
            execute(self.connection, sql, params![S(id), S(next), gib])?;
            // What its guests are to see of it.
            attachment::computes_of(self.connection, id)?.into_iter().for_each(|node| self.tell(Some(node)));
            modification::settle(self.connection, id, self.now)?;
        }
        if next != state {
            // It must not be made a second time.
            self.touched.storage(self.node);
        }
        volume_move::present(self.connection, id, self.node, &mut self.touched)
    }

    fn volume_failed(&mut self, id: VolumeId, message: &str) -> rusqlite::Result<()> {
        let Some((state, ..)) = self.own_volume(id)? else { return Ok(()) };
        if let Some(next) = state.after(VolumeEvent::Failed) {
            let sql = "UPDATE volume SET state = ?2, message = ?3 WHERE id = ?1";
            execute(self.connection, sql, params![S(id), S(next), message])?;
            // What is left of it must go.
            self.touched.storage(self.node);
        }
        Ok(())
    }

    fn volume_gone(&mut self, id: VolumeId) -> rusqlite::Result<()> {
        match self.own_volume(id)? {
            Some((VolumeState::Deleting, _, project)) => {
                let sql = "SELECT pool_id FROM volume WHERE id = ?1";
                self.quarantine(sql, StoredId::Volume(id), project)?;
                volume::remove(self.connection, id, project)?;
                self.touched.storage(self.node);
                Ok(())
            }
            Some((VolumeState::Available, ..)) => {
                volume_move::gone(self.connection, id, self.now, &mut self.touched, &mut self.wake)
            }
            // Gone and not told to go: the doctor's matter, and no reason to forget it.
            Some((VolumeState::Creating | VolumeState::Error, ..)) | None => Ok(()),
        }
    }

    /// Its host keeps its file until it is told to unlink it. The row that `sql` takes the pool from is still there.
    fn quarantine(&self, sql: &str, id: StoredId, project: ProjectId) -> rusqlite::Result<()> {
        let pool = match id {
            StoredId::Volume(id) => first(self.connection, sql, params![S(id)], |c| c.stored())?,
            StoredId::Snapshot(id) => first(self.connection, sql, params![S(id)], |c| c.stored())?,
        };
        match pool {
            Some(pool) => quarantine::add(self.connection, (pool, id), Some(project), self.now),
            None => Ok(()),
        }
    }

    fn own_snapshot(&self, id: SnapshotId) -> rusqlite::Result<Option<(SnapshotState, ProjectId)>> {
        let sql = "SELECT s.state, s.project_id FROM snapshot s JOIN pool p ON p.id = s.pool_id
                   WHERE s.id = ?1 AND p.node_id = ?2";
        first(self.connection, sql, params![S(id), S(self.node)], |c| Ok((c.stored()?, c.stored()?)))
    }

    /// Its volume may have grown between the call and the taking.
    fn snapshot_present(&mut self, id: SnapshotId, gib: u32) -> rusqlite::Result<()> {
        if let Some((SnapshotState::Pending, _)) = self.own_snapshot(id)? {
            let sql = "UPDATE snapshot SET size_gib = max(size_gib, ?2) WHERE id = ?1";
            execute(self.connection, sql, params![S(id), gib])?;
            if freeze::made(self.connection, id, &mut self.touched, &mut self.wake)? {
                return Ok(());
            }
        }
        self.snapshot(id, VolumeEvent::Made, None)
    }

    fn snapshot_failed(&mut self, id: SnapshotId, why: &String) -> rusqlite::Result<()> {
        if let Some((SnapshotState::Pending, _)) = self.own_snapshot(id)?
            && freeze::without(self.connection, id, &mut self.touched, &mut self.wake)?
        {
            return Ok(());
        }
        self.snapshot(id, VolumeEvent::Failed, Some(why))
    }

    fn snapshot(
        &mut self,
        id: SnapshotId,
        event: VolumeEvent,
        message: Option<&String>,
    ) -> rusqlite::Result<()> {
        let next = self.own_snapshot(id)?.and_then(|(state, _)| state.after(event));
        if let Some(next) = next {
            let sql = "UPDATE snapshot SET state = ?2, message = ?3 WHERE id = ?1";
            execute(self.connection, sql, params![S(id), S(next), message])?;
            // What is left of it must go, or it must not be taken a second time.
            self.touched.storage(self.node);
        }
        Ok(())
    }

    fn snapshot_gone(&mut self, id: SnapshotId) -> rusqlite::Result<()> {
        if let Some((SnapshotState::Deleting, project)) = self.own_snapshot(id)? {
            let sql = "SELECT pool_id FROM snapshot WHERE id = ?1";
            self.quarantine(sql, StoredId::Snapshot(id), project)?;
            let sql = "SELECT pool_id FROM snapshot WHERE id = ?1 AND of_move";
            // A move's is nobody's: there is no mistake that a grace could mend.
            if let Some(pool) = first(self.connection, sql, params![S(id)], |c| c.stored())? {
                quarantine::order_one(self.connection, (pool, StoredId::Snapshot(id)))?;
            }
            snapshot::remove(self.connection, id, project)?;
            self.touched.storage(self.node);
        }
        Ok(())
    }

    fn known(&self, export: ExportId) -> rusqlite::Result<Option<Known>> {
        let sql = format!(
            "SELECT {ATTACHMENT}, p.node_id, l.node_id, i.state FROM {from}
             JOIN volume v ON v.id = a.volume_id
             JOIN pool p ON p.id = v.pool_id
             LEFT JOIN placement l ON l.id = a.placement_id AND l.gone_at IS NULL
             WHERE a.export_id = ?1",
            from = attachment::FROM
        );
        first(self.connection, &sql, params![S(export)], |c| {
            Ok(Known {
                attachment: attachment::read(c)?,
                storage: c.stored()?,
                compute: c.optional()?,
                instance: c.stored()?,
            })
        })
    }

    /// An export of a volume in one of the node's own pools.
    fn own_export(&self, export: ExportId) -> rusqlite::Result<Option<Known>> {
        Ok(self.known(export)?.filter(|known| known.storage == self.node))
    }

    /// A disk of one of the node's own placements.
    fn own_disk(&self, export: ExportId) -> rusqlite::Result<Option<Known>> {
        Ok(self.known(export)?.filter(|known| known.compute == Some(self.node)))
    }

    fn export_open(&mut self, export: ExportId, source: &VolumeSource) -> rusqlite::Result<()> {
        let Some(known) = self.own_export(export)? else { return Ok(()) };
        let attachment = &known.attachment;
        let is_news =
            attachment.export_state == ExportState::Making || attachment.source.as_ref() != Some(source);
        let is_wanted = match attachment.export_state {
            ExportState::Making | ExportState::Open => true,
            ExportState::Closing | ExportState::Closed => false,
        };
        if !is_wanted || !is_news {
            return Ok(());
        }
        let sql = "UPDATE attachment SET export_state = ?2, source = ?3, message = NULL WHERE export_id = ?1";
        execute(self.connection, sql, params![S(export), S(ExportState::Open), S(source.clone())])?;
        self.tell(known.compute);
        Ok(())
    }

    /// The node's own part says something else.
    fn tell(&mut self, compute: Option<NodeId>) {
        if let Some(node) = compute {
            self.touched.node(node);
            self.wake.insert(node);
        }
    }

    /// The volume is free, or goes with its instance; or nobody reaches it until its instance starts again.
    fn export_gone(&mut self, export: ExportId) -> rusqlite::Result<()> {
        let known = self.own_export(export)?;
        let Some(known) = known.filter(|known| known.attachment.export_state == ExportState::Closing) else {
            return Ok(());
        };
        let attachment = &known.attachment;
        self.touched.storage(self.node);
        if attachment.state != AttachmentState::Detaching {
            return self.export_closed(attachment);
        }
        execute(self.connection, "DELETE FROM attachment WHERE export_id = ?1", params![S(export)])?;
        modification::settle(self.connection, attachment.volume_id, self.now)?;
        // The last one that had it says whether it stays (EC2 user guide, "Multi-Attach").
        let is_last = attachment::user(self.connection, attachment.volume_id)?.is_none();
        if is_last && attachment.delete_on_termination && ends(known.instance) {
            volume::begin_deletion(self.connection, attachment.volume_id)?;
            self.wake.insert(self.node);
        }
        self.tell(known.compute);
        // It was the last that the instance's end of its stop waited for.
        placement::stop_fenced(self.connection, self.now)
    }

    fn export_closed(&self, attachment: &Attachment) -> rusqlite::Result<()> {
        let sql = "UPDATE attachment SET state = 'attached', export_state = ?2, source = NULL, message = NULL, guest_gib = 0,
                       guest_iops = 0, guest_throughput_mib = 0
                   WHERE export_id = ?1";
        execute(self.connection, sql, params![S(attachment.export_id), S(ExportState::Closed)])?;
        modification::settle(self.connection, attachment.volume_id, self.now)?;
        placement::stop_fenced(self.connection, self.now)
    }

    fn disk_attached(&self, export: ExportId) -> rusqlite::Result<()> {
        let Some(known) = self.own_disk(export)? else { return Ok(()) };
        if known.attachment.state == AttachmentState::Attaching {
            let sql = "UPDATE attachment SET state = ?2, message = NULL WHERE export_id = ?1";
            execute(self.connection, sql, params![S(export), S(AttachmentState::Attached)])?;
        }
        Ok(())
    }

    fn disk_fitted(&self, export: ExportId, gib: u32, limits: IoLimits) -> rusqlite::Result<()> {
        let Some(Known { attachment, .. }) = self.own_disk(export)? else { return Ok(()) };
        if (attachment.guest_gib, attachment.guest_limits) != (gib, limits) {
            let sql = "UPDATE attachment SET guest_gib = ?2, guest_iops = ?3, guest_throughput_mib = ?4
                       WHERE export_id = ?1";
            execute(self.connection, sql, params![S(export), gib, limits.iops, limits.throughput_mib])?;
            modification::settle(self.connection, attachment.volume_id, self.now)?;
        }
        Ok(())
    }

    fn disk_absent(&mut self, export: ExportId) -> rusqlite::Result<()> {
        let Some(Known { attachment, storage, .. }) = self.own_disk(export)? else { return Ok(()) };
        if attachment.state == AttachmentState::Detaching && attachment.export_state != ExportState::Closing {
            attachment::close(self.connection, attachment.id)?;
            self.touched.storage(storage);
            self.wake.insert(storage);
        }
        Ok(())
    }

    fn failed(&self, export: ExportId, message: &str) -> rusqlite::Result<()> {
        let known = self.known(export)?;
        let concerned = known.filter(|known| known.storage == self.node || known.compute == Some(self.node));
        if concerned.is_some_and(|known| known.attachment.message.as_deref() != Some(message)) {
            let sql = "UPDATE attachment SET message = ?2 WHERE export_id = ?1";
            execute(self.connection, sql, params![S(export), message])?;
        }
        Ok(())
    }
}

fn ends(state: InstanceState) -> bool {
    match state {
        InstanceState::ShuttingDown | InstanceState::Terminated => true,
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::Stopped => false,
    }
}
