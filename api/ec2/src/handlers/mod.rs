//! One file a resource: each handler reads a request, calls the domain and fills a reply.

mod account;
mod identity;
mod image;
mod import;
mod instance;
mod instance_type;
mod key_pair;
mod network_interface;
mod placement_group;
mod region;
mod security_group;
mod select;
mod subnet;
mod tag;
mod volume;
mod vpc;

pub(crate) use instance::InstanceListing;

use crate::wire::Text;

/// A member of a reply with this text.
fn text(value: impl ToString) -> Option<Text> {
    Some(value.to_string().into())
}

/// A member of a reply that is always the same.
fn fixed(value: &'static str) -> Option<Text> {
    Some(value.into())
}
