//! The metadata service (IMDS) that guests reach at 169.254.169.254: what stock cloud-init's EC2
//! source reads, as AWS documents it in "Instance metadata and user data".
//!
//! A request is from the guest whose address it comes from: within its VPC's namespace the tap's
//! filter binds that address to the guest's port and MAC. Nothing a guest writes into a request
//! can make it another guest.

mod answer;
mod directory;
mod server;
mod token;
mod tree;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Question, answer};
pub use directory::{Directory, Guest};
pub use server::MetadataService;
pub use token::Tokens;
