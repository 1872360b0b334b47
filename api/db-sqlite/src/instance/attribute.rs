//! Changing an instance's attributes.

use rusqlite::{Connection, params};
use tepui_db::model::{InstanceState, MetadataSettings};
use tepui_db::{AttributeChange, PowerOutcome};
use tepui_types::{InstanceId, ProjectId, SecurityGroupId, VpcId};

use super::capacity::{Exceeded, check_quota};
use super::power::{Current, current, wrong_state};
use crate::generation::Touched;
use crate::row::{execute, first};
use crate::security_group;
use crate::value::{S, pack_groups};
use crate::verb::{Undo, Verb};

type Step = Result<(), Undo<PowerOutcome>>;

/// Changes attributes, all or none. What only the control plane reads grows no generation.
pub(super) fn change(
    connection: &Connection,
    project: ProjectId,
    id: InstanceId,
    changes: &[AttributeChange],
) -> Verb<PowerOutcome> {
    let instance = current(connection, project, id)?;
    let mut touched = Touched::default();
    for change in changes {
        check_state(&instance, change)?;
        apply(connection, project, &instance, change, &mut touched)?;
    }
    touched.grow(connection)?;
    Ok(PowerOutcome::Changed(vec![(id, instance.state, instance.state)]))
}

fn check_state(instance: &Current, change: &AttributeChange) -> Step {
    let needs_stopped = match change {
        AttributeChange::InstanceType(..) | AttributeChange::UserData(_) => true,
        AttributeChange::ShutdownBehavior(_)
        | AttributeChange::DisableApiTermination(_)
        | AttributeChange::DisableApiStop(_)
        | AttributeChange::Groups(_)
        | AttributeChange::Metadata(_) => false,
    };
    match instance.state {
        InstanceState::Stopped => Ok(()),
        InstanceState::Pending | InstanceState::Running | InstanceState::Stopping if !needs_stopped => Ok(()),
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Stopping
        | InstanceState::ShuttingDown
        | InstanceState::Terminated => Err(wrong_state(instance)),
    }
}

fn apply(
    connection: &Connection,
    project: ProjectId,
    instance: &Current,
    change: &AttributeChange,
    touched: &mut Touched,
) -> Step {
    let n = instance.n;
    let in_node_part = match change {
        AttributeChange::InstanceType(name, vcpus, memory_mib) => {
            resize(connection, project, instance, name, *vcpus, *memory_mib)?;
            true
        }
        AttributeChange::UserData(data) => {
            execute(connection, "UPDATE instance SET user_data = ?2 WHERE n = ?1", params![n, data])?;
            true
        }
        AttributeChange::ShutdownBehavior(behavior) => {
            let sql = "UPDATE instance SET shutdown_behavior = ?2 WHERE n = ?1";
            execute(connection, sql, params![n, S(*behavior)])?;
            false
        }
        AttributeChange::DisableApiTermination(disable) => {
            let sql = "UPDATE instance SET disable_api_termination = ?2 WHERE n = ?1";
            execute(connection, sql, params![n, disable])?;
            false
        }
        AttributeChange::DisableApiStop(disable) => {
            let sql = "UPDATE instance SET disable_api_stop = ?2 WHERE n = ?1";
            execute(connection, sql, params![n, disable])?;
            false
        }
        AttributeChange::Groups(groups) => {
            touched.vpc(set_groups(connection, instance, groups)?);
            true
        }
        AttributeChange::Metadata(settings) => {
            set_metadata(connection, n, settings)?;
            true
        }
    };
    if let Some(node) = instance.node_id.filter(|_| in_node_part) {
        touched.node(node);
    }
    Ok(())
}

/// The quota holds for stopped instances too; the node is asked when the instance starts.
fn resize(
    connection: &Connection,
    project: ProjectId,
    instance: &Current,
    name: &str,
    vcpus: u32,
    memory_mib: u64,
) -> Step {
    let more_vcpus = u64::from(vcpus).saturating_sub(instance.vcpus);
    let more_memory = memory_mib.saturating_sub(instance.memory_mib);
    if let Some(Exceeded { quota, limit, used }) =
        check_quota(connection, project, 0, more_vcpus, more_memory)?
    {
        return Err(Undo::Answer(PowerOutcome::QuotaExceeded(quota, limit, used)));
    }
    let sql = "UPDATE instance SET instance_type = ?2, vcpus = ?3, memory_mib = ?4 WHERE n = ?1";
    execute(connection, sql, params![instance.n, name, vcpus, S(memory_mib)])?;
    Ok(())
}

fn set_groups(
    connection: &Connection,
    instance: &Current,
    groups: &[SecurityGroupId],
) -> Result<VpcId, Undo<PowerOutcome>> {
    let sql = "SELECT vpc_id FROM instance WHERE n = ?1";
    let vpc = first(connection, sql, params![instance.n], |c| c.stored())?;
    let vpc: VpcId = vpc.ok_or(Undo::Answer(PowerOutcome::NotFound(instance.id)))?;
    for group in groups {
        if !security_group::in_vpc(connection, *group, vpc)? {
            return Err(Undo::Answer(PowerOutcome::GroupMissing(*group)));
        }
    }
    let sql = "UPDATE interface SET group_ids = ?2 WHERE instance_n = ?1";
    execute(connection, sql, params![instance.n, pack_groups(groups)])?;
    Ok(vpc)
}

fn set_metadata(connection: &Connection, n: i64, settings: &MetadataSettings) -> rusqlite::Result<usize> {
    let sql = "UPDATE instance SET metadata_enabled = ?2, metadata_tokens_required = ?3,
                   metadata_hop_limit = ?4, metadata_tags_enabled = ?5
               WHERE n = ?1";
    let values =
        params![n, settings.enabled, settings.tokens_required, settings.hop_limit, settings.tags_enabled];
    execute(connection, sql, values)
}
