//! Why a certificate could not be made or read.

use std::path::PathBuf;

use crate::files::FileError;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key or certificate file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not hold what its name says.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What its parser met.
        source: rcgen::Error,
    },
    /// A certificate exists, but the key it was made with is gone.
    #[error("{} is there but its key {} is not: restore the key from a backup", certificate.display(), key.display())]
    KeyMissing {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// A name of the server certificate is neither a DNS name nor an address.
    #[error("'{name}' is neither a DNS name nor an address")]
    BadName {
        /// The name.
        name: String,
    },
    /// A node's request for a certificate was refused.
    #[error("the certificate signing request is refused")]
    BadRequest(#[source] rcgen::Error),
    /// TLS refuses what was made.
    #[error("TLS cannot use the certificate")]
    Tls(#[from] rustls::Error),
    /// TLS cannot check clients against the authority.
    #[error("TLS cannot check clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}
