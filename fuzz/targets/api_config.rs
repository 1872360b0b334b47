//! Any text is a configuration of the control plane, or is refused with the file's name; what is accepted
//! can be used.

use std::path::Path;

use tepui_server::Config;

pub(crate) fn run(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Config::parse(Path::new("api.toml"), text) {
        Ok(config) => {
            assert!(config.layout().images().is_absolute(), "{config:?}");
            let cloud = config.cloud();
            assert!(cloud.zone().starts_with(&cloud.region));
        }
        Err(error) => assert!(error.to_string().contains("api.toml"), "{error}"),
    }
}
