//! What serves volumes to compute hosts, behind one trait.
//!
//! A volume has one writer. Each time it is given to somebody is an **export** with an account, a secret, an initiator
//! name and a target's name that no other export has, all made of an id that never comes back. A credential that was
//! valid before opens nothing that came after it, so that a write that hung on an old connection has nowhere to land.
//!
//! ```text
//!   (none) ──ensure──▶ open ──revoke──▶ shut ──no connection left──▶ gone
//!                                        └──deadline──▶ StillConnected, to be revoked again
//! ```
//! The trait is made for tgt, ganesha (a folder of its own per export, admitted by the host's address as NFS knows no
//! password), a filer of others (a user and a file of its own per export), LIO and Ceph RBD (a key and a lock per export).

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tepui_types::failpoint::Tripped;
use tepui_types::{ExportId, VolumeId};

use crate::iscsi::TgtError;
use crate::nfs::NfsError;

/// Whether a host may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Many may have the volume so.
    ReadOnly,
    /// One may.
    ReadWrite,
}

/// Who may open an export. Names of accounts and initiators are made of the export's id, so that no two
/// exports can share one. `Debug` does not show the secret, and dropping it wipes it.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The secret, made for this export alone.
    pub secret: SecretString,
    /// The address of the compute host, for backends that know no secrets.
    pub address: IpAddr,
}

/// A volume's file given to one host. The content of an id never changes.
#[derive(Debug, Clone)]
pub struct Export {
    /// Which.
    pub id: ExportId,
    /// The volume, by whose id the guest knows the disk.
    pub volume: VolumeId,
    /// The volume's raw file.
    pub path: PathBuf,
    /// Whether it may be written.
    pub access: Access,
    /// Who may open it.
    pub credential: Credential,
}

/// What a compute host needs, beside its credential, to open an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A file on the host itself.
    File {
        /// Where.
        path: PathBuf,
    },
    /// A logical unit of an iSCSI target.
    Iscsi {
        /// Address and port.
        portal: std::net::SocketAddr,
        /// The target's name.
        target: String,
        /// The logical unit.
        lun: u64,
        /// The account whose secret the credential has.
        account: String,
        /// The name under which the initiator must come.
        initiator: String,
    },
    /// A file in an export over NFS 3.
    Nfs {
        /// The server, at the protocol's ports.
        server: Ipv4Addr,
        /// The file as the server names it.
        path: PathBuf,
        /// Who its clients say that they are. A server of ours takes all for this user.
        user: u32,
        /// The user's group.
        group: u32,
    },
}

/// Somebody who has an export open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// What the backend calls the peer: an initiator's name, a process.
    pub peer: String,
    /// Its address, if it has one that is known.
    pub address: Option<IpAddr>,
}

/// What came of revoking an export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the next export may be opened only once the last one is gone"]
pub enum Revoked {
    /// Its credential opens nothing, nobody has it open, and no write of it can land any more.
    Gone,
    /// Nobody can open it anew, but these have it open still.
    StillConnected(Vec<Connection>),
}

/// An export that a backend has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the backend calls it.
    pub name: String,
    /// Whose it is; `None` for one that is none of ours.
    pub id: Option<ExportId>,
    /// The file, once it has one.
    pub path: Option<PathBuf>,
    /// Whether it may be written.
    pub access: Access,
    /// Whether its credential opens it; it does not while it is half made or revoked.
    pub open: bool,
    /// Who has it open.
    pub connections: Vec<Connection>,
    /// Whom it lets in beside its own client, by the server's words. Of what is none of ours nothing is said.
    pub others: Vec<String>,
}

/// Why an export is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A field that the backend cannot carry. Secrets are not shown.
    #[error("{id}: {field} {rule}")]
    Invalid {
        /// The export.
        id: ExportId,
        /// The field.
        field: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// Somebody else may still write the volume, or read what this one would write.
    #[error("{id} cannot open before {holder} is gone")]
    Held {
        /// The export.
        id: ExportId,
        /// The one in the way.
        holder: String,
    },
    /// The id is there with other content, or its place is taken.
    #[error("{id} is there with another {what}: {found}")]
    Conflict {
        /// The export.
        id: ExportId,
        /// What differs.
        what: &'static str,
        /// What is there.
        found: String,
    },
    /// The file of the volume.
    #[error("{}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// tgtd refused or does not answer.
    #[error(transparent)]
    Tgt(#[from] TgtError),
    /// ganesha refused or does not answer.
    #[error(transparent)]
    Nfs(#[from] NfsError),
    /// The process ends.
    #[error("the agent ends")]
    Stopped,
    /// A test made it fail.
    #[error(transparent)]
    Failpoint(#[from] Tripped),
}

impl ExportError {
    /// Whether the server does not run, as far as can be told where it is ruled from.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::Tgt(error) => error.is_absence(),
            Self::Nfs(error) => matches!(error, NfsError::Away),
            Self::Invalid { .. }
            | Self::Held { .. }
            | Self::Conflict { .. }
            | Self::File { .. }
            | Self::Stopped
            | Self::Failpoint(_) => false,
        }
    }
}

/// Serves volumes. Each call may be repeated, and the agent may die in the middle of any: the same call then goes on.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Makes the server run with these exports, and lets nobody in before they are all there. Takes over one that
    /// runs, with what it serves; exports that are not named are left alone, as only an order removes one. Returns
    /// those that could not be made. Where there is no server of ours that is to open them.
    ///
    /// # Errors
    /// The server cannot be made to run.
    async fn recover(&self, exports: &[Export]) -> Result<Vec<(ExportId, ExportError)>, ExportError> {
        let mut failed = Vec::new();
        for export in exports {
            failed.extend(self.ensure(export).await.err().map(|error| (export.id, error)));
        }
        Ok(failed)
    }

    /// Opens an export, and one that is open already in the size that its file has by now.
    ///
    /// # Errors
    /// Another writer of the volume is not gone yet; the server refuses.
    async fn ensure(&self, export: &Export) -> Result<Source, ExportError>;

    /// The same of many, each with what came of it, in their order.
    ///
    /// # Errors
    /// The server gives no answer.
    async fn ensure_all(&self, exports: &[Export]) -> Result<Vec<Result<Source, ExportError>>, ExportError> {
        let mut opened = Vec::new();
        for export in exports {
            opened.push(self.ensure(export).await);
        }
        Ok(opened)
    }

    /// Ends an export: nobody opens it any more, and who has it open is cut off, within `patience`. One that is not
    /// there is gone, as is every one of a server that does not run.
    ///
    /// # Errors
    /// The server refuses or gives no answer.
    async fn revoke(&self, id: ExportId, patience: Duration) -> Result<Revoked, ExportError>;

    /// Everything that the server has, for the doctor: it changes nothing, starts nothing, and asks the server and not
    /// what this process knows of it. A backend without a server tells what it knows from its caller.
    ///
    /// # Errors
    /// The server does not run ([`ExportError::is_absence`]) or gives no answer.
    async fn list(&self) -> Result<Vec<Found>, ExportError>;
}

/// The exports of a backend that keeps no ledger and knows them from its caller alone.
pub(crate) type Known = BTreeMap<ExportId, (PathBuf, Access)>;

/// What such a backend has, without who is connected.
pub(crate) fn all(exports: &Known) -> Vec<Found> {
    let found = |(id, (path, access)): (&ExportId, &(PathBuf, Access))| Found {
        name: id.to_string(),
        id: Some(*id),
        path: Some(path.clone()),
        access: *access,
        open: true,
        connections: vec![],
        others: vec![],
    };
    exports.iter().map(found).collect()
}

/// Refuses an export that would be the second writer of its volume, or a reader beside one. `found` is all that the
/// backend has, the export itself possibly included.
pub(crate) fn refuse_second(export: &Export, found: &[Found]) -> Result<(), ExportError> {
    let id = export.id;
    for other in found.iter().filter(|other| other.id != Some(id)) {
        let writes = export.access == Access::ReadWrite || other.access == Access::ReadWrite;
        if writes && other.path.as_ref() == Some(&export.path) {
            let holder = other.id.map_or_else(|| other.name.clone(), |id| id.to_string());
            return Err(ExportError::Held { id, holder });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(number: u128, access: Access) -> Export {
        Export {
            id: ExportId::from_random(number),
            volume: VolumeId::from_random(1),
            path: "/pool/disk.raw".into(),
            access,
            credential: Credential {
                secret: "never to be shown".into(),
                address: IpAddr::from([127, 0, 0, 1]),
            },
        }
    }

    fn found(of: &Export) -> Found {
        Found {
            name: of.id.to_string(),
            id: Some(of.id),
            path: Some(of.path.clone()),
            access: of.access,
            open: true,
            connections: vec![],
            others: vec![],
        }
    }

    #[test]
    fn one_writer_or_many_readers() {
        use Access::{ReadOnly, ReadWrite};
        for ((number, access), (other, other_access), fits) in [
            ((1, ReadWrite), (1, ReadWrite), true),
            ((1, ReadOnly), (2, ReadOnly), true),
            ((1, ReadWrite), (2, ReadWrite), false),
            ((1, ReadWrite), (2, ReadOnly), false),
            ((1, ReadOnly), (2, ReadWrite), false),
        ] {
            let (new, old) = (export(number, access), export(other, other_access));
            assert_eq!(refuse_second(&new, &[found(&old)]).is_ok(), fits, "{} {}", new.id, old.id);
        }
        let mut foreign = found(&export(1, ReadWrite));
        foreign.id = None;
        let error = refuse_second(&export(1, ReadWrite), &[foreign]).unwrap_err();
        assert!(
            matches!(error, ExportError::Held { .. }),
            "a target that is none of ours writes too: {error}"
        );
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?}", export(1, Access::ReadOnly));
        assert!(shown.contains("127.0.0.1") && !shown.contains("never"), "{shown}");
    }
}
