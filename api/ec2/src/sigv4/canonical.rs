//! The canonical form of a request: what is signed.

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use crate::service::Request;

/// RFC 3986 "unreserved".
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The canonical request over these headers, in lower case and sorted. `None` when a header is not
/// there or the query is not UTF-8.
pub fn canonical_request(request: &Request<'_>, signed_headers: &[&str]) -> Option<String> {
    let mut canonical = String::with_capacity(512);
    canonical.push_str(request.method);
    canonical.push('\n');
    push_path(&mut canonical, request.path);
    canonical.push('\n');
    push_query(&mut canonical, request.query)?;
    canonical.push('\n');
    for name in signed_headers {
        push_header(&mut canonical, request, name)?;
    }
    let mut before = '\n';
    for name in signed_headers {
        canonical.push(before);
        canonical.push_str(name);
        before = ';';
    }
    canonical.push('\n');
    HEXLOWER.encode_append(&Sha256::digest(request.body), &mut canonical);
    Some(canonical)
}

/// The path without dot segments and empty ones, encoded once more than it was sent, as every
/// service but S3 wants it.
fn push_path(to: &mut String, sent: &str) {
    if sent == "/" {
        // What clients send.
        return to.push('/');
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in sent.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    for part in &parts {
        to.push('/');
        to.extend(utf8_percent_encode(part, &UNRESERVED));
    }
    if parts.is_empty() || sent.ends_with('/') {
        to.push('/');
    }
}

/// The pairs decoded as the parser decodes them, encoded in one way and sorted, without the
/// signature itself.
fn push_query(to: &mut String, sent: &str) -> Option<()> {
    if sent.is_empty() {
        return Some(());
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    for piece in sent.split('&').filter(|piece| !piece.is_empty()) {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        let name = recoded(name)?;
        if name != "X-Amz-Signature" {
            pairs.push((name, recoded(value)?));
        }
    }
    pairs.sort();
    for (at, (name, value)) in pairs.iter().enumerate() {
        to.extend([if at == 0 { "" } else { "&" }, name, "=", value]);
    }
    Some(())
}

fn recoded(piece: &str) -> Option<String> {
    let spaced = piece.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8().ok()?;
    Some(utf8_percent_encode(&decoded, &UNRESERVED).to_string())
}

/// A header's line: all its values, each without outer spaces and with inner runs of them as one.
/// `None` without a value.
fn push_header(to: &mut String, request: &Request<'_>, name: &str) -> Option<()> {
    to.push_str(name);
    let mut before = ':';
    for value in request.header_values(name) {
        to.push(before);
        push_trimmed(to, std::str::from_utf8(value).ok()?.trim());
        before = ',';
    }
    to.push('\n');
    (before == ',').then_some(())
}

fn push_trimmed(to: &mut String, text: &str) {
    let bytes = text.as_bytes();
    // Without a way out in the middle, which is faster for what is nearly always false.
    let behind = bytes.get(1..).unwrap_or_default();
    let has_run = bytes.iter().zip(behind).fold(false, |run, (a, b)| run | ((*a == b' ') & (*b == b' ')));
    if !has_run {
        return to.push_str(text);
    }
    for (at, word) in text.split(' ').filter(|word| !word.is_empty()).enumerate() {
        to.extend([if at == 0 { "" } else { " " }, word]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(sent: &str) -> Option<String> {
        let mut query = String::new();
        push_query(&mut query, sent).map(|()| query)
    }

    #[test]
    fn paths_lose_dots_and_gain_an_encoding() {
        for (sent, canonical) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/a/./b/../c", "/a/c"),
            ("/a//b/", "/a/b/"),
            ("/a%20b", "/a%2520b"),
            ("/../..", "/"),
            ("/é", "/%C3%A9"),
        ] {
            let mut path = String::new();
            push_path(&mut path, sent);
            assert_eq!(path, canonical, "{sent}");
        }
    }

    #[test]
    fn queries_are_sorted_recoded_and_lose_the_signature() {
        let sent = "b=2&a=%7e+x&a=%2B&X-Amz-Signature=00&a-&a=";
        assert_eq!(query(sent).unwrap(), "a=&a=%2B&a=~%20x&a-=&b=2");
        assert_eq!(query("a=%ff"), None);
    }

    #[test]
    fn header_values_are_trimmed_and_joined() {
        let headers = [("X-A", &b"  a   b "[..]), ("x-a", b"c")];
        let request = Request { headers: headers.to_vec(), ..Request::default() };
        let mut header = String::new();
        assert_eq!(push_header(&mut header, &request, "x-a"), Some(()));
        assert_eq!(header, "x-a:a b,c\n");
        assert_eq!(push_header(&mut header, &request, "x-b"), None);
    }

    proptest! {
        #[test]
        fn any_request_has_a_canonical_form_or_none(
            sent_path: String, sent_query: String, name: String, value: Vec<u8>, body: Vec<u8>,
        ) {
            let headers = vec![(name.as_str(), value.as_slice())];
            let request = Request {
                method: "POST", path: &sent_path, query: &sent_query, headers, body: &body, ..Request::default()
            };
            let _ = canonical_request(&request, &[&name]);
        }

        #[test]
        fn two_queries_of_one_form_have_the_same_pairs(pairs in prop::collection::vec(("[a-c]", "[ -~é]{0,3}"), 0..5)) {
            let encoded = |(k, v): &(String, String)| format!("{k}={}", utf8_percent_encode(v, NON_ALPHANUMERIC));
            let forward: Vec<String> = pairs.iter().map(encoded).collect();
            let backward: Vec<String> = forward.iter().rev().cloned().collect();
            prop_assert_eq!(query(&forward.join("&")), query(&backward.join("&")));
        }
    }
}
