//! What one request is answered.

use std::time::Duration;

use hyper::{Method, StatusCode};
use tepui_types::PlacementId;
use tepui_types::agent::PlacementSpec;

use super::Tokens;
use super::tree::{tree, user_data};

/// The versions that are answered: the one every client accepts, those cloud-init asks for, and the
/// name of the newest.
const VERSIONS: [&str; 5] = ["2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest"];
/// Six hours, the longest life of a token on AWS.
const LONGEST_TOKEN_SECONDS: u64 = 21_600;

/// A request, as far as it matters.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, decoded.
    pub path: &'a str,
    /// `X-aws-ec2-metadata-token`.
    pub token: Option<&'a str>,
    /// `X-aws-ec2-metadata-token-ttl-seconds`.
    pub token_ttl: Option<&'a str>,
    /// `X-Forwarded-For` is there: the request came through a proxy.
    pub forwarded: bool,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The content.
    pub body: Vec<u8>,
    /// Life of the token that is the content, in seconds.
    pub token_ttl: Option<u64>,
    /// IP time to live of the packets that carry the reply, if not the usual.
    pub hop_limit: Option<u8>,
}

impl Answer {
    fn status(status: StatusCode) -> Self {
        let body = status.canonical_reason().unwrap_or_default().as_bytes().to_vec();
        Self { status, body, token_ttl: None, hop_limit: None }
    }

    fn ok(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, body, token_ttl: None, hop_limit: None }
    }
}

/// Answers the guest `id`. `now` is the agent's own clock.
pub fn answer(
    id: PlacementId,
    spec: &PlacementSpec,
    tokens: &Tokens,
    question: &Question<'_>,
    now: Duration,
) -> Answer {
    if !spec.metadata.options.enabled {
        return Answer::status(StatusCode::FORBIDDEN);
    }
    let path: Vec<&str> = question.path.split('/').filter(|name| !name.is_empty()).collect();
    match (question.method, path.as_slice()) {
        (&Method::PUT, ["latest", "api", "token"]) => issue(id, spec, tokens, question, now),
        (&Method::GET | &Method::HEAD, _) if !may_read(id, spec, tokens, question, now) => {
            Answer::status(StatusCode::UNAUTHORIZED)
        }
        (&Method::GET | &Method::HEAD, path) => read(spec, path),
        _ => Answer::status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// A token is for the guest itself: not for one behind a proxy of its, and not for one more hop away
/// than the instance's owner allows.
fn issue(
    id: PlacementId,
    spec: &PlacementSpec,
    tokens: &Tokens,
    question: &Question<'_>,
    now: Duration,
) -> Answer {
    if question.forwarded {
        return Answer::status(StatusCode::FORBIDDEN);
    }
    let ttl = question.token_ttl.and_then(|ttl| ttl.trim().parse::<u64>().ok());
    let Some(ttl) = ttl.filter(|ttl| (1..=LONGEST_TOKEN_SECONDS).contains(ttl)) else {
        return Answer::status(StatusCode::BAD_REQUEST);
    };
    let token = tokens.issue(id, now + Duration::from_secs(ttl));
    Answer {
        token_ttl: Some(ttl),
        hop_limit: Some(spec.metadata.options.hop_limit),
        ..Answer::ok(token.into_bytes())
    }
}

fn may_read(
    id: PlacementId,
    spec: &PlacementSpec,
    tokens: &Tokens,
    question: &Question<'_>,
    now: Duration,
) -> bool {
    match question.token {
        Some(token) => tokens.holds(id, token, now),
        None => !spec.metadata.options.tokens_required,
    }
}

fn read(spec: &PlacementSpec, path: &[&str]) -> Answer {
    match path {
        [] => Answer::ok(VERSIONS.join("\n").into_bytes()),
        [version, rest @ ..] if VERSIONS.contains(version) => read_version(spec, rest),
        [_, ..] => Answer::status(StatusCode::NOT_FOUND),
    }
}

fn read_version(spec: &PlacementSpec, path: &[&str]) -> Answer {
    let found = match path {
        [] => Some(top_level(spec)),
        ["user-data"] => user_data(spec),
        path => {
            let root = tree(spec);
            let entry = path.iter().try_fold(&root, |entry, name| entry.child(name));
            entry.map(|entry| entry.content().into_bytes())
        }
    };
    found.map_or_else(|| Answer::status(StatusCode::NOT_FOUND), Answer::ok)
}

fn top_level(spec: &PlacementSpec) -> Vec<u8> {
    let names: &[&str] = if spec.user_data.is_some() {
        &["dynamic", "meta-data", "user-data"]
    } else {
        &["dynamic", "meta-data"]
    };
    names.join("\n").into_bytes()
}
