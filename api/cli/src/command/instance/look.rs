//! Looking closer: console, explanation, events.

use std::fmt::Write as _;

use clap::Args;
use tepui_types::endpoint::{ExplainInstance, ListEvents, ShowConsole};
use tepui_types::rest::{Empty, Event, Explanation, ListEventsRequest, ShowConsoleRequest};

use super::{called, find, state};
use crate::aws::ShowAws;
use crate::command::when;
use crate::complete::{Kind, names};
use crate::failure::Result;
use crate::output::{Format, Shown, harmless, printable};
use crate::session::Session;

/// Which console.
#[derive(Debug, Args)]
pub struct Console {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// Show what the node sent last instead of asking it
    #[arg(long)]
    cached: bool,
    /// Equivalent command.
    #[command(flatten)]
    aws: ShowAws,
}

/// Whose events.
#[derive(Debug, Args)]
pub struct Events {
    /// Name, id or a unique beginning
    #[arg(add = names(Kind::Instance))]
    instance: String,
    /// List calls that were refused instead of those that changed something
    #[arg(long)]
    refused: bool,
    /// At most this many, the newest
    #[arg(long, default_value_t = 100, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Prints the guest's words. A terminal gets them without control sequences: a guest must not
/// steer the terminal of whoever looks at it.
pub(super) async fn console(console: Console, session: &mut Session) -> Result<()> {
    let instance = find(&console.instance, session).await?;
    let id = instance.id.to_string();
    let words = ["get-console-output", "--latest", "--instance-id", &id].map(str::to_owned);
    console.aws.say(session, &words);
    let request = ShowConsoleRequest { latest: !console.cached };
    let shown = session.call::<ShowConsole>(&[&id], &request).await?;
    match session.format {
        Format::Json(_) => session.object(&shown),
        _ if shown.at.is_none() => {
            session.note(&format!("'{}' has said nothing yet", called(&instance)));
            Ok(())
        }
        Format::Table { .. } => session.print(&(harmless(&shown.output) + "\n")),
        Format::Tabs | Format::Ids => session.print(&shown.output),
    }
}

/// Prints the chain of facts.
pub(super) async fn explain(word: &str, session: &mut Session) -> Result<()> {
    let id = find(word, session).await?.id.to_string();
    let explanation = session.call::<ExplainInstance>(&[&id], &Empty {}).await?;
    match session.format {
        Format::Json(_) => session.object(&explanation),
        Format::Table { .. } | Format::Tabs | Format::Ids => session.print(&story(&explanation)),
    }
}

fn story(explanation: &Explanation) -> String {
    let instance = &explanation.instance;
    let head = format!("{} ({}) is {}", called(instance), instance.id, state(instance));
    let mut text = format!("{}\n{}\n", printable(&head), printable(&explanation.summary));
    for fact in &explanation.facts {
        let _ = writeln!(text, "  because: {}", printable(fact));
    }
    for command in &explanation.try_ {
        let _ = writeln!(text, "  try:     {}", printable(command));
    }
    text
}

impl Shown for Event {
    const COLUMNS: &'static [&'static str] = &["at", "user", "action", "outcome", "request"];

    fn cells(&self) -> Vec<String> {
        vec![
            when(self.at),
            self.user_id.to_string(),
            self.action.clone(),
            self.outcome.clone(),
            self.request_id.clone(),
        ]
    }

    fn id(&self) -> String {
        self.request_id.clone()
    }
}

/// Lists what was done to it.
pub(super) async fn events(events: Events, session: &mut Session) -> Result<()> {
    let id = find(&events.instance, session).await?.id.to_string();
    let request =
        ListEventsRequest { resource: Some(id), refused: events.refused, limit: Some(events.limit) };
    let list = session.call::<ListEvents>(&[], &request).await?;
    let none = if events.refused { "Nothing was refused." } else { "Nothing was done to it yet." };
    session.list(&list.items, none)
}
