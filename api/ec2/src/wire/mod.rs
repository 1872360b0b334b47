//! The Query protocol: parameters in, XML out.

mod params;
mod query;
mod value;
mod xml;

pub(crate) use params::{Params, Read, list_index, printable};
pub(crate) use query::decode;
pub(crate) use value::{Blob, timestamp};
pub(crate) use xml::{Content, Write, Xml};

/// A string of a request or a reply. Constants are borrowed and ids are held in place: a large reply
/// is made of them, and would otherwise be made of allocations.
pub(crate) type Text = smol_str::SmolStr;

/// Decodes a query string as a request's parameters are decoded, for fuzzing: any text either
/// decodes or is refused.
pub fn check_query(query: &str) -> bool {
    decode([query]).and_then(Params::new).is_ok()
}
