//! The Query protocol: parameters in, XML out.

mod params;
mod query;
mod value;
mod xml;

use std::borrow::Cow;

pub(crate) use params::{Params, Read, list_index, printable};
pub(crate) use query::decode;
pub(crate) use value::{Blob, timestamp};
pub(crate) use xml::{Content, Write, Xml};

/// A string of a request or a reply; replies borrow their constants.
pub(crate) type Text = Cow<'static, str>;

/// Decodes a query string as a request's parameters are decoded, for fuzzing: any text either
/// decodes or is refused.
pub fn check_query(query: &str) -> bool {
    decode([query]).and_then(Params::new).is_ok()
}
