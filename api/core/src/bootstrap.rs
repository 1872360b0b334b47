//! The first project and its administrator.

use tepui_db::CreateOutcome;
use tepui_db::model::{Credential, Project, Role, User};
use tepui_types::ProjectId;

use crate::{Cloud, Error, NewAccessKey};

/// The first credential of a cloud.
#[derive(Clone, PartialEq, Eq)]
pub struct Bootstrapped {
    /// The project `default`.
    pub project_id: ProjectId,
    /// A key of the user `admin` in it.
    pub key: NewAccessKey,
}

impl Cloud {
    /// Makes the project `default`, the user `admin` and an access key, or finds them: repeated, also
    /// after it was cut off, it gives the same answer.
    ///
    /// # Errors
    /// Those of the store, or `Internal` when the key file is not the one of the database.
    pub async fn bootstrap(&self) -> Result<Bootstrapped, Error> {
        let project = self.first_project().await?;
        let user = self.first_user().await?;
        let keys = self.db.access_keys(project.id).await?;
        let key = match keys.iter().find(|credential| credential.user.id == user.id) {
            Some(credential) => self.reopened(credential)?,
            None => self.first_key(&user, &project).await?,
        };
        Ok(Bootstrapped { project_id: project.id, key })
    }

    async fn first_project(&self) -> Result<Project, Error> {
        const NAME: &str = "default";
        let projects = self.db.projects().await?;
        if let Some(project) = projects.into_iter().find(|project| project.name == NAME) {
            return Ok(project);
        }
        let project = self.new_project(NAME, None);
        self.store_project(&project, &self.default_network(project.id)).await?;
        Ok(project)
    }

    async fn first_user(&self) -> Result<User, Error> {
        let user = self.new_user("admin", Role::Administrator);
        match self.db.create_user(&user).await? {
            CreateOutcome::Created => Ok(user),
            CreateOutcome::NameTaken(id) => {
                let found = self.db.users().await?.into_iter().find(|user| user.id == id);
                found.ok_or_else(|| Error::internal("the user admin vanished"))
            }
            CreateOutcome::ParentMissing => Err(Error::internal("a user has no parent")),
        }
    }

    async fn first_key(&self, user: &User, project: &Project) -> Result<NewAccessKey, Error> {
        let (row, key) = self.new_access_key(user.id, project.id)?;
        self.store_access_key(&row).await?;
        Ok(key)
    }

    fn reopened(&self, credential: &Credential) -> Result<NewAccessKey, Error> {
        let key = &credential.key;
        Ok(NewAccessKey {
            id: key.id.clone(),
            secret: self.open_secret(credential)?,
            user_id: key.user_id,
            project_id: key.project_id,
        })
    }
}
