//! The whole protocol over a real domain and a real store: signed requests in, validated XML out.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where its expectation does; the lints exempt test functions only, not their helpers"
)]

mod audit;
mod client;
mod courses;
mod harness;
mod instances;
mod kept;
mod mutation;
mod protocol;
mod read_only_volumes;
mod reply;
mod resources;
mod root_snapshots;
mod snapshots;
mod tenancy;
mod validator;
mod volumes;
