//! The committed OpenAPI document is the registry's.

use std::path::Path;

/// With `TEPUI_UPDATE_GOLDEN=1` the file is written instead of compared.
#[test]
fn the_committed_document_is_that_of_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let now = format!("{:#}\n", tepui_server::openapi::document());
    if std::env::var_os("TEPUI_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "api/openapi.json is old: run the test with TEPUI_UPDATE_GOLDEN=1");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = tepui_server::openapi::document();
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
}
