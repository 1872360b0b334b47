//! Projects, users, access keys.

use jiff::Timestamp;
use tepui_types::{ProjectId, UserId};

/// An EC2 account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The account id.
    pub id: ProjectId,
    /// Unique in the cloud.
    pub name: String,
    /// What its instances may take together.
    pub quota: Quota,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Upper limits of a project, over all instances that are not terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything in every project, and projects, users, nodes.
    Administrator,
    /// Everything in the projects they hold a key for, and nothing elsewhere.
    Member,
}

/// A person or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// A credential of a user in one project.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// `TPAK` and 16 characters of base32: 20 in all, as AWS's have.
    pub id: String,
    /// Whose.
    pub user_id: UserId,
    /// Where.
    pub project_id: ProjectId,
    /// The secret, encrypted by the control plane's key file. Never plain in the store.
    pub wrapped_secret: Vec<u8>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An access key with its user, as authentication needs it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The key.
    pub key: AccessKey,
    /// Its user.
    pub user: User,
}
