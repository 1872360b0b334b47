//! Verification of AWS Signature Version 4, in an `Authorization` header or in the query ("Create a
//! signed AWS API request", AWS IAM user guide).
//!
//! Host and date must be signed, and so must every `x-amz-` header that is there; the body always
//! is, by its digest. Any region name is accepted, since clients invent one for a private endpoint.
//! An unknown key is checked against a secret that nobody has, so that it costs what a wrong
//! signature costs.

mod canonical;
mod credential;
mod key_cache;
#[cfg(test)]
mod sdk_tests;
#[cfg(test)]
mod tests;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

pub use canonical::canonical_request;
pub(crate) use credential::Signature;
pub(crate) use key_cache::KeyCache;

use credential::Lifetime;

use crate::service::Request;

/// How far a client's clock may be off, in seconds: five minutes, as EC2 allows.
const MAX_SKEW: i64 = 300;
/// What an unknown key is checked against.
const NOBODYS_SECRET: &str = "no key has this secret of forty letters.";

/// Why a request is not taken for its key's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// Neither form of a signature is there.
    #[error("the request carries no signature")]
    Missing,
    /// The signature cannot be read, or does not cover what it must.
    #[error("the request's signature is incomplete: {0}")]
    Incomplete(&'static str),
    /// Too old, or from the future.
    #[error("the request's time {signed_at} is not within the time allowed around {now}")]
    Expired {
        /// When it says it was signed.
        signed_at: Timestamp,
        /// The cloud's time.
        now: Timestamp,
    },
    /// Another key, secret or request.
    #[error("the request's signature does not match")]
    Mismatch,
}

/// Checks a signature that was read from `request`. `secret` is that of the key it names, `None` when
/// there is no such key.
pub(crate) fn verify(
    request: &Request<'_>,
    signature: &Signature<'_>,
    secret: Option<&str>,
    keys: &KeyCache,
    now: Timestamp,
) -> Result<(), SignatureError> {
    check_time(signature, now)?;
    let text = string_to_sign(request, signature)?;
    let (key, is_kept) = keys.get(signature, secret.unwrap_or(NOBODYS_SECRET));
    let equal = equal(&key.sign(text.as_bytes()), &signature.bytes);
    if !equal || secret.is_none() {
        return Err(SignatureError::Mismatch);
    }
    if !is_kept {
        keys.keep(signature, key);
    }
    Ok(())
}

/// The verification of a request on its own, for measuring it: what [`crate::Ec2::handle`] does before
/// it reads anything else of a request.
#[derive(Default)]
pub struct Verifier(KeyCache);

impl Verifier {
    /// Whether the request is signed with the secret.
    pub fn accepts(&self, request: &Request<'_>, secret: &str, now: Timestamp) -> bool {
        let signature = Signature::read(request);
        signature.is_ok_and(|signature| verify(request, &signature, Some(secret), &self.0, now).is_ok())
    }
}

/// In a time that tells nothing of where they differ; by halves, as each step has its cost.
fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let halves = |bytes: &[u8; 32]| [0, 1].map(|half| u128::from_ne_bytes(bytes.as_chunks().0[half]));
    halves(a).ct_eq(&halves(b)).into()
}

fn check_time(signature: &Signature<'_>, now: Timestamp) -> Result<(), SignatureError> {
    let age = now.as_second() - signature.signed_at.as_second();
    let oldest = match signature.lifetime {
        Lifetime::Header => MAX_SKEW,
        Lifetime::Query { seconds } => seconds,
    };
    if (-MAX_SKEW..=oldest).contains(&age) {
        return Ok(());
    }
    Err(SignatureError::Expired { signed_at: signature.signed_at, now })
}

fn string_to_sign(request: &Request<'_>, signature: &Signature<'_>) -> Result<String, SignatureError> {
    let canonical = canonical_request(request, &signature.signed_headers)
        .ok_or(SignatureError::Incomplete("a signed header is missing or the request cannot be read"))?;
    let mut text = String::with_capacity(160);
    text.extend(["AWS4-HMAC-SHA256\n", signature.date_time, "\n", signature.scope(), "\n"]);
    HEXLOWER.encode_append(&Sha256::digest(canonical.as_bytes()), &mut text);
    Ok(text)
}
