//! The page of states in the documentation is what the code does.

use std::path::Path;

use tepui_simulation::states_page;

/// With `TEPUI_UPDATE_GOLDEN=1` the page is written instead of compared.
#[test]
fn the_page_of_states_is_drawn_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states.md");
    let now = states_page().expect("a page");
    if std::env::var_os("TEPUI_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).expect("docs can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "docs/states.md is old: run this test with TEPUI_UPDATE_GOLDEN=1");
}
