//! Runs the cases: each contender once, then each again, so that whatever else the machine does
//! meanwhile hits them alike.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    arguments::Arguments,
    cases::{self, Case},
    contender::{Contender, Content, Measured, Scene},
    note,
    place::Place,
    table::Row,
};

/// The cases that are wanted.
pub(crate) fn wanted(arguments: &Arguments) -> Vec<Case> {
    let mut cases = if arguments.quick { cases::quick() } else { cases::all() };
    let begins = |name: &str, with: &[String]| {
        with.is_empty() || with.iter().any(|with| name.starts_with(with.as_str()))
    };
    cases.retain(|case| begins(&case.name, &arguments.only));
    for case in &mut cases {
        let first = case.contenders.remove(0);
        case.contenders.retain(|contender| begins(&contender.to_string(), &arguments.against));
        case.contenders.insert(0, first);
        case.contenders.extend(arguments.connections.iter().map(|n| cases::connections(n)));
        if let Some(size) = arguments.size.filter(|_| case.files == 1) {
            case.size = size * 1024 * 1024;
        }
    }
    cases
}

/// Runs a case.
pub(crate) fn run(case: &Case, runs: u64, patience: Duration) -> Vec<Row> {
    if let Err(why) = Place::new(case.place, 0) {
        note(&format!("{} is left out: {why}", case.name));
        return Vec::new();
    }
    let folder = TempDir::new().expect("there is room for temporary files");
    let content = content(case, folder.path());
    let present = case.contenders.iter().filter(|contender| is_present(case, contender));
    let mut rows: Vec<_> = present.map(|contender| Row::new(case, contender)).collect();
    for run in 1..=runs {
        rows.retain_mut(|row| {
            let measured = once(case, &row.contender, &content, folder.path(), run, patience);
            match measured {
                Ok(measured) => row.add(&measured),
                Err(why) => {
                    note(&format!("{}: {} is left out: {why}", case.name, row.contender));
                    return false;
                }
            }
            note(&format!("{}, run {run} of {runs}: {}", case.name, row.last()));
            true
        });
    }
    rows
}

fn is_present(case: &Case, contender: &Contender) -> bool {
    let missing = contender.missing();
    if let Some(why) = &missing {
        note(&format!("{}: {contender} is left out: {why}", case.name));
    }
    missing.is_none()
}

/// One run, in a place that nobody has used: systems remember how a path was.
fn once(
    case: &Case,
    contender: &Contender,
    content: &Content,
    folder: &Path,
    run: u64,
    patience: Duration,
) -> Result<Measured, String> {
    super::stop_if_told();
    let [target, home] = ["target", "home"].map(|name| folder.join(name));
    fs::create_dir(&target).expect("it was removed");
    fs::create_dir_all(&home).expect("the folder is this program's own");
    let place = Place::new(case.place, run)?;
    let scene = Scene { place: &place, content, target: &target, home: &home, patience };
    let measured = contender.run(&scene);
    fs::remove_dir_all(&target).expect("the folder is this program's own");
    measured
}

/// Makes what is sent.
fn content(case: &Case, folder: &Path) -> Content {
    let bytes = case.files * case.size;
    let one_file = folder.join("one file");
    let mut noise = Noise(1);
    if case.files == 1 {
        write(&one_file, bytes, &mut noise);
        return Content { path: one_file.clone(), one_file, bytes };
    }
    let path: PathBuf = folder.join("many files");
    fs::create_dir(&path).expect("the folder is new");
    for number in 0..case.files {
        write(&path.join(number.to_string()), case.size, &mut noise);
    }
    write(&one_file, bytes, &mut noise);
    Content { path, one_file, bytes }
}

/// Writes bytes that cannot be compressed.
fn write(path: &Path, bytes: u64, noise: &mut Noise) {
    let mut file = BufWriter::new(File::create(path).expect("there is room"));
    for _ in 0..bytes / 8 {
        file.write_all(&noise.next().to_le_bytes()).expect("there is room");
    }
    file.write_all(&[7; 7][..(bytes % 8) as usize]).expect("there is room");
    let file = file.into_inner().expect("there is room");
    file.sync_all().expect("there is room");
}

/// Bytes that look random (xorshift), the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
