//! Volumes: creation, modification, deletion, listing.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, params};
use tepui_db::model::{NodeState, SnapshotState, Volume, VolumeEvent, VolumeRecord, VolumeState};
use tepui_db::{
    AttachOutcome, DbError, DetachOutcome, Detachment, NewAttachment, NewVolume, NewVolumeOutcome, TokenUse,
    VolumeChange, VolumeDb, VolumeOutcome,
};
use tepui_types::agent::{IoLimits, VolumeImage};
use tepui_types::{InstanceId, NodeId, PoolId, ProjectId, VolumeId};

use crate::generation::Touched;
use crate::row::{Columns, all, execute, first};
use crate::snapshot_share::USABLE;
use crate::value::S;
use crate::verb::Verb;
use crate::{SqliteDb, attachment, modification, node, project, quarantine, tag, volume_end, volume_move};

/// The SELECT list, with `volume` as v, that [`read`] reads.
pub(crate) const VOLUME: &str =
    "v.id, v.project_id, v.pool_id, v.size_gib, v.actual_gib, v.iops, v.throughput_mib, v.snapshot_id, v.image_digest,
    v.image_bytes, v.read_only, v.state, v.message, v.created_at";

#[async_trait]
impl VolumeDb for SqliteDb {
    async fn create_volume(&self, new: &NewVolume) -> Result<NewVolumeOutcome, DbError> {
        let new = new.clone();
        self.write(move |connection| create(connection, &new)).await
    }

    async fn volumes(&self, project: ProjectId) -> Result<Vec<VolumeRecord>, DbError> {
        self.read(move |connection| of_project(connection, project)).await
    }

    async fn modify_volume(
        &self,
        project: ProjectId,
        id: VolumeId,
        change: VolumeChange,
        now: Timestamp,
    ) -> Result<VolumeOutcome, DbError> {
        self.write(move |connection| modify(connection, project, id, change, now)).await
    }

    async fn delete_volume(&self, project: ProjectId, id: VolumeId) -> Result<VolumeOutcome, DbError> {
        self.write(move |connection| delete(connection, project, id)).await
    }

    async fn attach_volume(&self, new: &NewAttachment, now: Timestamp) -> Result<AttachOutcome, DbError> {
        let new = new.clone();
        self.write(move |connection| attachment::attach(connection, &new, now)).await
    }

    async fn detach_volume(&self, what: &Detachment) -> Result<DetachOutcome, DbError> {
        let what = what.clone();
        self.write(move |connection| attachment::detach(connection, &what)).await
    }

    async fn set_delete_on_termination(
        &self,
        project: ProjectId,
        instance: InstanceId,
        disks: &[(VolumeId, bool)],
    ) -> Result<Option<VolumeId>, DbError> {
        let disks = disks.to_vec();
        self.write(move |connection| {
            attachment::set_delete_on_termination(connection, project, instance, &disks)
        })
        .await
    }
}

/// Reads a volume's row.
pub(crate) fn read(c: &Columns<'_>) -> rusqlite::Result<Volume> {
    Ok(Volume {
        id: c.stored()?,
        project_id: c.stored()?,
        pool_id: c.stored()?,
        size_gib: c.plain()?,
        actual_gib: c.plain()?,
        limits: attachment::limits(c)?,
        snapshot_id: c.optional()?,
        image: read_image(c)?,
        read_only: c.plain()?,
        state: c.stored()?,
        message: c.plain()?,
        created_at: c.stored()?,
    })
}

/// Reads the columns of an image that something is made from.
pub(crate) fn read_image(c: &Columns<'_>) -> rusqlite::Result<Option<VolumeImage>> {
    let (digest, bytes) = (c.optional()?, c.optional::<u64>()?);
    Ok(digest.zip(bytes).map(|(digest, bytes)| VolumeImage { digest, bytes }))
}

fn of_project(connection: &Connection, project: ProjectId) -> rusqlite::Result<Vec<VolumeRecord>> {
    let mut attachments: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for attachment in attachment::of_project(connection, project)? {
        attachments.entry(attachment.volume_id).or_default().push(attachment);
    }
    // The bounds hold the texts that begin with "vol-".
    let mut tags = tag::of_kind(connection, project, "vol-", "vol.")?;
    let mut modifications = modification::of_project(connection, project)?;
    let mut ends = volume_end::of_project(connection, project)?;
    let sql = format!(
        "SELECT {VOLUME}, p.class FROM volume v JOIN pool p ON p.id = v.pool_id
         WHERE v.project_id = ?1 ORDER BY v.id"
    );
    let rows = all(connection, &sql, params![S(project)], |c| Ok((read(c)?, c.plain()?)))?;
    let record = |(volume, class): (Volume, String)| VolumeRecord {
        class,
        attachments: attachments.remove(&volume.id).unwrap_or_default(),
        modification: modifications.remove(&volume.id),
        end: ends.remove(&volume.id),
        tags: tags.remove(&volume.id.to_string()).unwrap_or_default(),
        volume,
    };
    Ok(rows.into_iter().map(record).collect())
}

/// The node of a pool that takes new volumes.
pub(crate) fn open_pool(connection: &Connection, id: PoolId) -> rusqlite::Result<Option<NodeId>> {
    let sql = "SELECT p.node_id, n.state FROM pool p JOIN node n ON n.id = p.node_id
               WHERE p.id = ?1 AND NOT p.draining";
    let found = first(connection, sql, params![S(id)], |c| Ok((c.stored()?, c.stored::<NodeState>()?)))?;
    Ok(found.filter(|(_, state)| *state != NodeState::Expunged).map(|(node, _)| node))
}

pub(crate) fn create(connection: &Connection, new: &NewVolume) -> Verb<NewVolumeOutcome> {
    let volume = &new.volume;
    if let Some(used) = &new.token
        && let Some((made, parameters)) = of_token(connection, volume.project_id, &used.token)?
    {
        let same = parameters == used.parameters_sha256;
        return Ok(if same { NewVolumeOutcome::Repeated(made) } else { NewVolumeOutcome::TokenMismatch });
    }
    if !project::exists(connection, volume.project_id)? {
        return Ok(NewVolumeOutcome::ParentMissing);
    }
    if let Some(refused) = refuse_source(connection, volume)? {
        return Ok(refused);
    }
    if let Some((quota, limit, used)) = exceeded(connection, volume.project_id, 1, volume.size_gib.into())? {
        return Ok(NewVolumeOutcome::QuotaExceeded { quota, limit, used });
    }
    let Some(node) = open_pool(connection, volume.pool_id)? else {
        return Ok(NewVolumeOutcome::PoolLost(volume.pool_id));
    };
    insert(connection, volume, new.token.as_ref())?;
    for (key, value) in &new.tags {
        tag::insert(connection, volume.project_id, &volume.id.to_string(), key, value)?;
    }
    if let Some(end) = &new.end {
        volume_end::insert(connection, volume.id, end)?;
    }
    let mut touched = Touched::default();
    touched.storage(node);
    touched.grow(connection)?;
    Ok(NewVolumeOutcome::Created(node))
}

fn of_token(
    connection: &Connection,
    project: ProjectId,
    token: &str,
) -> rusqlite::Result<Option<(VolumeId, [u8; 32])>> {
    let sql = "SELECT id, parameters_sha256 FROM volume WHERE project_id = ?1 AND token = ?2";
    first(connection, sql, params![S(project), token], |c| Ok((c.stored()?, c.plain()?)))
}

/// Why the volume cannot be made from its snapshot.
pub(crate) fn refuse_source(
    connection: &Connection,
    volume: &Volume,
) -> rusqlite::Result<Option<NewVolumeOutcome>> {
    let Some(id) = volume.snapshot_id else { return Ok(None) };
    let sql = format!("SELECT size_gib, state FROM snapshot WHERE id = ?1 AND {USABLE} AND pool_id = ?3");
    let values = params![S(id), S(volume.project_id), S(volume.pool_id)];
    let found = first(connection, &sql, values, |c| Ok((c.plain::<u32>()?, c.stored()?)))?;
    Ok(match found {
        Some((size, SnapshotState::Completed)) if size > volume.size_gib => {
            Some(NewVolumeOutcome::SmallerThanSnapshot(size))
        }
        Some((_, SnapshotState::Completed)) => None,
        Some((_, state @ (SnapshotState::Pending | SnapshotState::Deleting | SnapshotState::Error))) => {
            Some(NewVolumeOutcome::SnapshotState(id, state))
        }
        None => Some(NewVolumeOutcome::SnapshotMissing(id)),
    })
}

/// The quota that so many more volumes, or GiB of them, would exceed: its name, limit, and what is taken.
pub(crate) fn exceeded(
    connection: &Connection,
    project: ProjectId,
    volumes: u64,
    gib: u64,
) -> rusqlite::Result<Option<(&'static str, u64, u64)>> {
    let sql =
        "SELECT quota_volumes, used_volumes, quota_volume_gib, used_volume_gib FROM project WHERE id = ?1";
    let wanted = [("volumes", volumes), ("volume_gib", gib)];
    let found = first(connection, sql, params![S(project)], |c| {
        for (quota, more) in wanted {
            let (limit, used) = (c.stored::<u64>()?, c.stored::<u64>()?);
            if more > 0 && used.saturating_add(more) > limit {
                return Ok(Some((quota, limit, used)));
            }
        }
        Ok(None)
    })?;
    Ok(found.flatten())
}

pub(crate) fn insert(
    connection: &Connection,
    volume: &Volume,
    token: Option<&TokenUse>,
) -> rusqlite::Result<()> {
    let sql =
        "INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, iops, throughput_mib, snapshot_id, state,
                                   message, created_at, token, parameters_sha256, image_digest, image_bytes, read_only)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let values = params![
        S(volume.id),
        S(volume.project_id),
        S(volume.pool_id),
        volume.size_gib,
        volume.actual_gib,
        volume.limits.iops,
        volume.limits.throughput_mib,
        volume.snapshot_id.map(S),
        S(volume.state),
        volume.message,
        S(volume.created_at),
        token.map(|token| &token.token),
        token.map(|token| token.parameters_sha256),
        volume.image.map(|image| S(image.digest)),
        volume.image.map(|image| S(image.bytes)),
        volume.read_only,
    ];
    execute(connection, sql, values)?;
    Ok(())
}

/// A volume of the project, with its pool's node.
fn own(
    connection: &Connection,
    project: ProjectId,
    id: VolumeId,
) -> rusqlite::Result<Option<(Volume, NodeId)>> {
    let sql = format!(
        "SELECT {VOLUME}, p.node_id FROM volume v JOIN pool p ON p.id = v.pool_id
         WHERE v.id = ?1 AND v.project_id = ?2"
    );
    first(connection, &sql, params![S(id), S(project)], |c| Ok((read(c)?, c.stored()?)))
}

fn modify(
    connection: &Connection,
    project: ProjectId,
    id: VolumeId,
    change: VolumeChange,
    now: Timestamp,
) -> Verb<VolumeOutcome> {
    let Some((volume, node)) = own(connection, project, id)? else { return Ok(VolumeOutcome::NotFound) };
    match volume.state {
        VolumeState::Available => {}
        VolumeState::Creating | VolumeState::Deleting | VolumeState::Error => {
            return Ok(VolumeOutcome::WrongState(volume.state));
        }
    }
    let size_gib = change.size_gib.unwrap_or(volume.size_gib);
    let limits = IoLimits {
        iops: change.iops.unwrap_or(volume.limits.iops),
        throughput_mib: change.throughput_mib.unwrap_or(volume.limits.throughput_mib),
    };
    let Some(more) = size_gib.checked_sub(volume.size_gib) else {
        return Ok(VolumeOutcome::WouldShrink(volume.size_gib));
    };
    let read_only = change.read_only.unwrap_or(volume.read_only);
    let is_switched = read_only != volume.read_only;
    if more == 0 && limits == volume.limits && !is_switched {
        return Ok(VolumeOutcome::Unchanged);
    }
    // Who reads it relies on that nobody writes, and a file system that nobody writes cannot grow.
    if (is_switched || more > 0 && volume.read_only)
        && let Some(instance) = attachment::user(connection, id)?
    {
        return Ok(VolumeOutcome::InUse(instance));
    }
    if modification::is_under_way(connection, id)? {
        return Ok(VolumeOutcome::Modifying);
    }
    if let Some((_, limit, used)) = exceeded(connection, project, 0, more.into())? {
        return Ok(VolumeOutcome::QuotaExceeded { limit, used });
    }
    if volume_move::is_between(connection, id)? {
        return Ok(VolumeOutcome::Moving);
    }
    let (mut touched, mut nodes) = (Touched::default(), BTreeSet::new());
    volume_move::call_off(connection, id, &mut touched)?;
    let sql = "UPDATE volume SET size_gib = ?2, iops = ?3, throughput_mib = ?4, read_only = ?5 WHERE id = ?1";
    execute(connection, sql, params![S(id), size_gib, limits.iops, limits.throughput_mib, read_only])?;
    let target = Volume { size_gib, limits, read_only, ..volume.clone() };
    modification::begin(connection, &volume, &target, now)?;
    // Limits of a volume that no guest has are nobody's work.
    modification::settle(connection, id, now)?;
    if more > 0 {
        touched.storage(node);
        nodes.insert(node);
    }
    if limits != volume.limits {
        for compute in attachment::computes_of(connection, id)? {
            touched.node(compute);
            nodes.insert(compute);
        }
    }
    touched.grow(connection)?;
    Ok(VolumeOutcome::Changed(nodes.into_iter().collect()))
}

pub(crate) fn delete(connection: &Connection, project: ProjectId, id: VolumeId) -> Verb<VolumeOutcome> {
    let Some((volume, host)) = own(connection, project, id)? else { return Ok(VolumeOutcome::NotFound) };
    if let Some(instance) = attachment::user(connection, id)? {
        return Ok(VolumeOutcome::InUse(instance));
    }
    if volume.state.after(VolumeEvent::Delete).is_none() {
        return Ok(VolumeOutcome::Unchanged);
    }
    if volume_move::is_between(connection, id)? {
        return Ok(VolumeOutcome::Moving);
    }
    let mut touched = Touched::default();
    volume_move::call_off(connection, id, &mut touched)?;
    // A host that was given up can remove nothing, and say nothing of it.
    match node::is_expunged(connection, host)? {
        true => remove(connection, id, project)?,
        false => begin_deletion(connection, id)?,
    }
    touched.storage(host);
    touched.grow(connection)?;
    Ok(VolumeOutcome::Changed(vec![host]))
}

/// Forgets a volume of which nothing is left.
pub(crate) fn remove(connection: &Connection, id: VolumeId, project: ProjectId) -> rusqlite::Result<()> {
    execute(connection, "DELETE FROM volume WHERE id = ?1", params![S(id)])?;
    tag::delete_all(connection, project, &id.to_string())?;
    Ok(())
}

/// From now on its host removes it. The caller grows the host's storage part.
pub(crate) fn begin_deletion(connection: &Connection, id: VolumeId) -> rusqlite::Result<()> {
    quarantine::keep(connection, id)?;
    execute(connection, "UPDATE volume SET state = 'deleting' WHERE id = ?1", params![S(id)])?;
    Ok(())
}
