//! Who asks.

use tepui_db::model::Role;
use tepui_types::{ProjectId, UserId};

use crate::{Error, Turn};

/// The authenticated sender of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// What the user may do.
    pub role: Role,
    /// The project that the request acts in: that of the access key.
    pub project: ProjectId,
    /// The access key that signed the request; empty for the control plane itself.
    pub access_key_id: String,
    /// Names the request in logs, replies and audit records.
    pub request_id: String,
    /// Rehearse: authorize, validate, write and undo it, then answer [`Error::DryRunOk`].
    pub dry_run: bool,
    /// The request's place among those that are worked on.
    pub turn: Turn,
}

impl Caller {
    /// Lets only administrators pass.
    ///
    /// # Errors
    /// `Forbidden` for every other role.
    pub fn require_administrator(&self) -> Result<(), Error> {
        match self.role {
            Role::Administrator => Ok(()),
            Role::Member => Err(Error::Forbidden { needs: "administrator" }),
        }
    }
}
