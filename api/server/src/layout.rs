//! Where the control plane keeps what under `data_dir`.

use std::path::{Path, PathBuf};

/// The folders and files of one control plane.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout under `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { root: data_dir.into() }
    }

    /// `data_dir` itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("db.sqlite3")
    }

    /// Images by their digest.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Image files on their way from a URL.
    pub fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// Image files on their way from clients, one folder an upload.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The ends of serial consoles.
    pub fn consoles(&self) -> PathBuf {
        self.root.join("consoles")
    }

    /// Where a running control plane takes orders from this machine's operator.
    pub fn admin_socket(&self) -> PathBuf {
        self.root.join("admin.sock")
    }

    /// The key that wraps the secrets of access keys.
    pub fn secrets_key(&self) -> PathBuf {
        self.root.join("secrets.key")
    }

    /// Certificates and their keys.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// The authority's certificate, which agents pin.
    pub fn ca_certificate(&self) -> PathBuf {
        self.pki().join("ca.pem")
    }

    /// The authority's private key.
    pub fn ca_key(&self) -> PathBuf {
        self.pki().join("ca.key")
    }

    /// The certificate that proves instance identity documents.
    pub fn identity_certificate(&self) -> PathBuf {
        self.pki().join("identity.pem")
    }

    /// The private key that signs instance identity documents.
    pub fn identity_key(&self) -> PathBuf {
        self.pki().join("identity.key")
    }
}
