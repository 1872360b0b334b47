//! Joining a cloud with a single-use token.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use tepui_types::Digest;
use tepui_types::agent::{EnrolRequest, NodeCapacity};
use url::Url;
use uuid::Uuid;

use super::home::settle;
use super::{Identity, IdentityError, machine_uuid, signing_request};
use crate::link::{PinnedCa, enrol};

/// A join token: a secret, and the hash of the CA that the secret may be told to.
#[derive(Clone)]
pub struct JoinToken {
    secret: String,
    ca: Digest,
}

/// The text is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a join token is SECRET.HASH, with the 64 hexadecimal digits of the CA's SHA-256 after the point")]
pub struct ParseJoinTokenError;

/// A token could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadJoinTokenError {
    /// Standard input cannot be read.
    #[error("could not read the join token from standard input")]
    Input(#[from] io::Error),
    /// The text is no token.
    #[error(transparent)]
    Text(#[from] ParseJoinTokenError),
}

impl JoinToken {
    /// The token of an argument; `-` stands for the text of `input`.
    pub fn read(argument: &str, input: impl Read) -> Result<Self, ReadJoinTokenError> {
        let text = if argument == "-" { io::read_to_string(input)? } else { argument.to_owned() };
        Ok(text.parse()?)
    }
}

impl FromStr for JoinToken {
    type Err = ParseJoinTokenError;

    fn from_str(text: &str) -> Result<Self, ParseJoinTokenError> {
        let (secret, ca) = text.trim().rsplit_once('.').ok_or(ParseJoinTokenError)?;
        if secret.is_empty() {
            return Err(ParseJoinTokenError);
        }
        let ca = ca.parse().map_err(|_| ParseJoinTokenError)?;
        Ok(Self { secret: secret.to_owned(), ca })
    }
}

/// What the host tells about itself when it joins.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The control plane's address for agents.
    pub api_url: Url,
    /// The host's name, for people.
    pub name: String,
    /// Where other hosts reach it.
    pub underlay_address: Ipv4Addr,
    /// What it offers.
    pub capacity: NodeCapacity,
}

/// Joins: writes the identity into `dir`. May be repeated with the same token by the same host, because
/// the host's UUID (`random`, when it has none yet) is written first.
pub async fn join(
    dir: &Path,
    joining: &Joining,
    token: &JoinToken,
    random: Uuid,
) -> Result<Identity, IdentityError> {
    let machine_uuid = machine_uuid(dir, random)?;
    let (key, csr_pem) = signing_request(&joining.name)?;
    let request = EnrolRequest {
        token: token.secret.clone(),
        machine_uuid,
        name: joining.name.clone(),
        csr_pem,
        underlay_address: joining.underlay_address,
        capacity: joining.capacity,
    };
    let pinned = PinnedCa::new(token.ca);
    let config = pinned.config().map_err(IdentityError::Tls)?;
    let reply = enrol(&joining.api_url, config, &request).await.map_err(IdentityError::Link)?;
    let identity = Identity {
        node_id: reply.node_id,
        ca_pem: pem(pinned.found().ok_or(IdentityError::NoCa)?),
        certificate_pem: reply.certificate_pem,
        key_pem: key.serialize_pem(),
    };
    identity.store(dir)?;
    settle(dir, joining.underlay_address)?;
    Identity::load(dir)
}

/// The PEM form of a certificate (RFC 7468: base64 in lines of 64).
fn pem(der: &CertificateDer<'_>) -> String {
    let text = BASE64.encode(der);
    let mut lines = vec!["-----BEGIN CERTIFICATE-----".to_owned()];
    lines.extend(text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()));
    lines.push("-----END CERTIFICATE-----\n".to_owned());
    lines.join("\n")
}
