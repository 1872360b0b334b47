//! What the command line keeps on this machine: keys and the host keys of guests.

mod keys;
mod ssh;

pub(crate) use keys::{KeyStore, StoredKey};
pub(crate) use ssh::{Login, answers};
