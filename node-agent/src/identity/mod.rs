//! Who this node is: a UUID of its own, a key and the certificate for it, the control plane's CA.
//! Key and certificate are one file, so that a renewal replaces both or neither.

mod home;
mod join;
mod renew;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tepui_types::{NodeId, Timestamp};
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::durable;
use crate::link::LinkError;

pub(crate) use home::check_home;
pub use home::{come_home, keep_home};
pub use join::{JoinToken, Joining, ParseJoinTokenError, ReadJoinTokenError, join};
pub use renew::{Validity, renew};

const CA_FILE: &str = "ca.pem";
const NODE_FILE: &str = "node.pem";
const MACHINE_FILE: &str = "machine-uuid";

/// Why there is no identity, or no new one.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The host never joined.
    #[error(
        "{0} does not exist: this host has not joined a cloud; run `tepui-node --config FILE join TOKEN`"
    )]
    NotJoined(PathBuf),
    /// The file system refused.
    #[error("could not read or write {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file does not hold what it should.
    #[error(
        "{path} does not hold {expected}: restore it from a backup, or run `tepui-node --config FILE join TOKEN`; \
         guests run on meanwhile"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// No key or signing request could be made.
    #[error("could not make a key and a signing request")]
    Key(#[source] rcgen::Error),
    /// The TLS library refused.
    #[error("could not set up TLS")]
    Tls(#[source] rustls::Error),
    /// The control plane refused or is away.
    #[error("the control plane gave no certificate")]
    Link(#[source] LinkError),
    /// The identity is another host's.
    #[error(
        "underlay_address = {configured}: this identity joined as the host at {joined} ({path}): remove data_dir on \
         a host that was cloned, or run `tepui-node --config FILE join TOKEN` on one whose address changed"
    )]
    Elsewhere {
        /// Which file says so.
        path: PathBuf,
        /// Where it belongs.
        joined: Ipv4Addr,
        /// What the configuration says.
        configured: Ipv4Addr,
    },
    /// The configured address is another host's, or is still to come.
    #[error("underlay_address = {address}: must be an address of this host")]
    NotOurs {
        /// The address.
        address: Ipv4Addr,
    },
    /// The system does not tell.
    #[error("could not list the addresses of this host")]
    Addresses(#[source] nix::Error),
    /// The handshake told no CA.
    #[error("the server showed no certificate of the join token's CA")]
    NoCa,
}

/// A joined node's identity.
#[derive(Clone)]
pub struct Identity {
    /// The node's id, from the certificate.
    pub node_id: NodeId,
    /// The control plane's CA.
    pub ca_pem: String,
    /// The node's certificate.
    pub certificate_pem: String,
    /// The key of the certificate.
    pub key_pem: String,
}

impl Identity {
    /// Reads the identity in `dir`.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let (ca_file, node_file) = (dir.join(CA_FILE), dir.join(NODE_FILE));
        if !node_file.exists() {
            return Err(IdentityError::NotJoined(node_file));
        }
        let ca_pem = read(&ca_file)?;
        if CertificateDer::from_pem_slice(ca_pem.as_bytes()).is_err() {
            return Err(IdentityError::Content {
                path: ca_file,
                expected: "the control plane's certificate",
            });
        }
        let node_pem = read(&node_file)?;
        let content = |expected| IdentityError::Content { path: node_file.clone(), expected };
        let begin =
            node_pem.find("-----BEGIN CERTIFICATE").ok_or_else(|| content("a key and a certificate"))?;
        let (key_pem, certificate_pem) = node_pem.split_at(begin);
        let node_id = node_id(certificate_pem).ok_or_else(|| content("a certificate of a node"))?;
        Ok(Self { node_id, ca_pem, certificate_pem: certificate_pem.into(), key_pem: key_pem.into() })
    }

    /// Writes the identity into `dir`, mode 0600.
    pub fn store(&self, dir: &Path) -> Result<(), IdentityError> {
        write(&dir.join(CA_FILE), self.ca_pem.as_bytes())?;
        let node_pem = format!("{}{}", self.key_pem, self.certificate_pem);
        write(&dir.join(NODE_FILE), node_pem.as_bytes())
    }

    /// When the certificate holds.
    pub fn validity(&self) -> Option<Validity> {
        let der = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        let seconds = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
        let validity = certificate.validity();
        Some(Validity { not_before: seconds(validity.not_before)?, not_after: seconds(validity.not_after)? })
    }
}

fn node_id(certificate_pem: &str) -> Option<NodeId> {
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    name.parse().ok()
}

/// The machine's UUID; made from `random` when there is none yet.
pub fn machine_uuid(dir: &Path, random: Uuid) -> Result<Uuid, IdentityError> {
    let path = dir.join(MACHINE_FILE);
    if !path.exists() {
        write(&path, format!("{random}\n").as_bytes())?;
    }
    read(&path)?.trim().parse().map_err(|_| IdentityError::Content { path, expected: "a UUID" })
}

/// A new key and the request to certify it for `name`.
fn signing_request(name: &str) -> Result<(KeyPair, String), IdentityError> {
    let key = KeyPair::generate().map_err(IdentityError::Key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let request = params.serialize_request(&key).map_err(IdentityError::Key)?;
    let pem = request.pem().map_err(IdentityError::Key)?;
    Ok((key, pem))
}

fn read(path: &Path) -> Result<String, IdentityError> {
    fs::read_to_string(path).map_err(|source| IdentityError::File { path: path.into(), source })
}

fn write(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let parent = path.parent().map_or(Ok(()), fs::create_dir_all);
    parent
        .and_then(|()| durable::write(path, content, 0o600))
        .map_err(|source| IdentityError::File { path: path.into(), source })
}
