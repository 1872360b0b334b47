//! `docs/states.md`: the states of everything, drawn from the tables and functions that the product decides by.

mod agent;
mod instance;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tepui_db::model::{ImportEvent, ImportState, NodeEvent, NodeRequest, NodeState};

use crate::fake_clock;
use crate::walk::specimen;

/// Which labels lead from one state to another.
type Edges = BTreeMap<(&'static str, &'static str), Vec<&'static str>>;

const HEAD: &str = "\
# States

Drawn from the code: from `api/db/src/model/lifecycle.rs`, from what `api/core/src/transition.rs` makes of a host's report, and
from what the agent's planner decides (`node-agent/src/plan`). A test fails while this page is old; `TEPUI_UPDATE_GOLDEN=1 cargo
nextest run -p tepui-simulation the_page_of_states` draws it anew. Another test walks through all of it: from every state, at
every point of the host's work, everything that can be asked or fail ends at rest, without a finding of `tepui doctor`, and can be
deleted (`tests/simulation/src/walk.rs`); so do nodes and imports (`api/core/tests/walks`).
";

/// The page.
///
/// # Errors
/// The control plane that an instance is taken from for a specimen did not start.
pub fn states_page() -> anyhow::Result<String> {
    let (instance, placement, spec) = fake_clock::run(specimen())?;
    let mut page = HEAD.to_owned();
    page += &instance::section(&instance, &placement);
    page += &agent::section(placement.id, &spec);
    page += &nodes();
    page += &imports();
    Ok(page)
}

fn nodes() -> String {
    let mut edges = Edges::new();
    for from in NodeState::ALL {
        for event in NodeEvent::ALL {
            if let Some(to) = from.after(*event) {
                edges.entry((from.name(), to.name())).or_default().push(event.name());
            }
        }
        for request in NodeRequest::ALL {
            if let Some(to) = from.asked(*request).filter(|to| to != from) {
                edges.entry((from.name(), to.name())).or_default().push(request.name());
            }
        }
    }
    let names = NodeState::ALL.iter().map(|state| state.name());
    let asked = "What an operator asks (– is refused):";
    let diagram = diagram(names, ("enrol", NodeState::Up.name()), &edges);
    format!("\n## A node\n\n{diagram}\n{asked}\n\n{}", node_requests())
}

fn node_requests() -> String {
    let names = NodeRequest::ALL.iter().map(|request| request.name().to_owned());
    let mut text = head(std::iter::once(String::new()).chain(names));
    for from in NodeState::ALL {
        let answers =
            NodeRequest::ALL.iter().map(|request| from.asked(*request).map_or("–", NodeState::name));
        text += &row(std::iter::once(from.name()).chain(answers).map(str::to_owned));
    }
    text
}

fn imports() -> String {
    let mut edges = Edges::new();
    for from in ImportState::ALL {
        for event in ImportEvent::ALL {
            if let Some(to) = from.after(*event) {
                edges.entry((from.name(), to.name())).or_default().push(event.name());
            }
        }
    }
    let names = ImportState::ALL.iter().map(|state| state.name());
    format!(
        "\n## An import of an image\n\n{}",
        diagram(names, ("import", ImportState::Active.name()), &edges)
    )
}

/// A state diagram that GitHub and other viewers of Markdown draw.
fn diagram(
    names: impl Iterator<Item = &'static str>,
    (how, first): (&str, &'static str),
    edges: &Edges,
) -> String {
    let id = |name: &str| name.replace('-', "_");
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for name in names {
        let _ = writeln!(text, "    state \"{name}\" as {}", id(name));
    }
    let _ = writeln!(text, "    [*] --> {}: {how}", id(first));
    for ((from, to), labels) in edges {
        let _ = writeln!(text, "    {} --> {}: {}", id(from), id(to), labels.join(" / "));
    }
    text + "```\n"
}

/// A row of a table.
fn row(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A table's head.
fn head(cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().collect();
    let rule = "|---".repeat(cells.len());
    row(cells) + &rule + "|\n"
}
