//! What the command line keeps on this machine: contexts, keys and the host keys of guests.

mod contexts;
mod hidden;
mod keys;
mod ssh;
mod target;

pub(crate) use contexts::{Content, Context, Contexts};
pub(crate) use hidden::Hidden;
pub(crate) use keys::{KeyStore, StoredKey};
pub(crate) use ssh::{Login, answers};
pub(crate) use target::{Target, token_for};
