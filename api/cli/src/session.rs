//! One command's hold on the outside: where it prints, asks and calls.

use std::io::{BufRead, ErrorKind, Write};
use std::sync::{Arc, Mutex};

use serde::Serialize;

use crate::cli::Global;
use crate::failure::{Failure, Result};
use crate::local::{Hidden, Target};
use crate::output::{self, Format, Json, Shown};
use crate::progress::Progress;
use crate::world::{Streams, World};

/// What every command gets.
pub struct Session {
    /// The surroundings.
    pub world: World,
    /// The form of the answer.
    pub format: Format,
    /// Which cloud is meant, with which credential.
    pub(crate) target: Result<Target>,
    /// Print each REST call.
    pub show_request: bool,
    /// What to say after Ctrl-C, once work is under way that outlives this command.
    pub go_on: Option<String>,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    input: Arc<Mutex<Box<dyn BufRead + Send>>>,
}

impl Session {
    /// A session with the options that stand on every command.
    pub fn new(world: World, streams: Streams, global: &Global) -> Self {
        Self {
            format: format(&world, global),
            target: Target::of(&world),
            world,
            show_request: global.show_request,
            go_on: None,
            out: streams.out,
            err: streams.err,
            input: Arc::new(Mutex::new(streams.input)),
        }
    }

    /// Writes a part of the answer to standard output. A reader that went away (`| head`) is no
    /// failure: it has what it wanted.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print(&mut self, text: &str) -> Result<()> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        match written {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::io("standard output", &e)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Says something beside the answer, on standard error. Losing it is no failure.
    pub fn note(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = self.err.write_all(b"\n");
        }
        let _ = self.err.flush();
    }

    /// Prints a list; `empty` is said beside it when there is nothing and a person looks.
    ///
    /// # Errors
    /// An unknown field was asked for, or standard output cannot be written.
    pub fn list<T: Shown>(&mut self, rows: &[T], empty: &str) -> Result<()> {
        if rows.is_empty() && matches!(self.format, Format::Table { .. }) {
            self.note(empty);
            return Ok(());
        }
        let text = output::list(&self.format, rows)?;
        self.print(&text)
    }

    /// Prints one object.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub fn show<T: Shown>(&mut self, row: &T) -> Result<()> {
        let text = output::show(&self.format, row)?;
        self.print(&text)
    }

    /// Prints an answer that is no listed kind of object.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub fn object<T: Serialize>(&mut self, row: &T) -> Result<()> {
        let text = output::object(&self.format, row)?;
        self.print(&text)
    }

    /// Prints the id of what was changed or is gone.
    ///
    /// # Errors
    /// As [`Session::list`].
    pub fn id(&mut self, id: &str) -> Result<()> {
        match self.format {
            Format::Json(_) => self.object(&serde_json::json!({ "id": id })),
            Format::Table { .. } | Format::Tabs | Format::Ids => self.print(&format!("{id}\n")),
        }
    }

    /// Progress of long work.
    pub fn progress(&mut self) -> Progress<'_> {
        let silent = self.format == Format::Ids;
        Progress::new(&mut self.err, &mut self.go_on, self.world.progress, silent)
    }

    /// As [`Session::ask`], without showing on the terminal what is typed.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub async fn ask_secret(&mut self, question: &str) -> Result<String> {
        let hidden = self.world.stdin_is_terminal.then(Hidden::begin);
        let answer = self.ask(question).await;
        if hidden.is_some() {
            self.note("");
        }
        answer
    }

    /// Asks a person and returns the line, without its end. Reading happens on a thread of its
    /// own, so that Ctrl-C is heard meanwhile.
    ///
    /// # Errors
    /// Standard input cannot be read.
    pub async fn ask(&mut self, question: &str) -> Result<String> {
        let _ = self.err.write_all(question.as_bytes());
        let _ = self.err.flush();
        let input = Arc::clone(&self.input);
        let read = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let mut input = input.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            input.read_line(&mut line).map(|_| line)
        });
        let line = read.await.map_err(|e| Failure::failed(format!("standard input: {e}")))?;
        line.map(|line| line.trim().to_owned()).map_err(|e| Failure::io("standard input", &e))
    }
}

fn format(world: &World, global: &Global) -> Format {
    match global.json_fields() {
        _ if global.quiet => Format::Ids,
        Some(fields) => {
            Format::Json(Json { fields, filter: global.jq.clone(), to_terminal: world.stdout_is_terminal })
        }
        None if world.stdout_is_terminal => Format::Table { width: world.width },
        None => Format::Tabs,
    }
}
