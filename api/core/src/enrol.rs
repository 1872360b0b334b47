//! How a host becomes a node. Certificates are made by the server; here stands who may have one.

use sha2::{Digest as _, Sha256};
use tepui_db::model::{JoinToken, Role};
use tepui_db::{Certificate, EnrolOutcome, NewNode};
use tepui_types::agent::{EnrolRequest, PartKey};
use tepui_types::{NodeId, ProjectId, Timestamp, UserId};

use crate::admission::Turn;
use crate::failpoint::{Passed, pass};
use crate::{Caller, Cloud, Error};

/// A new join token. The secret is shown this once.
#[derive(Clone, PartialEq, Eq)]
pub struct NewJoinToken {
    /// 43 characters.
    pub secret: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Cloud {
    /// Makes a token that lets one host join. Administrators only.
    ///
    /// # Errors
    /// `Forbidden`.
    pub async fn create_join_token(&self, caller: &Caller) -> Result<NewJoinToken, Error> {
        caller.require_administrator()?;
        let mut bytes = [0; 32];
        self.entropy.fill(&mut bytes);
        let secret = data_encoding::BASE64URL_NOPAD.encode(&bytes);
        let expires_at = self.now().checked_add(self.config.join_token_life).map_err(Error::internal)?;
        let token = JoinToken {
            secret_sha256: Sha256::digest(&secret).into(),
            expires_at,
            project_id: caller.project,
            user_id: caller.user_id,
        };
        self.commit(caller, "CreateJoinToken", String::new(), async {
            Ok(self.db.create_join_token(&token).await?)
        })
        .await?;
        Ok(NewJoinToken { secret, expires_at })
    }

    /// Takes a host in; the same host may repeat it with the same token. It is a call of whoever made the
    /// token, and recorded as theirs. A token that nobody made is in the log alone: anybody can send one.
    ///
    /// # Errors
    /// `InvalidInput`, `JoinRefused` for an unknown, expired or used token, and for a copy of a host that is up.
    pub async fn enrol(&self, request: &EnrolRequest, request_id: &str) -> Result<NodeId, Error> {
        let secret = Sha256::digest(&request.token).into();
        let turn = self.host_turn().await?;
        let maker = self.db.join_token_maker(&secret).await?;
        drop(turn);
        let Some(maker) = maker else {
            let address = request.underlay_address;
            tracing::warn!(%address, request_id, "an enrolment that nobody asked for");
            return Err(unknown_token());
        };
        let outcome = self.take_in(&secret, request).await;
        let (told, resource) = match &outcome {
            Ok(node) => ("ok", node.to_string()),
            Err(error) => (error.name(), request.underlay_address.to_string()),
        };
        self.record(&by(maker, request_id), "EnrolNode", resource, told).await;
        outcome
    }

    async fn take_in(&self, secret: &[u8; 32], request: &EnrolRequest) -> Result<NodeId, Error> {
        crate::limits::check_name("name", &request.name, 64)?;
        self.check_outside_of_pool(request.underlay_address)?;
        let mut node = NewNode {
            id: NodeId::from_random(self.random()),
            machine_uuid: request.machine_uuid,
            name: request.name.clone(),
            underlay_address: request.underlay_address,
            may_move: false,
            capacity: request.capacity,
        };
        let mut outcome = self.db.enrol_node(secret, &node, self.now()).await?;
        if let EnrolOutcome::Elsewhere { node: known, .. } = outcome
            && self.fleet.is_silent(known, self.steady(), self.config.node_timeout)
        {
            node.may_move = true;
            outcome = self.db.enrol_node(secret, &node, self.now()).await?;
        }
        let (reason, why) = match outcome {
            EnrolOutcome::Enrolled(id) => {
                let passed = pass("core::enrol::enrolled")?;
                self.fleet.seen(id, self.steady());
                self.wake_neighbours(passed, id).await?;
                pass("core::enrol::woken")?;
                return Ok(id);
            }
            EnrolOutcome::UnknownToken => return Err(unknown_token()),
            EnrolOutcome::Expired(at) => ("token_expired", format!("it ended at {at}; make a new one")),
            EnrolOutcome::UsedByOther => ("token_used", "another host used it; make a new one".into()),
            // A copy of a host's data_dir has its UUID, and would take its node over and start its guests a
            // second time. A host whose address did change is silent: its agent does not start until it
            // joined again.
            EnrolOutcome::Elsewhere { address, .. } => (
                "host_is_up",
                format!(
                    "this host is up at {address}; on a copy of it remove data_dir and join anew, and if its address \
                 changed stop its agent and join again once 'tepui node list' shows it unreachable"
                ),
            ),
        };
        Err(Error::JoinRefused { reason, why })
    }

    /// A host that joins again may have another address, which every node of its VPCs must know.
    async fn wake_neighbours(&self, passed: Passed, node: NodeId) -> Result<(), Error> {
        for part in self.db.part_generations(node).await? {
            if let PartKey::Vpc(vpc) = part.key {
                self.wakes.wake_vpc(passed, vpc);
            }
        }
        Ok(())
    }

    /// Binds a node to a new certificate. The one before stays valid until this one is first used.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn bind_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<(), Error> {
        self.db.put_certificate(node, sha256).await?;
        pass("core::enrol::certified").map(drop)
    }

    /// Whether this certificate may act for the node; asked once for each connection.
    ///
    /// # Errors
    /// Only those of the store.
    pub async fn confirm_certificate(&self, node: NodeId, sha256: &[u8; 32]) -> Result<bool, Error> {
        let turn = self.host_turn().await?;
        let certificate = self.db.certificate(node, sha256).await?;
        drop(turn);
        match certificate {
            Certificate::Current => Ok(true),
            Certificate::Pending => Ok(self.db.promote_certificate(node, sha256).await?),
            Certificate::Foreign => Ok(false),
        }
    }
}

fn unknown_token() -> Error {
    Error::JoinRefused { reason: "unknown_token", why: "there is no such token".into() }
}

/// A host that acts for the maker of its token.
pub(crate) fn by((project, user_id): (ProjectId, UserId), request_id: &str) -> Caller {
    Caller {
        user_id,
        user_name: String::new(),
        role: Role::Member,
        project,
        access_key_id: String::new(),
        request_id: request_id.into(),
        dry_run: false,
        turn: Turn::default(),
    }
}
