//! Any request has a canonical form or none. The form is canonical: the query in it, sent
//! again, gives the same query, and the order of the pairs does not matter.

use tepui_ec2::Request;
use tepui_ec2::sigv4::canonical_request;

/// Lines of a case: path, query, name of a header, its value; the rest is the body.
const PARTS: usize = 5;

pub(crate) fn run(case: &[u8]) {
    let mut parts = case.splitn(PARTS, |byte| *byte == b'\n');
    let mut text = || std::str::from_utf8(parts.next().unwrap_or_default());
    let (Ok(path), Ok(query), Ok(name)) = (text(), text(), text()) else { return };
    let (value, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let request =
        Request { method: "POST", path, query, headers: vec![(name, value)], body, request_id: "fuzz" };
    let Some(canonical) = canonical_request(&request, &[name]) else { return };
    let sent_again = canonical.lines().nth(2).unwrap_or_default();
    assert_eq!(
        canonical_query(&request, sent_again).as_deref(),
        Some(sent_again),
        "not canonical: {query:?}"
    );
    let backwards: Vec<&str> = query.rsplit('&').collect();
    assert_eq!(
        canonical_query(&request, &backwards.join("&")).as_deref(),
        Some(sent_again),
        "order matters: {query:?}"
    );
}

/// The third line of the canonical form is the query's.
fn canonical_query(request: &Request<'_>, query: &str) -> Option<String> {
    let request = Request { query, headers: Vec::new(), ..request.clone() };
    canonical_request(&request, &[])?.lines().nth(2).map(str::to_owned)
}
