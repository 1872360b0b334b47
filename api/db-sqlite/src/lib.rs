//! The embedded storage engine: SQLite with a group-committing writer.
