//! What the model asks of many actions, each done in one place.

mod filter;
mod ids;
mod page;
mod tags;

pub(crate) use filter::{Field, apply, flag, many, one};
pub(crate) use ids::{parse_id, parse_ids};
pub(crate) use page::PageRequest;
pub(crate) use tags::{given_tags, shown_tags, tags_for};
