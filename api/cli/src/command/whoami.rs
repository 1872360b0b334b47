//! Which cloud, user and project commands act on.

use serde::Serialize;
use tepui_types::endpoint::Whoami;
use tepui_types::rest::{Empty, Identity};

use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

/// The cloud's answer and where the question went.
#[derive(Debug, Serialize)]
struct Here {
    url: String,
    configured_by: String,
    #[serde(flatten)]
    identity: Identity,
}

impl Shown for Here {
    const COLUMNS: &'static [&'static str] = &["user", "project", "url"];

    fn cells(&self) -> Vec<String> {
        vec![self.identity.user.name.clone(), self.identity.project.name.clone(), self.url.clone()]
    }

    fn id(&self) -> String {
        self.identity.user.id.to_string()
    }
}

/// Runs it.
///
/// # Errors
/// What the command met.
pub async fn run(session: &mut Session) -> Result<()> {
    let identity = session.call::<Whoami>(&[], &Empty {}).await?;
    let (url, configured_by) = match &session.target {
        Ok(target) => (target.url.clone(), target.source.clone()),
        Err(failure) => return Err(failure.clone()),
    };
    let here = Here { url, configured_by, identity };
    session.show(&here)
}
