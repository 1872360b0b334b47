//! Projects, users, access keys, quotas: the administrators' verbs.

use jiff::Timestamp;
use tepui_db::model::{AccessKey, Credential, DefaultNetwork, InstanceState, Project, Quota, Role, User};
use tepui_db::{CreateOutcome, DeleteOutcome, InstanceFilter};
use tepui_types::{ProjectId, UserId};

use crate::{Caller, Cloud, Error, Kind, limits};

/// An access key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyView {
    /// The key's id.
    pub id: String,
    /// Its user.
    pub user: User,
    /// Where it acts.
    pub project_id: ProjectId,
    /// When it was created.
    pub created_at: Timestamp,
}

/// A new access key. The secret is shown this once.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAccessKey {
    /// `TPAK` and 16 characters of base32.
    pub id: String,
    /// 40 characters, as AWS's have.
    pub secret: String,
    /// Its user.
    pub user_id: UserId,
    /// Where it acts.
    pub project_id: ProjectId,
}

/// What a project may take and what it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The limits.
    pub limit: Quota,
    /// What instances that are not terminated take, and volumes until their bytes are gone.
    pub used: Quota,
}

impl Cloud {
    /// Creates a project with its default network. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `InvalidInput` for the name, `AlreadyExists`.
    pub async fn create_project(
        &self,
        caller: &Caller,
        name: &str,
        quota: Option<Quota>,
    ) -> Result<Project, Error> {
        caller.require_administrator()?;
        limits::check_name("name", name, 64)?;
        let project = self.new_project(name, quota);
        let network = self.default_network(project.id);
        self.commit(caller, "CreateProject", project.id.to_string(), self.store_project(&project, &network))
            .await?;
        Ok(project)
    }

    pub(crate) fn new_project(&self, name: &str, quota: Option<Quota>) -> Project {
        Project {
            id: ProjectId::from_random(self.random()),
            name: name.to_owned(),
            quota: quota.unwrap_or(self.config.default_quota),
            created_at: self.now(),
        }
    }

    pub(crate) async fn store_project(&self, project: &Project, net: &DefaultNetwork) -> Result<(), Error> {
        match self.db.create_project(project, net).await? {
            CreateOutcome::Created => Ok(()),
            CreateOutcome::NameTaken(id) => Err(taken(Kind::Project, &project.name, id)),
            CreateOutcome::ParentMissing => Err(Error::internal("a project has no parent")),
        }
    }

    /// The projects the caller may act in: all for an administrator, else the caller's own.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn projects(&self, caller: &Caller) -> Result<Vec<Project>, Error> {
        match caller.role {
            Role::Administrator => Ok(self.db.projects().await?),
            Role::Member => Ok(vec![self.project(caller, caller.project).await?]),
        }
    }

    /// One project that the caller may act in.
    ///
    /// # Errors
    /// `NotFound`, also for a foreign one.
    pub async fn project(&self, caller: &Caller, id: ProjectId) -> Result<Project, Error> {
        let unseen = || Error::not_found(Kind::Project, id);
        if caller.role != Role::Administrator && id != caller.project {
            return Err(unseen());
        }
        self.db.project(id).await?.ok_or_else(unseen)
    }

    /// Sets a project's quota. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn set_quota(&self, caller: &Caller, id: ProjectId, quota: Quota) -> Result<(), Error> {
        self.project(caller, id).await?;
        caller.require_administrator()?;
        let found = self
            .commit(caller, "SetQuota", id.to_string(), async { Ok(self.db.set_quota(id, quota).await?) })
            .await?;
        if found { Ok(()) } else { Err(Error::not_found(Kind::Project, id)) }
    }

    /// What the caller's project may take and has taken.
    ///
    /// # Errors
    /// `NotFound` when the project was deleted.
    pub async fn quota(&self, caller: &Caller) -> Result<QuotaUse, Error> {
        let limit = self.project(caller, caller.project).await?.quota;
        let volumes = self.db.volumes(caller.project).await?;
        let mut used = Quota {
            instances: 0,
            vcpus: 0,
            memory_mib: 0,
            volumes: u32::try_from(volumes.len()).unwrap_or(u32::MAX),
            volume_gib: volumes.iter().map(|record| u64::from(record.volume.size_gib)).sum(),
        };
        for record in self.db.instances(caller.project, &InstanceFilter::default()).await? {
            if record.instance.state != InstanceState::Terminated {
                used.instances += 1;
                used.vcpus += record.instance.vcpus;
                used.memory_mib += record.instance.memory_mib;
            }
        }
        Ok(QuotaUse { limit, used })
    }

    /// Deletes a project that has no instances, images or access keys. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `InUse`.
    pub async fn delete_project(&self, caller: &Caller, id: ProjectId) -> Result<(), Error> {
        self.project(caller, id).await?;
        caller.require_administrator()?;
        self.commit(caller, "DeleteProject", id.to_string(), async {
            deleted(self.db.delete_project(id).await?, Kind::Project, id)
        })
        .await
    }

    /// Creates a user. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `InvalidInput` for the name, `AlreadyExists`.
    pub async fn create_user(&self, caller: &Caller, name: &str, role: Role) -> Result<User, Error> {
        caller.require_administrator()?;
        limits::check_name("name", name, 64)?;
        let user = self.new_user(name, role);
        self.commit(caller, "CreateUser", user.id.to_string(), self.store_user(&user)).await?;
        Ok(user)
    }

    pub(crate) fn new_user(&self, name: &str, role: Role) -> User {
        let id = UserId::from_random(self.random());
        User { id, name: name.to_owned(), role, created_at: self.now() }
    }

    pub(crate) async fn store_user(&self, user: &User) -> Result<(), Error> {
        match self.db.create_user(user).await? {
            CreateOutcome::Created => Ok(()),
            CreateOutcome::NameTaken(id) => Err(taken(Kind::User, &user.name, id)),
            CreateOutcome::ParentMissing => Err(Error::internal("a user has no parent")),
        }
    }

    /// All users. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<User>, Error> {
        caller.require_administrator()?;
        Ok(self.db.users().await?)
    }

    /// Deletes a user without access keys. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`, `InUse`.
    pub async fn delete_user(&self, caller: &Caller, id: UserId) -> Result<(), Error> {
        caller.require_administrator()?;
        self.commit(caller, "DeleteUser", id.to_string(), async {
            deleted(self.db.delete_user(id).await?, Kind::User, id)
        })
        .await
    }

    /// Creates an access key for a user in a project. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound` for the project or the user.
    pub async fn create_access_key(
        &self,
        caller: &Caller,
        user: UserId,
        project: ProjectId,
    ) -> Result<NewAccessKey, Error> {
        self.project(caller, project).await?;
        caller.require_administrator()?;
        let (row, key) = self.new_access_key(user, project)?;
        self.commit(caller, "CreateAccessKey", key.id.clone(), self.store_access_key(&row)).await?;
        Ok(key)
    }

    pub(crate) fn new_access_key(
        &self,
        user: UserId,
        project: ProjectId,
    ) -> Result<(AccessKey, NewAccessKey), Error> {
        let (mut name, mut secret, mut nonce) = ([0; 10], [0; 30], [0; 24]);
        self.entropy.fill(&mut name);
        self.entropy.fill(&mut secret);
        self.entropy.fill(&mut nonce);
        let id = format!("TPAK{}", data_encoding::BASE32_NOPAD.encode(&name));
        let secret = data_encoding::BASE64URL_NOPAD.encode(&secret);
        let wrapped_secret = self.keyring.wrap(&id, secret.as_bytes(), nonce).map_err(Error::internal)?;
        let row = AccessKey {
            id: id.clone(),
            user_id: user,
            project_id: project,
            wrapped_secret,
            created_at: self.now(),
        };
        Ok((row, NewAccessKey { id, secret, user_id: user, project_id: project }))
    }

    pub(crate) async fn store_access_key(&self, row: &AccessKey) -> Result<(), Error> {
        match self.db.create_access_key(row).await? {
            CreateOutcome::Created => Ok(()),
            CreateOutcome::ParentMissing => Err(Error::not_found(Kind::User, row.user_id)),
            CreateOutcome::NameTaken(_) => Err(Error::internal("a random access key id is taken")),
        }
    }

    /// The access keys of a project the caller may act in: all for an administrator, else the
    /// caller's own.
    ///
    /// # Errors
    /// `NotFound` for an unknown or foreign project.
    pub async fn access_keys(
        &self,
        caller: &Caller,
        project: ProjectId,
    ) -> Result<Vec<AccessKeyView>, Error> {
        self.project(caller, project).await?;
        let mut keys = self.db.access_keys(project).await?;
        keys.retain(|c| caller.role == Role::Administrator || c.user.id == caller.user_id);
        Ok(keys.into_iter().map(view).collect())
    }

    /// Deletes an access key. Administrators only. No request it signed is accepted afterwards.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`.
    pub async fn delete_access_key(
        &self,
        caller: &Caller,
        project: ProjectId,
        key_id: &str,
    ) -> Result<(), Error> {
        self.project(caller, project).await?;
        caller.require_administrator()?;
        self.commit(caller, "DeleteAccessKey", key_id.to_owned(), async {
            let outcome = self.db.delete_access_key(project, key_id).await?;
            self.credentials.forget(key_id);
            deleted(outcome, Kind::AccessKey, key_id)
        })
        .await
    }
}

fn view(Credential { key, user }: Credential) -> AccessKeyView {
    AccessKeyView { id: key.id, user, project_id: key.project_id, created_at: key.created_at }
}

pub(crate) fn taken(kind: Kind, name: &str, id: impl ToString) -> Error {
    Error::AlreadyExists { kind, name: name.to_owned(), id: id.to_string() }
}

pub(crate) fn deleted(outcome: DeleteOutcome, kind: Kind, id: impl ToString) -> Result<(), Error> {
    match outcome {
        DeleteOutcome::Deleted => Ok(()),
        DeleteOutcome::NotFound => Err(Error::not_found(kind, id)),
        DeleteOutcome::InUse(by) => Err(Error::InUse { kind, id: id.to_string(), by }),
    }
}
