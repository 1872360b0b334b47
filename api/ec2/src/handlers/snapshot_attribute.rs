//! The one attribute of snapshots that can be changed: who may make volumes of them.

use tepui_core::Kind;
use tepui_db::SharingChange;
use tepui_db::model::SnapshotSharing;
use tepui_types::ProjectId;

use super::{fixed, text};
use crate::error::ApiError;
use crate::generated::{
    CreateVolumePermission, DescribeSnapshotAttributeRequest, DescribeSnapshotAttributeResult,
    ModifySnapshotAttributeRequest, ResetSnapshotAttributeRequest,
};
use crate::mechanism::parse_id;
use crate::operation::{Context, Handle, Void};

/// The group of everybody.
const ALL: &str = "all";

impl Handle for DescribeSnapshotAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<DescribeSnapshotAttributeResult, ApiError> {
        check_attribute(&self.attribute)?;
        let id = parse_id(Kind::Snapshot, &self.snapshot_id)?;
        let own = cx.cloud.snapshots(&cx.caller, &[id]).await?;
        let create_volume_permissions = own.iter().flat_map(|record| permissions(&record.sharing)).collect();
        Ok(DescribeSnapshotAttributeResult { create_volume_permissions, snapshot_id: text(id) })
    }
}

impl Handle for ModifySnapshotAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        if let Some(attribute) = &self.attribute {
            check_attribute(attribute)?;
        }
        let id = parse_id(Kind::Snapshot, &self.snapshot_id)?;
        cx.cloud.share_snapshot(&cx.caller, id, self.change()?).await?;
        Ok(Void)
    }
}

impl Handle for ResetSnapshotAttributeRequest {
    async fn handle(self, cx: &Context) -> Result<Void, ApiError> {
        check_attribute(&self.attribute)?;
        let id = parse_id(Kind::Snapshot, &self.snapshot_id)?;
        cx.cloud.share_snapshot(&cx.caller, id, SharingChange::Reset).await?;
        Ok(Void)
    }
}

impl ModifySnapshotAttributeRequest {
    /// Clients say the same in two ways: what is added and removed, or one operation with its users and groups.
    fn change(&self) -> Result<SharingChange, ApiError> {
        let listed = !self.user_ids.is_empty() || !self.group_names.is_empty();
        match (&self.create_volume_permission, self.operation_type.as_deref()) {
            (Some(_), Some(_)) => Err(self.two_ways()),
            (Some(_), None) if listed => Err(self.two_ways()),
            (Some(permission), None) => {
                let (add, remove) = (sharing(&permission.add)?, sharing(&permission.remove)?);
                Ok(SharingChange::Change { add, remove })
            }
            (None, None) if listed => Err(ApiError::missing("OperationType")),
            (None, Some(_)) if !listed => Err(ApiError::missing("UserId")),
            (None, None) => Err(ApiError::missing("CreateVolumePermission")),
            (None, Some("add")) => {
                Ok(SharingChange::Change { add: self.listed()?, remove: SnapshotSharing::default() })
            }
            (None, Some("remove")) => {
                Ok(SharingChange::Change { add: SnapshotSharing::default(), remove: self.listed()? })
            }
            (None, Some(other)) => {
                Err(ApiError::invalid_value("OperationType", other, "It is add or remove."))
            }
        }
    }

    fn two_ways(&self) -> ApiError {
        ApiError::combination("CreateVolumePermission goes without OperationType, UserId and UserGroup.")
    }

    fn listed(&self) -> Result<SnapshotSharing, ApiError> {
        let mut sharing = SnapshotSharing::default();
        for group in &self.group_names {
            check_group(group)?;
            sharing.public = true;
        }
        for user in &self.user_ids {
            sharing.projects.insert(project(user)?);
        }
        Ok(sharing)
    }
}

fn sharing(permissions: &[CreateVolumePermission]) -> Result<SnapshotSharing, ApiError> {
    let mut sharing = SnapshotSharing::default();
    for permission in permissions {
        match (&permission.group, &permission.user_id) {
            (Some(group), None) => {
                check_group(group)?;
                sharing.public = true;
            }
            (None, Some(user)) => drop(sharing.projects.insert(project(user)?)),
            (Some(_), Some(_)) | (None, None) => {
                return Err(ApiError::combination("A CreateVolumePermission is a UserId or a Group."));
            }
        }
    }
    Ok(sharing)
}

fn permissions(sharing: &SnapshotSharing) -> Vec<CreateVolumePermission> {
    let all = CreateVolumePermission { group: fixed(ALL), user_id: None };
    let users = sharing.projects.iter().map(|id| CreateVolumePermission { group: None, user_id: text(id) });
    sharing.public.then_some(all).into_iter().chain(users).collect()
}

fn check_attribute(attribute: &str) -> Result<(), ApiError> {
    match attribute {
        "createVolumePermission" => Ok(()),
        other => Err(ApiError::invalid_value("Attribute", other, "It is createVolumePermission.")),
    }
}

fn check_group(group: &str) -> Result<(), ApiError> {
    match group {
        ALL => Ok(()),
        other => Err(ApiError::invalid_value("Group", other, "It is all.")),
    }
}

fn project(user: &str) -> Result<ProjectId, ApiError> {
    user.parse().map_err(|error: tepui_types::ParseIdError| {
        ApiError::new("InvalidUserID.Malformed", error.to_string())
    })
}
