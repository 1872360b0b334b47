//! Tags of instances and other objects.

use clap::Subcommand;
use tepui_types::endpoint::{DeleteTag, ListTags, PutTags};
use tepui_types::rest::{DeleteTagRequest, ListTagsRequest, PutTagsRequest, Tag};

use crate::cli::examples;
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::Shown;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List the project's tags
    #[command(before_help = examples!("tepui tag list", "tepui tag list --resource i-0123456789abcdef0"))]
    List {
        /// Only of the resource with this id
        #[arg(long, value_name = "ID")]
        resource: Option<String>,
    },
    /// Set tags on a resource; others stay
    #[command(before_help = examples!("tepui tag set i-0123456789abcdef0 team=blue", "tepui tag set i-0123456789abcdef0 Name=web-1 env=test"))]
    Set {
        /// The resource's id
        resource: String,
        /// Tags
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_tag)]
        tags: Vec<(String, String)>,
    },
    /// Remove a tag from a resource
    #[command(before_help = examples!("tepui tag delete i-0123456789abcdef0 team", "tepui tag delete ami-0123456789abcdef0 env --yes"))]
    Delete {
        /// The resource's id
        resource: String,
        /// The key
        key: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for Tag {
    const COLUMNS: &'static [&'static str] = &["resource", "key", "value"];

    fn cells(&self) -> Vec<String> {
        vec![self.resource.clone(), self.key.clone(), self.value.clone()]
    }

    fn id(&self) -> String {
        self.resource.clone()
    }
}

/// Reads `key=value`; the value may be empty.
pub(super) fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        Some(_) | None => Err("a tag is written key=value".into()),
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List { resource } => {
            let list = session.call::<ListTags>(&[], &ListTagsRequest { resource }).await?;
            session.list(&list.items, "No tags yet. Set one: tepui tag set ID key=value")
        }
        Verb::Set { resource, tags } => {
            let request = PutTagsRequest { resource: resource.clone(), tags: tags.into_iter().collect() };
            session.call::<PutTags>(&[], &request).await?;
            session.id(&resource)
        }
        Verb::Delete { resource, key, destroy } => {
            delete(DeleteTagRequest { resource, key }, &destroy, session).await
        }
    }
}

/// One that is not there is gone already.
async fn delete(request: DeleteTagRequest, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let of_resource = ListTagsRequest { resource: Some(request.resource.clone()) };
    let tags = session.call::<ListTags>(&[], &of_resource).await?.items;
    let present = tags.into_iter().find(|tag| tag.key == request.key);
    let inventory = present.map(|tag| format!("removes: tag {}={} of {}", tag.key, tag.value, tag.resource));
    let inventory = inventory.as_slice();
    if destroy.approve::<DeleteTag>(session, (&[], &request), inventory, &request.key).await? {
        session.call::<DeleteTag>(&[], &request).await?;
        session.id(&request.resource)?;
    }
    Ok(())
}
