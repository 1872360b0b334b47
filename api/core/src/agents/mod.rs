//! The agents' side: they poll the desired state and report the observed one.

mod adopt;
mod identity;
mod node_part;
mod poll;
mod report;
mod vpc_part;

pub(crate) use identity::IdentityCache;
pub(crate) use vpc_part::VpcParts;
