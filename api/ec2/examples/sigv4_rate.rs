//! Prints what verifying a signature costs beside a bare HMAC over the same bytes, as JSON: for each
//! request the seconds of interleaved rounds of both. Requests come as JSON on standard input, signed
//! by somebody else.
//!
//! The rival digests the body, the canonical request and the text that is signed in one HMAC, under
//! a key that it has: no verification can digest less. Ours begins with the request's parts.

use std::hint::black_box;
use std::time::Instant;

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tepui_ec2::Request;
use tepui_ec2::sigv4::{Verifier, canonical_request};

const PAIRS: usize = 101;
const ROUND: usize = 1000;
/// `AWS4-HMAC-SHA256`, time, scope and a digest, each on a line.
const TEXT_TO_SIGN: usize = 17 + 17 + 38 + 64;

#[derive(Deserialize)]
struct Input {
    now: Timestamp,
    secret: String,
    requests: Vec<Signed>,
}

#[derive(Deserialize)]
struct Signed {
    name: String,
    signed_headers: Vec<String>,
    headers: Vec<(String, String)>,
    body: String,
}

/// The seconds of one round of verifications and of one round of bare HMACs.
#[derive(Serialize)]
struct Figures {
    name: String,
    bytes: usize,
    round: usize,
    pairs: Vec<(f64, f64)>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let input: Input = serde_json::from_reader(std::io::stdin())?;
    let figures: Vec<Figures> = input.requests.iter().map(|signed| measure(&input, signed)).collect();
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn measure(input: &Input, signed: &Signed) -> Figures {
    let request = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
        body: signed.body.as_bytes(),
        request_id: "",
    };
    let verifier = Verifier::default();
    assert!(verifier.accepts(&request, &input.secret, input.now), "{}", signed.name);
    let names: Vec<&str> = signed.signed_headers.iter().map(String::as_str).collect();
    let canonical = canonical_request(&request, &names).unwrap_or_default();
    let bytes = [request.body, canonical.as_bytes(), &[b'.'; TEXT_TO_SIGN]].concat();
    let ours = || assert!(verifier.accepts(black_box(&request), &input.secret, input.now));
    let bare = || assert!(black_box(hmac(black_box(&bytes))) != [0; 32]);
    let pairs = (0..PAIRS).map(|_| (seconds(ours), seconds(bare))).collect();
    Figures { name: signed.name.clone(), bytes: bytes.len(), round: ROUND, pairs }
}

fn hmac(message: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&[7; 32]) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn seconds(work: impl Fn()) -> f64 {
    let started = Instant::now();
    for _ in 0..ROUND {
        work();
    }
    started.elapsed().as_secs_f64()
}
