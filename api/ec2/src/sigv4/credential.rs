//! Reads the signature that a request carries.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;

use super::SignatureError::{Incomplete, Missing};
use super::{SignatureError, hex};
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
    pub(crate) key_id: String,
    /// `20260102`
    pub(super) date: String,
    pub(super) region: String,
    pub(crate) service: String,
    /// `20260102T030405Z`
    pub(super) date_time: String,
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

    /// `{date}/{region}/{service}/aws4_request`
    pub(super) fn scope(&self) -> String {
        format!("{}/{}/{}/aws4_request", self.date, self.region, self.service)
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
            credential: credential.ok_or(Incomplete("Credential is missing"))?,
            date_time: date.ok_or(Incomplete("the header x-amz-date is missing"))?,
            signed_headers: headers.ok_or(Incomplete("SignedHeaders is missing"))?,
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
            credential: &percent_decode_str(field("X-Amz-Credential")?).decode_utf8_lossy(),
            date_time: field("X-Amz-Date")?,
            signed_headers: field("X-Amz-SignedHeaders")?,
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
            let name = name.to_ascii_lowercase();
            name.starts_with("x-amz-") && !self.signed_headers.contains(&name.as_str())
        };
        if request.headers.iter().any(|(name, _)| unsigned(name)) {
            return Err(Incomplete("a header x-amz-… is not signed"));
        }
        let stated = request
            .only_header("x-amz-content-sha256")
            .map_err(|()| Incomplete("a digest is there twice"))?;
        let digest = || hex(&<sha2::Sha256 as sha2::Digest>::digest(request.body));
        if stated.is_some_and(|stated| stated != digest()) {
            return Err(Incomplete("x-amz-content-sha256 is not the body's digest"));
        }
        Ok(())
    }
}

/// The texts that both forms have.
struct Parts<'a, 'c> {
    credential: &'c str,
    date_time: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    lifetime: Lifetime,
}

impl<'a> Parts<'a, '_> {
    fn read(self) -> Result<Signature<'a>, SignatureError> {
        let scope: Vec<&str> = self.credential.split('/').collect();
        let [key_id, date, region, service, "aws4_request"] = scope[..] else {
            return Err(Incomplete("Credential is not key/date/region/service/aws4_request"));
        };
        let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", self.date_time)
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|_| Incomplete("the date is not YYYYMMDDTHHMMSSZ"))?;
        if self.date_time.len() != 16 || !self.date_time.starts_with(date) || date.len() != 8 {
            return Err(Incomplete("the credential is of another day than the request"));
        }
        let bytes = HEXLOWER.decode(self.signature.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Signature {
            key_id: key_id.into(),
            date: date.into(),
            region: region.into(),
            service: service.into(),
            date_time: self.date_time.into(),
            signed_at: signed_at.timestamp(),
            lifetime: self.lifetime,
            signed_headers: signed_headers(self.signed_headers)?,
            bytes: bytes.ok_or(Incomplete("Signature is not 64 hexadecimal digits"))?,
        })
    }
}

/// Lower case, sorted, each once. In a query the separator may be encoded.
fn signed_headers(text: &str) -> Result<Vec<&str>, SignatureError> {
    let names: Vec<&str> = text.split(';').flat_map(|names| names.split("%3B")).collect();
    let plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
    };
    if names.iter().all(plain) && names.is_sorted_by(|a, b| a < b) {
        return Ok(names);
    }
    Err(Incomplete("SignedHeaders is not a sorted list in lower case"))
}
