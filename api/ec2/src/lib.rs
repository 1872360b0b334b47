//! EC2 and STS on the wire: signatures, the Query protocol, and thin handlers that call the domain.
//!
//! One entry, [`Ec2::handle`], takes the parts of an HTTP request and returns those of a reply; it
//! knows no web framework. Requests, replies and the action table are generated from the service
//! model (`generated`). What the model says by rule (rehearsal, pages, filters, tokens) is done
//! once, in `operation` and `mechanism`; a handler is left with the translation to the domain.

mod body;
mod error;
mod error_map;
mod generated;
mod handlers;
mod mechanism;
mod operation;
mod service;
pub mod sigv4;
mod wire;

pub use body::Body;
pub use operation::changing_actions;
pub use service::{Ec2, Ec2Config, ImageImports, Request, Response, Unhandled, UrlImport};
pub use wire::check_query;
