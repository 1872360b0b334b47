//! Volumes: raw sparse files on a file system with reflink, their snapshots, and what serves them to compute hosts.
//!
//! A [`Pool`] is a directory of such a file system that one agent owns. A snapshot and a volume made from one are
//! clones of the file's extents (`FICLONE`): milliseconds whatever the size, no chain of files, and nothing ever
//! parses what a tenant wrote. So is a volume that begins with an image: the pool copies the image once, as a [`Base`].
//! A snapshot that goes to another file system is copied byte by byte.
//!
//! The functions of a pool block on the disk; an asynchronous caller puts them on a blocking thread.
//!
//! A [`Backend`] serves a volume's file to one compute host at a time: an [`Export`] has a credential of
//! its own, and never comes back once it is gone. There are [`iscsi::Tgt`],
//! [`nfs::Ganesha`], [`filer::Filer`] and [`Local`].

mod content;
mod durable;
mod error;
mod export;
pub mod filer;
mod image;
pub mod iscsi;
mod local;
pub mod nfs;
mod pool;
mod receive;
mod reflink;
mod restore_test;
mod server;
mod shelf;
mod snapshot;
mod sparse;
mod trash;
mod usage;
mod volume;

pub use content::Content;
pub use error::PoolError;
pub use export::{Access, Backend, Connection, Credential, Export, ExportError, Found, Revoked, Source};
pub use image::Base;
pub use local::Local;
pub use pool::{Pool, STEPS};
pub use receive::Incoming;
pub use restore_test::Restored;
pub use snapshot::Snapshot;
pub use sparse::Copying;
pub use trash::Discarded;
pub use usage::{Level, Usage, Watermarks};
pub use volume::Volume;
