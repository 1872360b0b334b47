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
mod snapshot;
mod snapshot_attribute;
mod subnet;
mod tag;
mod volume;
mod volume_modification;
mod vpc;

pub(crate) use instance::{Fragments, InstanceListing};

use smol_str::ToSmolStr;

use crate::wire::Text;

/// A member of a reply with this text.
fn text(value: impl ToSmolStr) -> Option<Text> {
    Some(value.to_smolstr())
}

/// A member of a reply that is always the same.
fn fixed(value: &'static str) -> Option<Text> {
    Some(Text::new_static(value))
}
