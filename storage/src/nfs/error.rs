//! What goes wrong with ganesha.

use std::io;
use std::path::PathBuf;

/// Why ganesha does not serve as it must.
#[derive(Debug, thiserror::Error)]
pub enum NfsError {
    /// Ganesha or rpcbind does not start.
    #[error("NFS is not served: {reason}")]
    Start {
        /// What they said last.
        reason: String,
    },
    /// Ganesha does not run.
    #[error("ganesha.nfsd does not run")]
    Away,
    /// Ganesha does not follow its configuration.
    #[error("ganesha.nfsd does not take its configuration: {reason}")]
    Silent {
        /// What it said last.
        reason: String,
    },
    /// Ganesha's log was emptied since it said last what it serves.
    #[error("ganesha.nfsd has not said what it serves")]
    Untold,
    /// Ganesha refuses an export.
    #[error("ganesha.nfsd does not serve {}", folder.display())]
    Refused {
        /// Its folder.
        folder: PathBuf,
    },
    /// Ganesha knows no more than 65535 exports at once.
    #[error("all 65535 numbers of exports are in use")]
    Numbers,
    /// A file of the agent's.
    #[error("{}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A process cannot be started, watched or told.
    #[error("ganesha.nfsd or rpcbind cannot be ruled")]
    Process {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NfsError {
    pub(super) fn process(source: io::Error) -> Self {
        Self::Process { source }
    }
}
