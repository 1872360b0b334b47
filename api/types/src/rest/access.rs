//! Projects, users, access keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ProjectId, Timestamp, UserId};

/// What a user may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything in every project, and projects, users, nodes.
    Administrator,
    /// Everything in the projects they hold a key for.
    #[default]
    Member,
}

/// Upper limits of a project, over all instances that are not terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Instances.
    pub instances: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Volumes of pools.
    pub volumes: u32,
    /// The sum of their sizes in GiB.
    pub volume_gib: u64,
}

/// Creates a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateProjectRequest {
    /// Unique in the cloud, 1 to 255 characters.
    pub name: String,
    /// Its limits; the cloud's defaults when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
}

/// A project: what EC2 calls an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Project {
    /// The account id.
    pub id: ProjectId,
    /// Unique in the cloud.
    pub name: String,
    /// Its limits.
    pub quota: Quota,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUserRequest {
    /// Unique in the cloud, 1 to 255 characters.
    pub name: String,
    /// What they may do.
    #[serde(default)]
    pub role: Role,
}

/// A person or a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// Unique in the cloud.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were created.
    pub created_at: Timestamp,
}

/// Makes an access key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAccessKeyRequest {
    /// User: id, name or prefix; the caller when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Project: id, name or prefix; the caller's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// Which project's access keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListAccessKeysRequest {
    /// Project: id, name or prefix; the caller's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// A credential of a user in one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessKey {
    /// 20 characters.
    pub id: String,
    /// Whose.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// Where.
    pub project_id: ProjectId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A new access key with its secret, shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreatedAccessKey {
    /// The key.
    pub access_key: AccessKey,
    /// For EC2 clients.
    pub secret_access_key: String,
    /// For `Authorization: Bearer` on `/v1`.
    pub token: String,
}
