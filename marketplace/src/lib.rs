//! Images: from bytes of unknown origin to a sealed file named by its content.
//!
//! Every image is hostile until shown otherwise. [`inspect`] reads headers with a parser of our own
//! before any other program opens the file; [`ImageStore::import`] then converts it in a sandbox
//! and seals the result under its digest; [`fetch`] brings a file from a URL without letting the
//! URL reach into the operator's network.
//!
//! The federated marketplace (signed manifests, policy, chunks) builds on these three.

mod convert;
pub mod fetch;
pub mod inspect;
pub mod sandbox;
mod sparse;
mod store;

pub use convert::{ConvertError, Converter};
pub use inspect::{Content, Format, Inspection, Limits, Refusal, inspect};
pub use store::{ImageStore, ImportError, StoreError, StoredImage};
