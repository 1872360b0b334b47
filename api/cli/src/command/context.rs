//! Clouds and projects that one has logged in to.

use clap::Subcommand;
use serde::Serialize;

use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::local::{Content, Context, Contexts};
use crate::output::Shown;
use crate::session::Session;
use crate::suggest::nearest;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the contexts
    #[command(before_help = examples!("tepui context list", "tepui context list --json=name,url"))]
    List,
    /// Show a context
    #[command(before_help = examples!("tepui context show lab", "tepui context show lab --json=access_key_id"))]
    Show {
        /// Its name
        #[arg(add = names(Kind::Context))]
        context: String,
    },
    /// Make a context the one that commands act on
    #[command(before_help = examples!("tepui context use lab", "tepui context use default@cloud.example:8773"))]
    Use {
        /// Its name
        #[arg(add = names(Kind::Context))]
        context: String,
    },
    /// Forget a context with its credential
    #[command(before_help = examples!("tepui context delete lab", "tepui context delete lab --yes"))]
    Delete {
        /// Its name
        #[arg(add = names(Kind::Context))]
        context: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

/// A context without its secret.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: String,
    current: bool,
    url: String,
    user: String,
    project: String,
    access_key_id: String,
}

impl Row {
    /// The context of that name.
    pub(super) fn of(content: &Content, name: &str) -> Option<Self> {
        content.context.get(name).map(|context| Self::new(content, name, context))
    }

    fn new(content: &Content, name: &str, context: &Context) -> Self {
        Self {
            name: name.to_owned(),
            current: content.current.as_deref() == Some(name),
            url: context.url.clone(),
            user: context.user.clone(),
            project: context.project.clone(),
            access_key_id: context.token.split('.').next().unwrap_or_default().to_owned(),
        }
    }
}

impl Shown for Row {
    const COLUMNS: &'static [&'static str] = &["current", "name", "url", "user", "project"];

    fn cells(&self) -> Vec<String> {
        let mark = if self.current { "*" } else { "" };
        vec![mark.into(), self.name.clone(), self.url.clone(), self.user.clone(), self.project.clone()]
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

/// Runs one of them.
///
/// # Errors
/// The file of contexts is bad or cannot be written; there is no such context.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    let contexts = Contexts::load(&session.world.config_dir)?;
    match verb {
        Verb::List => {
            let content = &contexts.content;
            let rows = content.context.iter().map(|(name, context)| Row::new(content, name, context));
            session.list(&Vec::from_iter(rows), "No contexts yet. Log in: tepui login https://HOST:8773")
        }
        Verb::Show { context } => session.show(&found(&contexts, &context)?),
        Verb::Use { context } => {
            found(&contexts, &context)?;
            change(contexts, |content| content.current = Some(context.clone()))?;
            session.id(&context)
        }
        Verb::Delete { context, destroy } => delete(contexts, &context, &destroy, session).await,
    }
}

async fn delete(contexts: Contexts, name: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let row = found(&contexts, name)?;
    let inventory = [
        format!("forgets: context {name} ({}, project {}) with its credential", row.url, row.project),
        format!("keeps: access key {} in the cloud", row.access_key_id),
    ];
    if !destroy.confirm(session, &inventory, name).await? {
        return Ok(());
    }
    change(contexts, |content| {
        content.context.remove(name);
        content.current.take_if(|current| current == name);
    })?;
    session.id(name)
}

fn change(mut contexts: Contexts, how: impl FnOnce(&mut Content)) -> Result<()> {
    how(&mut contexts.content);
    contexts.save()
}

fn found(contexts: &Contexts, name: &str) -> Result<Row> {
    Row::of(&contexts.content, name).ok_or_else(|| {
        let failure = Failure::new(Exit::NotFound, format!("no context '{name}'"))
            .try_("tepui context list")
            .docs("tepui help contexts");
        match nearest(contexts.content.context.keys().cloned(), name) {
            Some(near) => failure.why(format!("did you mean '{near}'?")),
            None => failure,
        }
    })
}
