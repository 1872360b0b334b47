//! Proven against botocore as signer (`tests/golden/signatures.json`), and by changing every byte.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const KEY_ID: &str = "TPAKVECTORVECTORVEC1";

#[derive(Deserialize)]
struct Golden {
    now: Timestamp,
    secret: String,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Vector {
    fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            body: self.body.as_bytes(),
            request_id: "r",
        }
    }

    fn raw(&self) -> Raw {
        let headers = self.headers.iter().flat_map(|(name, value)| [name, value]);
        let line = [&self.method, &self.path, &self.query, &self.body];
        Raw(line.into_iter().chain(headers).map(|part| part.clone().into_bytes()).collect())
    }
}

/// A request as bytes to change: method, path, query, body, then each header's name and value.
#[derive(Clone)]
struct Raw(Vec<Vec<u8>>);

impl Raw {
    /// `None` where no HTTP request has such bytes: only values of headers and bodies need not be text.
    fn request(&self) -> Option<Request<'_>> {
        let text = |at: usize| std::str::from_utf8(&self.0[at]).ok();
        let headers = self.0[4..].chunks(2);
        let headers = headers.map(|h| Some((std::str::from_utf8(&h[0]).ok()?, h[1].as_slice())));
        Some(Request {
            method: text(0)?,
            path: text(1)?,
            query: text(2)?,
            headers: headers.collect::<Option<_>>()?,
            body: &self.0[3],
            request_id: "r",
        })
    }

    /// The request with one bit changed, for every bit, and with one byte more in each part.
    fn mutants(&self) -> impl Iterator<Item = (usize, Raw)> {
        let parts = self.0.iter().enumerate();
        let bits = parts.clone().flat_map(|(part, bytes)| (0..bytes.len() * 8).map(move |bit| (part, bit)));
        let changed = bits.map(|(part, bit)| {
            let mut mutant = self.clone();
            mutant.0[part][bit / 8] ^= 1 << (bit % 8);
            (part, mutant)
        });
        changed.chain(parts.map(|(part, _)| {
            let mut mutant = self.clone();
            mutant.0[part].push(b'a');
            (part, mutant)
        }))
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/signatures.json")).unwrap()
}

fn check(vector: &Vector, secret: Option<&str>, now: Timestamp) -> Result<(), SignatureError> {
    check_request(&vector.request(), secret, now)
}

fn check_request(request: &Request<'_>, secret: Option<&str>, now: Timestamp) -> Result<(), SignatureError> {
    let signature = Signature::read(request)?;
    // A changed key id names a key that nobody has.
    let secret = secret.filter(|_| signature.key_id() == KEY_ID);
    verify(request, &signature, secret, &KeyCache::default(), now)
}

/// What the server makes of a request: two texts with one meaning are one request.
fn meaning(request: &Request<'_>) -> Option<String> {
    let signature = Signature::read(request).ok()?;
    let canonical = canonical_request(request, &signature.signed_headers)?;
    Some(format!("{canonical}\n{} {:?} {:?}", signature.key_id(), signature.scope(), signature.bytes))
}

#[test]
fn what_botocore_signed_is_accepted() {
    let golden = golden();
    assert!(golden.vectors.len() > 15);
    for vector in &golden.vectors {
        let request = vector.request();
        let signature = Signature::read(&request);
        assert_eq!(signature.as_ref().map(Signature::key_id), Ok(KEY_ID), "{}", vector.name);
        assert_eq!(check(vector, Some(&golden.secret), golden.now), Ok(()), "{}", vector.name);
    }
}

#[test]
fn a_wrong_secret_and_an_unknown_key_are_refused_alike() {
    let golden = golden();
    for vector in &golden.vectors {
        assert_eq!(
            check(vector, Some("wrong"), golden.now),
            Err(SignatureError::Mismatch),
            "{}",
            vector.name
        );
        assert_eq!(check(vector, None, golden.now), Err(SignatureError::Mismatch), "{}", vector.name);
    }
}

#[test]
fn no_key_has_the_secret_that_unknown_keys_are_checked_with() {
    let golden = golden();
    let vector = &golden.vectors[0];
    let request = vector.request();
    let mut signature = Signature::read(&request).unwrap();
    let text = string_to_sign(&request, &signature).unwrap();
    signature.bytes = KeyCache::default().get(&signature, NOBODYS_SECRET).0.sign(text.as_bytes());
    let verified = verify(&request, &signature, None, &KeyCache::default(), golden.now);
    assert_eq!(verified, Err(SignatureError::Mismatch));
}

#[test]
fn a_change_of_any_bit_is_refused_wherever_the_signature_is() {
    let golden = golden();
    // Of the parts: those whose change was refused, for signatures in the header and in the query.
    let mut refused = [[0_u32; 5]; 2];
    for vector in &golden.vectors {
        let known = meaning(&vector.request());
        for (part, mutant) in vector.raw().mutants() {
            let Some(request) = mutant.request().filter(|request| meaning(request) != known) else {
                continue;
            };
            let verified = check_request(&request, Some(&golden.secret), golden.now);
            assert!(verified.is_err(), "{}: part {part}: {request:?}", vector.name);
            refused[usize::from(vector.query.contains("X-Amz-Signature="))][part.min(4)] += 1;
        }
    }
    assert!(
        refused.iter().flatten().all(|count| *count > 0),
        "method, path, query, body, headers: {refused:?}"
    );
    assert!(refused.iter().flatten().sum::<u32>() > 30_000, "{refused:?}");
}

#[test]
fn time_is_five_minutes_in_a_header_and_as_stated_in_a_query() {
    let golden = golden();
    let after = |seconds: i64| golden.now + jiff::SignedDuration::from_secs(seconds);
    let ok = |vector: &Vector, seconds| check(vector, Some(&golden.secret), after(seconds)).is_ok();
    for vector in &golden.vectors {
        let life = if vector.query.contains("X-Amz-Expires") { 600 } else { 300 };
        for (seconds, expected) in [(-301, false), (-300, true), (life, true), (life + 1, false)] {
            assert_eq!(ok(vector, seconds), expected, "{} {seconds}", vector.name);
        }
    }
}

type Headers = Vec<(String, String)>;

/// The first golden request with its headers changed.
fn with_headers(change: impl FnOnce(&mut Headers)) -> Result<(), SignatureError> {
    let mut golden = golden();
    change(&mut golden.vectors[0].headers);
    check(&golden.vectors[0], Some(&golden.secret), golden.now)
}

#[test]
fn incomplete_and_doubled_signatures_are_refused() {
    assert_eq!(
        with_headers(|headers| headers.retain(|(k, _)| k != "Authorization")),
        Err(SignatureError::Missing)
    );
    let refused = |change: &dyn Fn(&mut Headers)| {
        assert!(matches!(with_headers(change), Err(SignatureError::Incomplete(_))));
    };
    for name in ["X-Amz-Date", "Host"] {
        refused(&|headers| headers.retain(|(k, _)| k != name));
    }
    for name in ["Authorization", "X-Amz-Date", "Host"] {
        refused(&|headers| {
            let copy = headers.iter().find(|(k, _)| k == name).unwrap().clone();
            headers.push(copy);
        });
    }
    refused(&|headers| headers.push(("X-Amz-Target".into(), "unsigned".into())));
    let replaced = |from: &str, to: &str| {
        refused(&|headers| {
            let header = &mut headers.iter_mut().find(|(k, _)| k == "Authorization").unwrap().1;
            assert!(header.contains(from));
            *header = header.replace(from, to);
        });
    };
    replaced("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256");
    replaced("content-type;host;x-amz-date", "content-type;x-amz-date");
    replaced("content-type;host;x-amz-date", "content-type;host");
    replaced("content-type;host", "host;content-type");
    replaced("content-type;host", "Content-Type;host");
    replaced("aws4_request", "aws5_request");
    replaced("20260304", "20260303");
    replaced("Signature=", "Signature=00, Signature=");
}

#[test]
fn a_stated_digest_must_be_the_bodys_and_unsigned_payload_is_none() {
    for stated in ["UNSIGNED-PAYLOAD", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"] {
        let verified = with_headers(|headers| {
            headers.push(("X-Amz-Content-Sha256".into(), stated.into()));
            let header = &mut headers.iter_mut().find(|(k, _)| k == "Authorization").unwrap().1;
            *header = header.replace(";x-amz-date", ";x-amz-content-sha256;x-amz-date");
        });
        let expected = SignatureError::Incomplete("x-amz-content-sha256 is not the body's digest");
        assert_eq!(verified, Err(expected));
    }
}

#[test]
fn a_signing_key_is_kept_only_once_its_request_was_genuine() {
    let golden = golden();
    let request = golden.vectors[0].request();
    let signature = Signature::read(&request).unwrap();
    let keys = KeyCache::default();
    let verify = |secret| verify(&request, &signature, secret, &keys, golden.now);
    assert!(verify(Some("wrong")).is_err());
    assert_eq!(keys.len(), 0);
    assert!(verify(Some(&golden.secret)).is_ok());
    assert!(verify(Some(&golden.secret)).is_ok());
    assert_eq!(keys.len(), 1);
    assert!(verify(Some("wrong")).is_err());
}

proptest! {
    #[test]
    fn any_header_and_query_is_read_or_refused(header: String, query: String, date: String) {
        let headers = vec![
            ("authorization", header.as_bytes()), ("x-amz-date", date.as_bytes()), ("host", b"h".as_slice()),
        ];
        let request = Request { method: "POST", path: "/", query: &query, headers, ..Request::default() };
        prop_assert!(check_request(&request, Some("s"), Timestamp::UNIX_EPOCH).is_err());
    }

    #[test]
    fn near_misses_of_a_header_are_refused(
        scope in "[A-Z]{0,4}/[0-9]{0,9}/[a-z]{0,3}/(ec2|sts)/aws4_request(/x)?",
        names in "(host|x-amz-date|;|A){0,5}",
        signature in "[0-9a-f]{0,66}",
    ) {
        let header = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature}");
        let headers = vec![
            ("authorization", header.as_bytes()), ("x-amz-date", b"20260304T050607Z".as_slice()), ("host", b"h"),
        ];
        let request = Request { method: "POST", path: "/", headers, ..Request::default() };
        prop_assert!(check_request(&request, Some("s"), golden().now).is_err());
    }
}
