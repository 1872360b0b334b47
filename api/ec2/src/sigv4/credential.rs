//! Reads the signature that a request carries.

use std::borrow::Cow;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use memchr::memchr;
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
    /// `{key}/{date}/{region}/{service}/aws4_request`
    pub(super) credential: Cow<'a, str>,
    /// Where the date begins.
    scope: usize,
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
        let headers = Headers::of(request);
        let in_query =
            request.query.contains("X-Amz-Algorithm=") || request.query.contains("X-Amz-Signature=");
        let signature = match (headers.authorization, in_query) {
            (Ok(Some(header)), false) => Self::from_header(header, headers.date)?,
            (Ok(None), true) => Self::from_query(request)?,
            (Ok(None), false) => return Err(Missing),
            (Ok(Some(_)), true) | (Err(()), _) => return Err(Incomplete("it is there more than once")),
        };
        signature.check_coverage(request, &headers)?;
        Ok(signature)
    }

    /// The access key.
    pub(crate) fn key_id(&self) -> &str {
        &self.credential[..self.scope - 1]
    }

    /// For example `ec2`.
    pub(crate) fn service(&self) -> &str {
        pieces(self.scope(), b'/').nth(2).unwrap_or_default()
    }

    /// `{date}/{region}/{service}/aws4_request`
    pub(super) fn scope(&self) -> &str {
        &self.credential[self.scope..]
    }

    fn signs(&self, header: &str) -> bool {
        self.signed_headers.iter().any(|signed| signed.eq_ignore_ascii_case(header))
    }

    fn from_header(header: &'a str, date: Single<'a>) -> Result<Self, SignatureError> {
        let fields =
            header.strip_prefix(ALGORITHM).ok_or(Incomplete("the algorithm is not AWS4-HMAC-SHA256"))?;
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) =
                field.trim_ascii().split_once('=').ok_or(Incomplete("a field has no value"))?;
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
        let date = date.map_err(|()| Incomplete("x-amz-date is there twice"))?;
        let parts = Parts {
            credential: credential.ok_or(Incomplete("Credential is missing"))?.into(),
            date_time: date.ok_or(Incomplete("the header x-amz-date is missing"))?,
            signed_headers: pieces(headers.ok_or(Incomplete("SignedHeaders is missing"))?, b';').collect(),
            signature: signature.ok_or(Incomplete("Signature is missing"))?,
            lifetime: Lifetime::Header,
        };
        let signature = parts.read()?;
        if !signature.signs("x-amz-date") {
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
    fn check_coverage(&self, request: &Request<'_>, headers: &Headers<'_>) -> Result<(), SignatureError> {
        if headers.host.is_err() || !self.signs("host") {
            return Err(Incomplete("the host is not signed, or is there twice"));
        }
        let is_amz = |name: &str| name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"));
        if request.headers.iter().any(|(name, _)| is_amz(name) && !self.signs(name)) {
            return Err(Incomplete("a header x-amz-… is not signed"));
        }
        let stated = headers.digest.map_err(|()| Incomplete("a digest is there twice"))?;
        let digest = || HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(request.body));
        if stated.is_some_and(|stated| stated != digest()) {
            return Err(Incomplete("x-amz-content-sha256 is not the body's digest"));
        }
        Ok(())
    }
}

/// The value of a header that may be there once; `Err` when it is there twice or is no text.
type Single<'a> = Result<Option<&'a str>, ()>;

/// The headers that say something of the signature.
struct Headers<'a> {
    authorization: Single<'a>,
    date: Single<'a>,
    digest: Single<'a>,
    host: Single<'a>,
}

impl<'a> Headers<'a> {
    fn of(request: &'a Request<'a>) -> Self {
        let mut headers = Self { authorization: Ok(None), date: Ok(None), digest: Ok(None), host: Ok(None) };
        for (name, value) in &request.headers {
            if let Some(header) = headers.named(name) {
                *header = match header {
                    Ok(None) => std::str::from_utf8(value).map(Some).map_err(drop),
                    Ok(Some(_)) | Err(()) => Err(()),
                };
            }
        }
        headers
    }

    fn named(&mut self, name: &str) -> Option<&mut Single<'a>> {
        let (known, header) = match name.len() {
            4 => ("host", &mut self.host),
            10 => ("x-amz-date", &mut self.date),
            13 => ("authorization", &mut self.authorization),
            20 => ("x-amz-content-sha256", &mut self.digest),
            _ => return None,
        };
        name.eq_ignore_ascii_case(known).then_some(header)
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
        let (scope, date) = scope(&self.credential)
            .ok_or(Incomplete("Credential is not key/date/region/service/aws4_request"))?;
        let signed_at = time(self.date_time).ok_or(Incomplete("the date is not YYYYMMDDTHHMMSSZ"))?;
        if self.date_time[..8] != *date {
            return Err(Incomplete("the credential is of another day than the request"));
        }
        if !is_list(&self.signed_headers) {
            return Err(Incomplete("SignedHeaders is not a sorted list in lower case"));
        }
        Ok(Signature {
            scope,
            credential: self.credential,
            date_time: self.date_time,
            signed_at,
            lifetime: self.lifetime,
            signed_headers: self.signed_headers,
            bytes: digest(self.signature).ok_or(Incomplete("Signature is not 64 hexadecimal digits"))?,
        })
    }
}

/// The text before and behind the first of these bytes, which is ASCII.
fn cut(text: &str, at: u8) -> Option<(&str, &str)> {
    let end = memchr(at, text.as_bytes())?;
    Some((text.get(..end)?, text.get(end + 1..)?))
}

/// The text in pieces, as [`str::split`] gives them, several times faster for short ones.
fn pieces(text: &str, at: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let Some((piece, behind)) = cut(rest?, at) else { return rest.take() };
        rest = Some(behind);
        Some(piece)
    })
}

/// Where the scope begins in `{key}/{date}/{region}/{service}/aws4_request`, and the date.
fn scope(credential: &str) -> Option<(usize, &str)> {
    let mut parts = pieces(credential, b'/');
    let (key, date) = (parts.next()?, parts.next()?);
    let (_region, _service) = (parts.next()?, parts.next()?);
    let is_whole = parts.next() == Some("aws4_request") && parts.next().is_none();
    is_whole.then_some((key.len() + 1, date))
}

/// `20260102T030405Z`.
fn time(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| {
        let digit = |byte: &u8| byte.is_ascii_digit().then(|| i16::from(byte - b'0'));
        bytes[from..to].iter().try_fold(0, |number, byte| Some(number * 10 + digit(byte)?))
    };
    let pair = |from: usize| number(from, from + 2)?.try_into().ok();
    let time = DateTime::new(number(0, 4)?, pair(4)?, pair(6)?, pair(9)?, pair(11)?, pair(13)?, 0).ok()?;
    ((bytes[8], bytes[15]) == (b'T', b'Z')).then(|| Offset::UTC.to_timestamp(time).ok()).flatten()
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let is_whole = text.len() == 2 * bytes.len();
    (is_whole && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok()).then_some(bytes)
}

/// Names of headers in lower case, sorted, each once.
fn is_list(names: &[&str]) -> bool {
    // Without a way out in the middle, which is faster for what is nearly always true.
    let is_plain = |byte: u8| byte.is_ascii_graphic() & !byte.is_ascii_uppercase();
    let plain =
        |name: &&str| !name.is_empty() && name.bytes().fold(true, |plain, byte| plain & is_plain(byte));
    names.iter().all(plain) && names.is_sorted_by(|a, b| a < b)
}
