//! What tgtd has, whoever made it.

use std::collections::BTreeSet;

use tepui_types::ExportId;
use tepui_types::agent::{iscsi_account, iscsi_initiator};

use super::names::export_of;
use super::show::{Session, Target};
use super::{Tgt, TgtError};
use crate::{Access, Connection, Found};

/// For the doctor.
impl Tgt {
    /// The accounts that are bound to no target of ours: whatever opens by them, or will, nobody ordered it.
    ///
    /// # Errors
    /// tgtd gives no answer.
    pub async fn stray_accounts(&self) -> Result<Vec<String>, TgtError> {
        // Asked for first: one that is made and bound meanwhile is not among them.
        let accounts = self.control().accounts().await?;
        let targets = self.control().targets().await?;
        let own = targets.iter().filter(|target| export_of(&target.name).is_some());
        let bound: BTreeSet<&String> = own.flat_map(|target| &target.accounts).collect();
        Ok(accounts.iter().filter(|account| !bound.contains(account)).cloned().collect())
    }

    /// Where tgtd serves, if that is not at its portal alone.
    ///
    /// # Errors
    /// tgtd gives no answer.
    pub async fn other_portals(&self) -> Result<Option<String>, TgtError> {
        let (found, own) = (self.control().portals().await?, self.daemon.portal().to_string());
        Ok((found != [own]).then(|| found.join(", ")))
    }

    /// Whether somebody listens at the portal, or may do so: also a tgtd whose management socket is gone.
    pub async fn serves(&self) -> bool {
        self.daemon.serves().await
    }
}

pub(super) fn found(target: &Target) -> Found {
    let id = export_of(&target.name);
    let unit = target.units.iter().find(|unit| unit.path.is_some());
    Found {
        name: target.name.clone(),
        id,
        path: unit.and_then(|unit| unit.path.as_ref()).map(Into::into),
        access: if unit.is_some_and(|unit| unit.read_only) { Access::ReadOnly } else { Access::ReadWrite },
        open: !target.admitted.is_empty(),
        connections: target.sessions.iter().map(connection).collect(),
        others: id.map(|id| others(target, id)).unwrap_or_default(),
    }
}

/// Whom a target of ours lets in that was not told to. tgt asks nobody for a password where no account is bound.
fn others(target: &Target, id: ExportId) -> Vec<String> {
    let (account, initiator) = (iscsi_account(id), iscsi_initiator(id));
    let admitted = target.admitted.iter().filter(|other| **other != initiator);
    let accounts = target.accounts.iter().filter(|other| **other != account);
    let admitted = admitted.map(|other| format!("the initiator {other}"));
    let accounts = accounts.map(|other| format!("the account {other}"));
    let asks_nobody = !target.admitted.is_empty() && target.accounts.is_empty();
    admitted.chain(accounts).chain(asks_nobody.then(|| "whoever knows no password".to_owned())).collect()
}

pub(super) fn connection(session: &Session) -> Connection {
    Connection { peer: session.initiator.clone(), address: session.address }
}
