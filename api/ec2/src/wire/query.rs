//! Query strings and forms.

use percent_encoding::percent_decode;

use crate::error::ApiError;

/// Parameters of one request. The largest honest one tags 1,000 resources 50 times.
const MAX_PARAMETERS: usize = 10_000;

/// The pairs of several query strings, in their order, with `+` and `%XX` decoded.
pub(crate) fn decode<'a>(
    queries: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, ApiError> {
    let pieces = queries.into_iter().flat_map(|query| query.split('&')).filter(|piece| !piece.is_empty());
    let mut pairs = Vec::new();
    for piece in pieces {
        if pairs.len() == MAX_PARAMETERS {
            return Err(malformed(&format!("has more than {MAX_PARAMETERS} parameters")));
        }
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        pairs.push((decode_piece(name)?, decode_piece(value)?));
    }
    Ok(pairs)
}

fn decode_piece(piece: &str) -> Result<String, ApiError> {
    let spaced = piece.replace('+', " ");
    check_escapes(&spaced)?;
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    decoded.map(Into::into).map_err(|_| malformed("is not UTF-8"))
}

/// A `%` without two hexadecimal digits is refused: reading it literally would let two different
/// texts stand for one request.
fn check_escapes(piece: &str) -> Result<(), ApiError> {
    let mut parts = piece.split('%');
    parts.next();
    let whole = |part: &str| part.len() >= 2 && part.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if parts.all(whole) { Ok(()) } else { Err(malformed("has a % without two hexadecimal digits")) }
}

fn malformed(what: &str) -> ApiError {
    ApiError::new("MalformedQueryString", format!("The query string {what}."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_of_query_and_form_are_joined_and_decoded() {
        let pairs = decode(["Action=A%2FB&&Empty", "Key=a+b%20c&Key=%C3%A9"]).unwrap();
        let expected = [("Action", "A/B"), ("Empty", ""), ("Key", "a b c"), ("Key", "é")];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn broken_escapes_and_too_many_parameters_are_refused() {
        for query in ["A=%", "A=%4", "A=%zz", "%=1", "A=%ff"] {
            assert_eq!(decode([query]).unwrap_err().code, "MalformedQueryString", "{query}");
        }
        assert!(decode([&*"A=1&".repeat(MAX_PARAMETERS + 1)]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_decodes_or_is_refused(query: String) {
            let _ = decode([&*query]);
        }
    }
}
