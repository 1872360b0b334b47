//! `ModifyInstanceAttribute` and `ModifyInstanceMetadataOptions`.

use tepui_db::AttributeChange;
use tepui_db::model::{Instance, InstanceRecord, ShutdownBehavior};
use tepui_types::{InstanceId, SecurityGroupId};

use super::MetadataChange;
use super::power::{node_of, power_result};
use crate::failpoint::pass;
use crate::{Caller, Cloud, Error, InstanceType, Kind, instance_type, limits};

/// One change of an instance's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstanceChange {
    /// Only while stopped.
    InstanceType(String),
    /// Only while stopped; raw bytes, at most 16 KiB.
    UserData(Option<Vec<u8>>),
    /// What a guest's own power-off means.
    ShutdownBehavior(ShutdownBehavior),
    /// Refuse Terminate.
    DisableApiTermination(bool),
    /// Refuse Stop.
    DisableApiStop(bool),
    /// The interface's groups; at least one.
    Groups(Vec<SecurityGroupId>),
    /// How the guest reads its metadata.
    Metadata(MetadataChange),
}

impl InstanceChange {
    /// EC2's action that makes this change.
    const fn action(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "ModifyInstanceMetadataOptions",
            Self::InstanceType(_)
            | Self::UserData(_)
            | Self::ShutdownBehavior(_)
            | Self::DisableApiTermination(_)
            | Self::DisableApiStop(_)
            | Self::Groups(_) => "ModifyInstanceAttribute",
        }
    }
}

impl Cloud {
    /// Changes attributes, all or none of them.
    ///
    /// # Errors
    /// `NotFound` for the instance or a group, `InvalidInput`, `WrongState` where it must be stopped.
    pub async fn modify_instance(
        &self,
        caller: &Caller,
        id: InstanceId,
        changes: Vec<InstanceChange>,
    ) -> Result<(), Error> {
        let records = self.records(caller.project, &[id]).await?;
        let record = records.first().ok_or_else(|| Error::not_found(Kind::Instance, id))?;
        let moves_rules = changes.iter().any(|change| matches!(change, InstanceChange::Groups(_)));
        let usual = "ModifyInstanceAttribute";
        let actions = changes.iter().map(InstanceChange::action);
        let action = actions.reduce(|one, other| if one == other { one } else { usual }).unwrap_or(usual);
        let mut checked = Vec::with_capacity(changes.len());
        for change in changes {
            checked.push(self.checked_change(caller, record, change).await?);
        }
        pass("core::attribute::checked")?;
        self.commit(caller, action, id.to_string(), async {
            let outcome = self.db.change_attributes(caller.project, id, &checked, self.now()).await?;
            power_result(outcome, "stopped", "").map(drop)
        })
        .await?;
        let passed = pass("core::attribute::committed")?;
        self.wakes.wake(passed, node_of(record));
        if moves_rules {
            self.wakes.wake_vpc(passed, record.instance.vpc_id);
        }
        pass("core::attribute::woken").map(drop)
    }

    async fn checked_change(
        &self,
        caller: &Caller,
        record: &InstanceRecord,
        change: InstanceChange,
    ) -> Result<AttributeChange, Error> {
        Ok(match change {
            InstanceChange::InstanceType(name) => {
                let size = instance_type(&name).ok_or_else(|| Error::not_found(Kind::InstanceType, &name))?;
                check_storage(&record.instance, size)?;
                AttributeChange::InstanceType(name, size.vcpus, size.memory_mib)
            }
            InstanceChange::UserData(data) => {
                check_user_data(data.as_deref())?;
                AttributeChange::UserData(data)
            }
            InstanceChange::ShutdownBehavior(behavior) => AttributeChange::ShutdownBehavior(behavior),
            InstanceChange::DisableApiTermination(on) => AttributeChange::DisableApiTermination(on),
            InstanceChange::DisableApiStop(on) => AttributeChange::DisableApiStop(on),
            InstanceChange::Groups(ids) => {
                AttributeChange::Groups(self.groups_of_vpc(caller, record.instance.vpc_id, &ids).await?)
            }
            InstanceChange::Metadata(change) => {
                AttributeChange::Metadata(change.applied_to(record.instance.metadata)?)
            }
        })
    }
}

/// An instance keeps its scratch disk: it goes to no type that brings another one, and from one that brought it to none
/// that does not.
fn check_storage(instance: &Instance, size: &InstanceType) -> Result<(), Error> {
    let before = instance_type(&instance.instance_type).map_or(0, InstanceType::scratch_gib);
    if size.scratch_gib() == before {
        return Ok(());
    }
    let rule = format!(
        "brings {} GiB of instance storage, and the instance's type {before}: launch one of that type",
        size.scratch_gib()
    );
    Err(Error::invalid("instance_type", size.name, rule))
}

/// Lets user data pass that AWS would.
pub(super) fn check_user_data(data: Option<&[u8]>) -> Result<(), Error> {
    let length = data.map_or(0, <[u8]>::len);
    if length > limits::USER_DATA_BYTES {
        let rule = format!("has at most {} bytes before base64", limits::USER_DATA_BYTES);
        return Err(Error::invalid("user_data", format!("{length} bytes"), rule));
    }
    Ok(())
}
