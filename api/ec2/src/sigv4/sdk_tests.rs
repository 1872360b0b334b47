//! Proven against a second signer, that of the AWS SDK for Rust, and by changing every byte.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::*;

const KEY_ID: &str = "TPAKVECTORVECTORVEC1";
const SECRET: &str = "a secret of forty letters, or nearly so.";
/// What a query must encode (RFC 3986, "Unreserved Characters").
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const HOST: &str = "127.0.0.1:8773";

/// A signed request.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Signed {
    fn request(&self) -> Request<'_> {
        Request {
            method: self.method,
            path: "/",
            query: &self.query,
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            body: self.body.as_bytes(),
            request_id: "r",
        }
    }

    fn verified(&self, secret: &str) -> Result<(), SignatureError> {
        let request = self.request();
        let signature = Signature::read(&request)?;
        // A changed key id names a key that nobody has.
        let secret = (signature.key_id() == KEY_ID).then_some(secret);
        verify(&request, &signature, secret, &KeyCache::default(), now())
    }

    /// What the server makes of it: two texts with one meaning are one request.
    fn meaning(&self) -> Option<String> {
        let request = self.request();
        let signature = Signature::read(&request).ok()?;
        let canonical = canonical_request(&request, &signature.signed_headers)?;
        Some(format!("{canonical}\n{} {:?} {:?}", signature.key_id(), signature.scope(), signature.bytes))
    }

    fn parts(&mut self) -> Vec<&mut String> {
        let mut parts = vec![&mut self.query, &mut self.body];
        parts.extend(self.headers.iter_mut().map(|(_, value)| value));
        parts
    }
}

fn now() -> Timestamp {
    "2026-03-04T05:06:07Z".parse().unwrap()
}

fn signed(location: SignatureLocation, checksum: PayloadChecksumKind, service: &str) -> Signed {
    let (method, query, body) = match location {
        SignatureLocation::QueryParams => {
            ("GET", "Action=DescribeInstances&Filter.1.Value.1=a%20b%2Bc%2F%C3%A9%2A&Empty=", "")
        }
        _ => ("POST", "", "Action=RunInstances&ImageId=ami-1&UserData=aGVsbG8%3D&Name=%C3%A9+x"),
    };
    let mut headers = vec![("host".to_owned(), HOST.to_owned())];
    if method == "POST" {
        headers.push(("content-type".into(), "application/x-www-form-urlencoded".into()));
        headers.push(("x-amz-note".into(), "  two   spaces  ".into()));
    }
    let mut settings = SigningSettings::default();
    settings.signature_location = location;
    settings.payload_checksum_kind = checksum;
    settings.expires_in = (method == "GET").then_some(Duration::from_secs(600));
    let identity = Credentials::from_keys(KEY_ID, SECRET, None).into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("tepui-1")
        .name(service)
        .time(SystemTime::from(now()))
        .settings(settings)
        .build()
        .unwrap();
    let uri = format!("http://{HOST}/?{query}");
    let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let signable = SignableRequest::new(method, uri.as_str(), pairs, SignableBody::Bytes(body.as_bytes()));
    let (instructions, _) = sign(signable.unwrap(), &params.into()).unwrap().into_parts();
    headers.extend(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let more = instructions
        .params()
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, RESERVED)));
    let query = std::iter::once(query.to_owned()).filter(|query| !query.is_empty()).chain(more);
    let query = query.collect::<Vec<_>>().join("&");
    Signed { method, query, headers, body: body.into() }
}

fn all() -> Vec<Signed> {
    vec![
        signed(SignatureLocation::Headers, PayloadChecksumKind::NoHeader, "ec2"),
        signed(SignatureLocation::Headers, PayloadChecksumKind::XAmzSha256, "sts"),
        signed(SignatureLocation::QueryParams, PayloadChecksumKind::NoHeader, "ec2"),
    ]
}

#[test]
fn what_the_sdk_signed_by_header_or_query_is_accepted_and_with_another_secret_refused() {
    for request in all() {
        assert_eq!(request.verified(SECRET), Ok(()), "{} {:?}", request.query, request.headers);
        assert_eq!(request.verified("another"), Err(SignatureError::Mismatch));
    }
}

#[test]
fn a_change_of_any_byte_that_the_sdk_signed_is_refused() {
    for original in all() {
        let lengths: Vec<usize> = original.clone().parts().iter().map(|part| part.len()).collect();
        let bytes = lengths.iter().enumerate().flat_map(|(part, len)| (0..*len).map(move |at| (part, at)));
        let mut tried = 0;
        for (part, at) in bytes {
            for bit in 0..8 {
                let mut changed = original.clone();
                let mut text = changed.parts()[part].clone().into_bytes();
                text[at] ^= 1 << bit;
                let Ok(text) = String::from_utf8(text) else { continue };
                *changed.parts()[part] = text;
                if changed.meaning() != original.meaning() {
                    let verified = changed.verified(SECRET);
                    assert!(verified.is_err(), "bit {bit} of byte {at}: {}", changed.parts()[part]);
                    tried += 1;
                }
            }
        }
        assert!(tried > 1000, "{tried}");
    }
}
