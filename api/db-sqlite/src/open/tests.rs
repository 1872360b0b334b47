//! The schema and the settings of a fresh database.

use super::*;

fn pragma(connection: &Connection, name: &str) -> String {
    connection
        .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| row.get(0))
        .unwrap()
}

#[test]
fn the_writer_is_durable_and_checks_foreign_keys() {
    let directory = tempfile::tempdir().unwrap();
    let connection = connect(&directory.path().join("db"), &Options::default()).unwrap();
    assert_eq!(pragma(&connection, "journal_mode"), "wal");
    assert_eq!(pragma(&connection, "synchronous"), "2");
    assert_eq!(pragma(&connection, "foreign_keys"), "1");
}

#[test]
fn the_schema_is_the_sum_of_the_migrations() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection).unwrap();
    migrate(&mut connection).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'refinery%'
             ORDER BY type DESC, name",
        )
        .unwrap();
    let schema: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    insta::assert_snapshot!("schema", schema.join(";\n\n"));
    assert!(
        schema.iter().filter(|sql| sql.starts_with("CREATE TABLE")).all(|sql| sql.contains("STRICT")),
        "every table is strict"
    );
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    drop(SqliteDb::open(&path, Options::default()).unwrap());
    let connection = Connection::open(&path).unwrap();
    let later = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
                 SELECT 1000, 'later', applied_on, '1' FROM refinery_schema_history WHERE version = 1";
    connection.execute(later, []).unwrap();
    let error = SqliteDb::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Migration { .. }), "{error}");
    let versions = "SELECT max(version) FROM refinery_schema_history";
    assert_eq!(connection.query_row(versions, [], |row| row.get::<_, i64>(0)).unwrap(), 1000);
}

#[test]
fn a_path_that_is_no_file_in_a_directory_is_refused() {
    for path in ["/no/such/directory/db", "/", ".."] {
        let error = SqliteDb::open(Path::new(path), Options::default()).err().unwrap();
        assert!(error.to_string().starts_with(path), "{error}");
    }
}
