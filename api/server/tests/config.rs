//! What a wrong configuration file is told.

use std::fmt::Write;
use std::path::Path;

use tepui_server::Config;

const GOOD: &str = r#"data_dir = "/var/lib/tepui-api"
region = "tepui-1"
[public]
listen = "127.0.0.1:8773"
[agents]
listen = "127.0.0.1:8774"
names = ["10.213.0.1"]
[metrics]
listen = "127.0.0.1:9773"
"#;

const CHANGES: &[(&str, &str)] = &[
    ("region = \"tepui-1\"", ""),
    ("region = \"tepui-1\"", "region = \"Tepui 1\""),
    ("region = \"tepui-1\"", "region = \"tepui\""),
    ("region = \"tepui-1\"", "region = \"tepui-1\"\ncolour = \"red\""),
    ("\"/var/lib/tepui-api\"", "\"data\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"0.0.0.0:8773\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"localhost\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\ncertificate = \"/tls.pem\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"https://cloud.example:8773\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"cloud.example/ec2\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"cloud.example:\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"cloud.example:99999\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"me@cloud.example\""),
    ("listen = \"127.0.0.1:8773\"", "listen = \"127.0.0.1:8773\"\nendpoint = \"\""),
    ("listen = \"127.0.0.1:8774\"", ""),
    ("listen = \"127.0.0.1:8774\"", "listen = \"127.0.0.1:8774\"\nsocket = \"systemd\""),
    ("listen = \"127.0.0.1:8774\"", "socket = \"inetd\""),
    ("[\"10.213.0.1\"]", "[]"),
    ("listen = \"127.0.0.1:9773\"", "listen = \"10.0.0.1:9773\""),
    ("[metrics]", "[scheduling]\nvcpu_overcommit = 0.0\n[metrics]"),
    ("[metrics]", "[scheduling]\nmemory_overcommit = nan\n[metrics]"),
    ("[metrics]", "[scheduling]\nstrategy = \"random\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"198.18.0.1/24\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"10.0.0.0/8\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"172.31.4.0/24\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"169.254.169.0/24\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"100.64.0.0/24\"\n[metrics]"),
    ("[metrics]", "[network]\npublic_pool = \"10.213.0.0/24\"\n[metrics]"),
    ("[metrics]", "[images]\nallow_private_urls = \"no\"\n[metrics]"),
    ("[metrics]", "[retention]\naudit_days = 0\n[metrics]"),
    ("[metrics]", "[retention]\naudit_hours = 1\n[metrics]"),
    ("[public]", "[public"),
];

#[test]
fn each_mistake_is_told_with_file_field_and_rule() {
    let path = Path::new("api.toml");
    Config::parse(path, GOOD).unwrap();
    let mut told = String::new();
    for (old, new) in CHANGES {
        let text = GOOD.replacen(old, new, 1);
        assert_ne!(text, GOOD, "{old}");
        let error = Config::parse(path, &text).expect_err(new);
        writeln!(told, "--- {old} -> {new}\n{error}").unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_over_is_kept_as_long_as_the_file_says() {
    let text = format!("{GOOD}[retention]\naudit_days = 30\nimport_task_days = 1\n");
    let kept = Config::parse(Path::new("api.toml"), &text).unwrap().cloud().retention;
    let days =
        [kept.audit, kept.import_tasks, kept.join_tokens, kept.client_tokens].map(|d| d.as_secs() / 86_400);
    assert_eq!(days, [30, 1, 7, 2]);
    assert_eq!(kept.terminated_instances.as_secs(), 3600);
}

#[test]
fn an_endpoint_is_a_host_with_or_without_a_port() {
    for good in ["cloud.example", "cloud.example:8773", "192.0.2.1:443", "[2001:db8::1]:8773"] {
        let endpoint = format!("listen = \"127.0.0.1:8773\"\nendpoint = \"{good}\"");
        let text = GOOD.replacen("listen = \"127.0.0.1:8773\"", &endpoint, 1);
        Config::parse(Path::new("api.toml"), &text).expect(good);
    }
}

/// Each default that the example shows is the one that holds.
#[test]
fn the_documented_example_is_a_good_file_and_shows_the_defaults() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/api.toml"));
    let text = std::fs::read_to_string(path).unwrap();
    let shown = |line: &str| {
        let setting = line.strip_prefix("# ").filter(|setting| setting.contains(" = "));
        setting.unwrap_or(line).to_owned() + "\n"
    };
    let with_defaults: String = text.lines().map(shown).collect();
    let [plain, spelt_out] = [&text, &with_defaults].map(|text| Config::parse(path, text).unwrap());
    assert_ne!(text, with_defaults);
    assert_eq!(format!("{plain:?}"), format!("{spelt_out:?}"));
}
