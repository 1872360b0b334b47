//! Runs a target over its corpus and over mutations of it, in the ordinary tests: the libFuzzer build of
//! `make fuzz` is a second release build of what the targets rest on, which no test run has the time for.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// One change of a case.
#[derive(Debug, Clone)]
enum Edit {
    /// Another byte in a place.
    Byte(Index, u8),
    /// These bytes go.
    Cut(Index, Index),
    /// Bytes of a case of the corpus come in between.
    Splice(Index, Index, Index, Index),
}

/// Runs `target` over the cases of `fuzz/corpus/NAME`, and over `mutants` mutations of them.
pub(crate) fn run(name: &str, mutants: u32, target: fn(&[u8])) {
    let corpus = corpus(name);
    corpus.iter().for_each(|case| target(case));
    let edit = prop_oneof![
        4 => any::<(Index, u8)>().prop_map(|(at, byte)| Edit::Byte(at, byte)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Edit::Cut(from, to)),
        2 => any::<(Index, Index, Index, Index)>().prop_map(|(of, from, to, at)| Edit::Splice(of, from, to, at)),
    ];
    let config = Config { cases: mutants, failure_persistence: None, ..Config::default() };
    let mutants = (any::<Index>(), vec(edit, 1..5));
    let outcome = TestRunner::new(config).run(&mutants, |(of, edits)| {
        let mutant = edits.iter().fold(of.get(&corpus).clone(), |case, edit| edited(case, edit, &corpus));
        target(&mutant);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder =
        root.ancestors().map(|folder| folder.join("fuzz/corpus").join(name)).find(|folder| folder.is_dir());
    let files = fs::read_dir(folder.expect("the target has a corpus")).expect("a folder");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    files.sort_unstable();
    files.into_iter().map(|file| fs::read(file).expect("a case")).collect()
}

fn edited(mut case: Vec<u8>, edit: &Edit, corpus: &[Vec<u8>]) -> Vec<u8> {
    match edit {
        Edit::Byte(at, byte) if !case.is_empty() => *at.get_mut(&mut case) = *byte,
        Edit::Byte(..) => {}
        Edit::Cut(from, to) => drop(case.drain(range(&case, from, to))),
        Edit::Splice(of, from, to, at) => {
            let other = of.get(corpus);
            let (piece, at) = (other[range(other, from, to)].to_vec(), at.index(case.len() + 1));
            case.splice(at..at, piece);
        }
    }
    case
}

fn range(case: &[u8], from: &Index, to: &Index) -> std::ops::Range<usize> {
    let (one, other) = (from.index(case.len() + 1), to.index(case.len() + 1));
    one.min(other)..one.max(other)
}
