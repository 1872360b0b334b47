//! Raw access to the REST surface, with the session's credential.

use clap::{Args, ValueEnum};
use serde_json::Value;
use tepui_types::endpoint::Method;

use crate::failure::{Failure, Result};
use crate::output::Format;
use crate::session::Session;

/// One call.
#[derive(Debug, Args)]
pub struct Api {
    /// HTTP's method
    #[arg(ignore_case = true)]
    method: Verb,
    /// The path with its query, for example /v1/instances
    path: String,
    /// The JSON body
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// Only rehearse: the cloud's answer to a change, without the change
    #[arg(long)]
    dry_run: bool,
}

/// HTTP's methods.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Verb {
    /// Reads
    #[value(name = "GET")]
    Get,
    /// Creates or acts
    #[value(name = "POST")]
    Post,
    /// Writes whole
    #[value(name = "PUT")]
    Put,
    /// Changes in part
    #[value(name = "PATCH")]
    Patch,
    /// Removes
    #[value(name = "DELETE")]
    Delete,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Get => Self::Get,
            Verb::Post => Self::Post,
            Verb::Put => Self::Put,
            Verb::Patch => Self::Patch,
            Verb::Delete => Self::Delete,
        }
    }
}

/// Calls, and prints the JSON that comes back, whatever the form of answers is.
///
/// # Errors
/// What the call met.
pub async fn run(api: Api, session: &mut Session) -> Result<()> {
    if !api.path.starts_with('/') {
        return Err(Failure::usage(format!("'{}' is no path: it begins with a slash", api.path))
            .try_("tepui api GET /v1/instances")
            .docs("tepui help api"));
    }
    let body = api.body.as_deref().map(parse).transpose()?;
    let mut prepared = session.client()?.prepare_raw(api.method.into(), &api.path, body.as_ref())?;
    if api.dry_run {
        prepared = prepared.rehearsed();
    }
    let reply = session.call_raw(&prepared).await?;
    match session.format {
        Format::Json(_) => session.object(&reply),
        Format::Table { .. } | Format::Tabs | Format::Ids => session.print(&format!("{reply:#}\n")),
    }
}

fn parse(body: &str) -> Result<Value> {
    serde_json::from_str(body)
        .map_err(|e| Failure::usage("the body is no JSON").why(e.to_string()).docs("tepui help api"))
}
