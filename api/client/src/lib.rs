//! Typed client of the REST surface.
//!
//! ```no_run
//! # async fn example() -> Result<(), tepui_client::ClientError> {
//! use tepui_client::Client;
//! use tepui_types::endpoint::{ShowInstance, StopInstance};
//! use tepui_types::rest::{Empty, StopInstanceRequest};
//!
//! let client = Client::new("http://127.0.0.1:8773", "TPAK….secret", None)?;
//! let instance = client.call::<ShowInstance>(&["web-1"], &Empty {}).await?;
//! client.call::<StopInstance>(&[&instance.id.to_string()], &StopInstanceRequest { force: false }).await?;
//! # Ok(())
//! # }
//! ```

mod call;
mod client;
mod download;
mod error;
mod retry;
mod upload;

pub use client::{Client, PreparedRequest};
pub use download::DownloadProgress;
pub use error::ClientError;
pub use upload::UploadProgress;
