use serde::Serialize;

use super::*;
use crate::exit::Exit;

#[derive(Serialize)]
struct Thing {
    id: &'static str,
    name: &'static str,
    size: u32,
    note: Option<&'static str>,
    tags: Vec<&'static str>,
    quota: Inner,
}

#[derive(Serialize)]
struct Inner {
    vcpus: u32,
}

impl Shown for Thing {
    const COLUMNS: &'static [&'static str] = &["name", "id", "size"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.into(), self.id.into(), self.size.to_string()]
    }

    fn id(&self) -> String {
        self.id.into()
    }
}

fn things() -> Vec<Thing> {
    let inner = || Inner { vcpus: 8 };
    vec![
        Thing { id: "t-1", name: "web", size: 10, note: None, tags: vec!["a", "b"], quota: inner() },
        Thing { id: "t-22", name: "a\tb\u{1b}[2J", size: 7, note: Some("x"), tags: vec![], quota: inner() },
    ]
}

fn json_of(fields: &[&str]) -> Format {
    Format::Json(Json { fields: fields.iter().map(ToString::to_string).collect(), ..Json::default() })
}

#[test]
fn a_filter_gets_the_wanted_fields_and_its_strings_do_not_steer_a_terminal() {
    let filtered = |to_terminal| {
        let filter = Some(".[1] | .name, keys".to_owned());
        let wanted = Json { fields: vec!["id".into(), "name".into()], filter, to_terminal };
        list(&Format::Json(wanted), &things()).unwrap()
    };
    assert_eq!(filtered(false), "a\tb\u{1b}[2J\n[\"id\",\"name\"]\n");
    assert_eq!(filtered(true), "a\tb\\u{1b}[2J\n[\"id\",\"name\"]\n");
}

#[test]
fn a_list_is_a_table_on_a_terminal() {
    insta::assert_snapshot!(list(&Format::Table { width: Some(80) }, &things()).unwrap());
}

#[test]
fn a_narrow_terminal_wraps_cells_and_loses_nothing() {
    let text = list(&Format::Table { width: Some(16) }, &things()).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 16), "{text}");
}

#[test]
fn a_list_is_tabs_in_a_pipe_with_one_line_an_object_whatever_the_names() {
    let text = list(&Format::Tabs, &things()).unwrap();
    assert_eq!(text, "web\tt-1\t10\na\\tb\\u{1b}[2J\tt-22\t7\n");
}

#[test]
fn quiet_prints_ids() {
    assert_eq!(list(&Format::Ids, &things()).unwrap(), "t-1\nt-22\n");
    assert_eq!(show(&Format::Ids, &things()[0]).unwrap(), "t-1\n");
}

#[test]
fn json_prints_all_fields_or_the_wanted_ones_in_their_order() {
    insta::assert_snapshot!(show(&Format::Json(Json::default()), &things()[0]).unwrap());
    let text = list(&json_of(&["size", "id"]), &things()).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value, serde_json::json!([{"size": 10, "id": "t-1"}, {"size": 7, "id": "t-22"}]));
}

#[test]
fn an_unknown_field_is_a_usage_failure_that_lists_the_fields() {
    let failure = list(&json_of(&["colour"]), &things()).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    insta::assert_snapshot!(failure.render());
}

#[test]
fn show_prints_each_leaf_on_its_line_and_leaves_out_what_has_no_value() {
    insta::assert_snapshot!(show(&Format::Table { width: None }, &things()[0]).unwrap());
}

#[test]
fn a_guest_cannot_steer_the_terminal() {
    assert_eq!(harmless("a\tb\r\n\u{1b}[2Jc"), "a\tb\n\\u{1b}[2Jc");
}
