//! Aligned text.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

use super::printable;

/// Rows under a heading. `width` is the terminal's: too long cells wrap.
pub(super) fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>, width: Option<u16>) -> String {
    let mut table = plain();
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(columns.iter().map(|column| column.to_uppercase()));
    table.add_rows(rows.map(|cells| cells.iter().map(|cell| printable(cell)).collect::<Vec<_>>()));
    finish(table)
}

/// Name and value, without a heading.
pub(super) fn pairs(rows: &[(String, String)]) -> String {
    let mut table = plain();
    table.add_rows(rows.iter().map(|(key, value)| [printable(key), printable(value)]));
    finish(table)
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table
}

/// Without the padding at the left and at the ends of the lines.
fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
