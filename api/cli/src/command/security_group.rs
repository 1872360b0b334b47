//! Security groups: what may reach instances and what they may reach.

mod rule;

use clap::Subcommand;
use tepui_types::endpoint::{
    AddSecurityGroupRule, CreateSecurityGroup, DeleteSecurityGroup, ListSecurityGroups,
    RemoveSecurityGroupRule, ShowSecurityGroup,
};
use tepui_types::rest::{CreateSecurityGroupRequest, Empty, RuleRequest, SecurityGroup};

use self::rule::RuleArgs;
pub(super) use self::rule::{lets_ssh_in, ssh_from_anywhere};
use crate::cli::examples;
use crate::complete::{Kind, names};
use crate::confirm::Destroy;
use crate::failure::Result;
use crate::output::{Format, Shown};
use crate::repeat;
use crate::session::Session;

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List security groups
    #[command(before_help = examples!("tepui security-group list", "tepui security-group list --json=name,rules"))]
    List,
    /// Show a security group with its rules
    #[command(before_help = examples!("tepui security-group show web", "tepui security-group show web --json=rules"))]
    Show {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::SecurityGroup))]
        group: String,
    },
    /// Create a security group that lets everything out and nothing in
    #[command(before_help = examples!("tepui security-group create web", "tepui security-group create web --description 'web servers'"))]
    Create {
        /// Unique in the project
        name: String,
        /// For people [default: the name]
        #[arg(long)]
        description: Option<String>,
    },
    /// Let packets in, or out with --egress
    #[command(before_help = examples!("tepui security-group allow web --tcp 443", "tepui security-group allow db --tcp 5432 --from web"))]
    Allow {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::SecurityGroup))]
        group: String,
        /// The rule.
        #[command(flatten)]
        rule: RuleArgs,
    },
    /// Remove the rule that equals this one
    #[command(before_help = examples!("tepui security-group revoke web --tcp 443", "tepui security-group revoke db --tcp 5432 --from web --yes"))]
    Revoke {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::SecurityGroup))]
        group: String,
        /// The rule.
        #[command(flatten)]
        rule: RuleArgs,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
    /// Delete a security group that nothing uses
    #[command(before_help = examples!("tepui security-group delete web", "tepui security-group delete web --dry-run"))]
    Delete {
        /// Name, id or a unique beginning
        #[arg(add = names(Kind::SecurityGroup))]
        group: String,
        /// Confirmation.
        #[command(flatten)]
        destroy: Destroy,
    },
}

impl Shown for SecurityGroup {
    const COLUMNS: &'static [&'static str] = &["name", "id", "rules", "description"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.id.to_string(), self.rules.len().to_string(), self.description.clone()]
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Runs one of them.
///
/// # Errors
/// What the command met.
pub async fn run(verb: Verb, session: &mut Session) -> Result<()> {
    match verb {
        Verb::List => {
            let list = session.call::<ListSecurityGroups>(&[], &Empty {}).await?;
            session.list(&list.items, "No security groups yet. Create one: tepui security-group create web")
        }
        Verb::Show { group } => {
            let group = session.call::<ShowSecurityGroup>(&[&group], &Empty {}).await?;
            show(&group, session)
        }
        Verb::Create { name, description } => {
            let group = ensure(session, name, description).await?;
            show(&group, session)
        }
        Verb::Allow { group, rule } => {
            let request = rule.request(session).await?;
            let group = session.call::<AddSecurityGroupRule>(&[&group], &request).await?;
            show(&group, session)
        }
        Verb::Revoke { group, rule, destroy } => {
            let request = rule.request(session).await?;
            revoke(&group, &request, &destroy, session).await
        }
        Verb::Delete { group, destroy } => delete(&group, &destroy, session).await,
    }
}

/// People read the rules as sentences; programs get the fields.
fn show(group: &SecurityGroup, session: &mut Session) -> Result<()> {
    if !matches!(session.format, Format::Table { .. }) {
        return session.show(group);
    }
    let head = [
        ("id", group.id.to_string()),
        ("name", group.name.clone()),
        ("description", group.description.clone()),
    ];
    let rules = group.rules.iter().map(|rule| ("rule", rule::sentence(rule)));
    let rows: Vec<_> = head.into_iter().chain(rules).map(|(key, value)| (key.to_owned(), value)).collect();
    session.print(&crate::output::pairs(&rows))
}

/// Creates the group, or finds that it is there already.
pub(super) async fn ensure(
    session: &mut Session,
    name: String,
    description: Option<String>,
) -> Result<SecurityGroup> {
    let request = CreateSecurityGroupRequest { name, description: description.clone().unwrap_or_default() };
    match session.call::<CreateSecurityGroup>(&[], &request).await {
        Err(failure) if repeat::is_taken(&failure) => {
            let present = session.call::<ShowSecurityGroup>(&[&request.name], &Empty {}).await?;
            let field = description.map(|wanted| ("description", wanted, present.description.clone()));
            repeat::same("security-group", &request.name, field.as_slice())?;
            Ok(present)
        }
        created => created,
    }
}

async fn revoke(word: &str, rule: &RuleRequest, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let group = session.call::<ShowSecurityGroup>(&[word], &Empty {}).await?;
    let id = group.id.to_string();
    let inventory = [format!(
        "revokes: {} of security group {} ({id})",
        rule::said(rule.direction, &rule.protocol, &rule.peer),
        group.name
    )];
    if destroy.approve::<RemoveSecurityGroupRule>(session, (&[&id], rule), &inventory, &group.name).await? {
        let group = session.call::<RemoveSecurityGroupRule>(&[&id], rule).await?;
        show(&group, session)?;
    }
    Ok(())
}

async fn delete(word: &str, destroy: &Destroy, session: &mut Session) -> Result<()> {
    let group = session.call::<ShowSecurityGroup>(&[word], &Empty {}).await?;
    let inventory =
        [format!("deletes: security group {} ({}) with {} rules", group.name, group.id, group.rules.len())];
    let id = group.id.to_string();
    if destroy.approve::<DeleteSecurityGroup>(session, (&[&id], &Empty {}), &inventory, &group.name).await? {
        session.call::<DeleteSecurityGroup>(&[&id], &Empty {}).await?;
        session.id(&id)?;
    }
    Ok(())
}
