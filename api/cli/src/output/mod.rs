//! How answers are printed: tables for people, tabs for pipes, JSON for programs, ids for shells.

mod filter;
mod record;
mod table;

use serde::Serialize;
use serde_json::Value;

use crate::failure::{Failure, Result};

pub use filter::check as check_filter;

/// The form of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns under a heading, for a terminal.
    Table {
        /// Columns of the terminal.
        width: Option<u16>,
    },
    /// One line an object, cells separated by tabs, no heading.
    Tabs,
    /// JSON.
    Json(Json),
    /// One id a line.
    Ids,
}

/// What of an answer is printed as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Json {
    /// Only these fields, or all if there are none.
    pub fields: Vec<String>,
    /// A filter of jq, which gets what remains.
    pub filter: Option<String>,
    /// A person reads it.
    pub to_terminal: bool,
}

/// A kind of object that can be listed and shown.
pub trait Shown: Serialize {
    /// Headings of the list.
    const COLUMNS: &'static [&'static str];
    /// One cell for each heading.
    fn cells(&self) -> Vec<String>;
    /// What `--quiet` prints.
    fn id(&self) -> String;
}

/// The text for a list of objects.
///
/// # Errors
/// A usage failure that lists the fields, when a wanted field does not exist; a filter that fails.
pub fn list<T: Shown>(format: &Format, rows: &[T]) -> Result<String> {
    Ok(match format {
        Format::Table { width } => table::table(T::COLUMNS, rows.iter().map(T::cells), *width),
        Format::Tabs => lines(rows.iter().map(|row| tabs(&row.cells()))),
        Format::Json(wanted) => {
            let picked = rows.iter().map(|row| record::pick(record::value(row)?, &wanted.fields));
            json(wanted, &Value::Array(picked.collect::<Result<_>>()?))?
        }
        Format::Ids => lines(rows.iter().map(T::id)),
    })
}

/// The text for one object, every field of it.
///
/// # Errors
/// As [`list`].
pub fn show<T: Shown>(format: &Format, row: &T) -> Result<String> {
    match format {
        Format::Ids => Ok(row.id() + "\n"),
        Format::Table { .. } | Format::Tabs | Format::Json(_) => object(format, row),
    }
}

/// The text for an answer that is no listed kind of object; `--quiet` prints it as tabs do.
///
/// # Errors
/// As [`list`].
pub fn object<T: Serialize>(format: &Format, row: &T) -> Result<String> {
    let value = record::value(row)?;
    Ok(match format {
        Format::Table { .. } => table::pairs(&record::flatten(&value)),
        Format::Tabs | Format::Ids => {
            lines(record::flatten(&value).into_iter().map(|(key, text)| tabs(&[key, text])))
        }
        Format::Json(wanted) => json(wanted, &record::pick(value, &wanted.fields)?)?,
    })
}

/// Two columns, aligned: the plan of a command, or facts under a heading.
pub fn pairs(rows: &[(String, String)]) -> String {
    table::pairs(rows)
}

/// `text` with every control character made visible: names and messages come from others, and a
/// terminal obeys what it is sent.
pub fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

fn json(wanted: &Json, value: &Value) -> Result<String> {
    let Some(code) = &wanted.filter else { return Ok(format!("{value:#}\n")) };
    let texts = filter::apply(code, value)?;
    Ok(lines(texts.into_iter().map(|text| if wanted.to_terminal { harmless(&text) } else { text })))
}

/// Text of others for a terminal: lines and tabs stay, carriage returns and escape sequences go.
pub fn harmless(text: &str) -> String {
    let line =
        |line: &str| line.trim_end_matches('\r').split('\t').map(printable).collect::<Vec<_>>().join("\t");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn tabs(cells: &[String]) -> String {
    cells.iter().map(|cell| printable(cell)).collect::<Vec<_>>().join("\t")
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn unknown_field(wanted: &str, known: &[String]) -> Failure {
    Failure::usage(format!("this answer has no field '{wanted}'"))
        .why(format!("its fields: {}", known.join(", ")))
        .docs("tepui help output")
}

#[cfg(test)]
mod tests;
