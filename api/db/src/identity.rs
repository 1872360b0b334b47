//! Projects, users, access keys, audit.

use async_trait::async_trait;
use jiff::Timestamp;
use tepui_types::{Epoch, ProjectId, UserId};

use crate::DbError;
use crate::model::{AccessKey, Credential, DefaultNetwork, Project, Quota, User};

/// What became of a creation whose name must be unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOutcome<Id> {
    /// It is there now.
    Created,
    /// The name belongs to this object; nothing was changed.
    NameTaken(Id),
    /// Something it refers to does not exist; nothing was changed.
    ParentMissing,
}

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// It is gone.
    Deleted,
    /// It was not there.
    NotFound,
    /// Something still needs it; the text names what. Nothing was changed.
    InUse(String),
}

/// Projects, users, access keys, audit.
#[async_trait]
pub trait IdentityDb: Send + Sync {
    /// The database's epoch; 1 in a new one, one more after each restore.
    async fn epoch(&self) -> Result<Epoch, DbError>;

    /// Creates a project with its default VPC, subnet and group.
    async fn create_project(
        &self,
        project: &Project,
        network: &DefaultNetwork,
    ) -> Result<CreateOutcome<ProjectId>, DbError>;

    /// All projects, by id.
    async fn projects(&self) -> Result<Vec<Project>, DbError>;

    /// One project.
    async fn project(&self, id: ProjectId) -> Result<Option<Project>, DbError>;

    /// Sets a project's quota; `false` when there is no such project.
    async fn set_quota(&self, id: ProjectId, quota: Quota) -> Result<bool, DbError>;

    /// Deletes a project that has no instances, images or access keys, with the rest of what it owns.
    async fn delete_project(&self, id: ProjectId) -> Result<DeleteOutcome, DbError>;

    /// Creates a user.
    async fn create_user(&self, user: &User) -> Result<CreateOutcome<UserId>, DbError>;

    /// All users, by name.
    async fn users(&self) -> Result<Vec<User>, DbError>;

    /// Deletes a user without access keys.
    async fn delete_user(&self, id: UserId) -> Result<DeleteOutcome, DbError>;

    /// Creates an access key; `ParentMissing` without its user or project.
    async fn create_access_key(&self, key: &AccessKey) -> Result<CreateOutcome<String>, DbError>;

    /// The access keys of a project.
    async fn access_keys(&self, project: ProjectId) -> Result<Vec<Credential>, DbError>;

    /// One access key with its user, for authentication.
    async fn credential(&self, key_id: &str) -> Result<Option<Credential>, DbError>;

    /// Deletes an access key of a project.
    async fn delete_access_key(&self, project: ProjectId, key_id: &str) -> Result<DeleteOutcome, DbError>;

    /// Appends one audit record.
    async fn append_audit(&self, record: &AuditRecord) -> Result<(), DbError>;

    /// The newest `limit` audit records of a project that pass, newest first. However many others there
    /// are, they push none of these out.
    async fn audit(
        &self,
        project: ProjectId,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditRecord>, DbError>;
}

/// Which audit records; by default all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only those that name the object with this id.
    pub resource: Option<String>,
    /// Only those of refused calls, or only those of calls that went well.
    pub refused: Option<bool>,
}

/// One mutating call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When it was answered.
    pub at: Timestamp,
    /// Whose objects.
    pub project_id: ProjectId,
    /// Who asked.
    pub user_id: UserId,
    /// For example `RunInstances`.
    pub action: String,
    /// Ids of the objects, comma-separated.
    pub resources: String,
    /// `ok` or why the call was refused.
    pub outcome: String,
    /// As in the reply and the logs.
    pub request_id: String,
}
