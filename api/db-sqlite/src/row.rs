//! Reads a row's columns in the order of its SELECT list, and the small helpers around statements.

use std::cell::Cell;

use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{Connection, Params, Row};

use crate::value::{S, Stored};

/// The columns of one row, left to right.
pub(crate) struct Columns<'a> {
    row: &'a Row<'a>,
    next: Cell<usize>,
}

impl<'a> Columns<'a> {
    /// Begins with the first column.
    pub(crate) fn of(row: &'a Row<'a>) -> Self {
        Self { row, next: Cell::new(0) }
    }

    fn advance(&self) -> usize {
        self.next.replace(self.next.get() + 1)
    }

    /// The next column, a type of SQLite's own.
    pub(crate) fn plain<T: FromSql>(&self) -> rusqlite::Result<T> {
        self.row.get(self.advance())
    }

    /// The next column, a type of the domain's.
    pub(crate) fn stored<T: Stored>(&self) -> rusqlite::Result<T> {
        self.plain::<S<T>>().map(|value| value.0)
    }

    /// The next column, a type of the domain's or NULL.
    pub(crate) fn optional<T: Stored>(&self) -> rusqlite::Result<Option<T>> {
        Ok(self.plain::<Option<S<T>>>()?.map(|value| value.0))
    }

    /// The next column as it is stored.
    pub(crate) fn raw(&self) -> rusqlite::Result<ValueRef<'a>> {
        self.row.get_ref(self.advance())
    }

    /// Whether the next column is NULL; does not pass over it.
    pub(crate) fn next_is_null(&self) -> rusqlite::Result<bool> {
        Ok(self.row.get_ref(self.next.get())? == ValueRef::Null)
    }

    /// Passes over columns.
    pub(crate) fn skip(&self, count: usize) {
        self.next.set(self.next.get() + count);
    }
}

/// All rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Columns<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(&Columns::of(row))?);
    }
    Ok(found)
}

/// The first row of a query.
pub(crate) fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Columns<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(|row| read(&Columns::of(row))).transpose()
}

/// Whether a query has a row.
pub(crate) fn exists(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<bool> {
    connection.prepare_cached(sql)?.exists(params)
}

/// Runs a statement; returns how many rows it changed.
pub(crate) fn execute(connection: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}
