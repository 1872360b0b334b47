//! Reads the signature that a request carries.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::SignatureError;
use super::SignatureError::{Incomplete, Missing};
use crate::service::Request;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// A week, the longest life of a signature in a query.
const MAX_EXPIRES: i64 = 7 * 86_400;

/// How long a signature holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Within the allowed skew.
    Header,
    /// `X-Amz-Expires`.
    Query { seconds: i64 },
}

/// A signature as the request states it; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature<'a> {
    pub(crate) key_id: Cow<'a, str>,
    pub(super) region: Cow<'a, str>,
    pub(crate) service: Cow<'a, str>,
    /// `20260102T030405Z`
    pub(super) date_time: &'a str,
    pub(super) signed_at: Timestamp,
    pub(super) lifetime: Lifetime,
    pub(super) signed_headers: Vec<&'a str>,
    pub(super) bytes: [u8; 32],
}

impl<'a> Signature<'a> {
    /// From the `Authorization` header or from the query.
    pub(crate) fn read(request: &'a Request<'a>) -> Result<Self, SignatureError> {
        let in_query =
            request.query.contains("X-Amz-Algorithm=") || request.query.contains("X-Amz-Signature=");
        let signature = match (request.only_header("authorization"), in_query) {
            (Ok(Some(header)), false) => Self::from_header(request, header)?,
            (Ok(None), true) => Self::from_query(request)?,
            (Ok(None), false) => return Err(Missing),
            (Ok(Some(_)), true) | (Err(()), _) => return Err(Incomplete("it is there more than once")),
        };
        signature.check_coverage(request)?;
        Ok(signature)
    }

    /// `20260102`
    pub(super) fn date(&self) -> &'a str {
        &self.date_time[..8]
    }

    /// The pieces of `{date}/{region}/{service}/aws4_request`.
    pub(super) fn scope(&self) -> [&str; 6] {
        [self.date(), "/", &self.region, "/", &self.service, "/aws4_request"]
    }

    fn from_header(request: &'a Request<'a>, header: &'a str) -> Result<Self, SignatureError> {
        let fields =
            header.strip_prefix(ALGORITHM).ok_or(Incomplete("the algorithm is not AWS4-HMAC-SHA256"))?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or(Incomplete("a field has no value"))?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut headers,
                "Signature" => &mut signature,
                _ => return Err(Incomplete("it has an unknown field")),
            };
            if slot.replace(value).is_some() {
                return Err(Incomplete("a field is there twice"));
            }
        }
        let date = request.only_header("x-amz-date").map_err(|()| Incomplete("x-amz-date is there twice"))?;
        let parts = Parts {
            credential: credential.ok_or(Incomplete("Credential is missing"))?.into(),
            date_time: date.ok_or(Incomplete("the header x-amz-date is missing"))?,
            signed_headers: headers.ok_or(Incomplete("SignedHeaders is missing"))?.split(';').collect(),
            signature: signature.ok_or(Incomplete("Signature is missing"))?,
            lifetime: Lifetime::Header,
        };
        let signature = parts.read()?;
        if !signature.signed_headers.contains(&"x-amz-date") {
            return Err(Incomplete("the date is not signed"));
        }
        Ok(signature)
    }

    fn from_query(request: &'a Request<'a>) -> Result<Self, SignatureError> {
        let field = |wanted: &str| {
            let mut values = request.query.split('&').filter_map(|piece| piece.split_once('='));
            let value = values.find(|(name, _)| *name == wanted).map(|(_, value)| value);
            match values.any(|(name, _)| name == wanted) {
                true => Err(Incomplete("a field is there twice")),
                false => value.ok_or(Incomplete("a field of the query form is missing")),
            }
        };
        if field("X-Amz-Algorithm")? != ALGORITHM {
            return Err(Incomplete("the algorithm is not AWS4-HMAC-SHA256"));
        }
        let seconds = field("X-Amz-Expires")?.parse().unwrap_or(0);
        if !(1..=MAX_EXPIRES).contains(&seconds) {
            return Err(Incomplete("X-Amz-Expires is not 1 to 604800"));
        }
        let parts = Parts {
            credential: percent_decode_str(field("X-Amz-Credential")?).decode_utf8_lossy(),
            date_time: field("X-Amz-Date")?,
            // The separator may be encoded.
            signed_headers: field("X-Amz-SignedHeaders")?.split(';').flat_map(|n| n.split("%3B")).collect(),
            signature: field("X-Amz-Signature")?,
            lifetime: Lifetime::Query { seconds },
        };
        parts.read()
    }

    /// The host, and every `x-amz-` header that is there, must be signed; a digest of the body that
    /// the request states must be the body's.
    fn check_coverage(&self, request: &Request<'_>) -> Result<(), SignatureError> {
        if !self.signed_headers.contains(&"host") || request.only_header("host") == Err(()) {
            return Err(Incomplete("the host is not signed, or is there twice"));
        }
        let unsigned = |name: &str| {
            let is_amz = name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
            is_amz && !self.signed_headers.iter().any(|signed| signed.eq_ignore_ascii_case(name))
        };
        if request.headers.iter().any(|(name, _)| unsigned(name)) {
            return Err(Incomplete("a header x-amz-… is not signed"));
        }
        let stated = request
            .only_header("x-amz-content-sha256")
            .map_err(|()| Incomplete("a digest is there twice"))?;
        let digest = || HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(request.body));
        if stated.is_some_and(|stated| stated != digest()) {
            return Err(Incomplete("x-amz-content-sha256 is not the body's digest"));
        }
        Ok(())
    }
}

/// The texts that both forms have.
struct Parts<'a> {
    credential: Cow<'a, str>,
    date_time: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
    lifetime: Lifetime,
}

impl<'a> Parts<'a> {
    fn read(self) -> Result<Signature<'a>, SignatureError> {
        let [key_id, date, region, service] = scope(self.credential)
            .ok_or(Incomplete("Credential is not key/date/region/service/aws4_request"))?;
        let signed_at = time(self.date_time).ok_or(Incomplete("the date is not YYYYMMDDTHHMMSSZ"))?;
        if self.date_time[..8] != *date {
            return Err(Incomplete("the credential is of another day than the request"));
        }
        Ok(Signature {
            key_id,
            region,
            service,
            date_time: self.date_time,
            signed_at,
            lifetime: self.lifetime,
            signed_headers: checked(self.signed_headers)?,
            bytes: digest(self.signature).ok_or(Incomplete("Signature is not 64 hexadecimal digits"))?,
        })
    }
}

/// The parts of a credential: key, date, region, service.
fn scope(credential: Cow<'_, str>) -> Option<[Cow<'_, str>; 4]> {
    match credential {
        Cow::Borrowed(text) => split_scope(text).map(|parts| parts.map(Cow::Borrowed)),
        Cow::Owned(text) => split_scope(&text).map(|parts| parts.map(|part| Cow::Owned(part.into()))),
    }
}

fn split_scope(text: &str) -> Option<[&str; 4]> {
    let mut parts = text.strip_suffix("/aws4_request")?.split('/');
    let scope = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(scope)
}

/// `20260102T030405Z`: of the forms of ISO 8601 that the parser knows, the one of this length.
fn time(text: &str) -> Option<Timestamp> {
    let is_basic = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    (text.len() == 16 && text.bytes().enumerate().all(is_basic)).then(|| text.parse().ok()).flatten()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_whole = text.len() == 2 * bytes.len();
    (is_whole && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok()).then_some(bytes)
}

/// Names of headers in lower case, sorted, each once.
fn checked(names: Vec<&str>) -> Result<Vec<&str>, SignatureError> {
    let plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
    };
    if names.iter().all(plain) && names.is_sorted_by(|a, b| a < b) {
        return Ok(names);
    }
    Err(Incomplete("SignedHeaders is not a sorted list in lower case"))
}
