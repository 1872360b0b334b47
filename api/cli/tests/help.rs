//! Help, manual pages and completions of every command, against golden files.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::process::Command;

use assert_cmd::cargo::CommandCargoExt;
use clap::{CommandFactory, Parser};
use tepui_cli::cli::Cli;

/// Every command that is not hidden, as the words after `tepui`.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
        found.push(path.to_vec());
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            walk(inner, &[path, &[inner.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    walk(&Cli::command(), &[], &mut found);
    found
}

fn tepui(words: &[String]) -> (String, i32) {
    let mut command = Command::cargo_bin("tepui").unwrap();
    let output = command.args(words).env_clear().output().unwrap();
    assert!(output.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[test]
fn every_commands_help_is_as_it_was() {
    for words in commands() {
        let (text, code) = tepui(&[&words[..], &["--help".to_owned()]].concat());
        assert_eq!(code, 0);
        insta::assert_snapshot!(format!("tepui {}", words.join(" ")).trim().replace(' ', "_"), text);
    }
}

#[test]
fn every_commands_help_begins_with_two_examples_that_parse_and_mean_it() {
    for words in commands() {
        let (text, _) = tepui(&[&words[..], &["--help".to_owned()]].concat());
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("Examples:"), "{words:?}");
        for _ in 0..2 {
            let example = lines.next().unwrap().trim();
            let example = example.trim_start_matches("sudo ");
            let example =
                example.strip_prefix("eval \"$(").and_then(|e| e.strip_suffix(")\"")).unwrap_or(example);
            let parts = shlex::split(example).unwrap();
            assert!(parts.starts_with(&[&["tepui".to_owned()], &words[..]].concat()), "{words:?}: {example}");
            if let Err(error) = Cli::try_parse_from(&parts) {
                panic!("{example}: {error}");
            }
        }
        assert_eq!(lines.next(), Some(""), "{words:?}");
    }
}

#[test]
fn help_with_words_is_the_same_as_the_flag() {
    for words in commands() {
        let flag = tepui(&[&words[..], &["--help".to_owned()]].concat());
        let word = tepui(&[&["help".to_owned()], &words[..]].concat());
        assert_eq!(flag, word, "{words:?}");
    }
}

#[test]
fn every_topic_that_an_error_points_to_is_there() {
    for (topic, text) in tepui_cli::command::help::TOPICS {
        assert_eq!(tepui(&["help".into(), (*topic).into()]), ((*text).to_owned(), 0));
        assert!(text.lines().all(|line| line.chars().count() <= 84), "{topic} is too wide");
    }
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("man1");
    let output = Command::cargo_bin("tepui").unwrap().arg("man").arg(&target).output().unwrap();
    assert!(output.status.success());
    for words in commands() {
        let page = target.join(format!("{}.1", [&["tepui".to_owned()], &words[..]].concat().join("-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains(".SH SYNOPSIS"), "{}", page.display());
    }
}

#[test]
fn completions_ask_this_program_and_bash_accepts_them() {
    for shell in ["bash", "zsh", "fish"] {
        let (script, code) = tepui(&["completions".into(), shell.into()]);
        assert_eq!(code, 0);
        assert!(script.contains("TEPUI_COMPLETE"), "{shell}: {script}");
    }
    let (script, _) = tepui(&["completions".into(), "bash".into()]);
    let check = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
