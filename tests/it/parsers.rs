//! Everything that reads what others wrote is in the table of `src/spoilt.rs`, with what
//! shows that it withstands anything.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;

/// What tells that a file reads something: a format, or a text of ours.
const SIGNS: &[&str] = &[
    "serde_json::from_",
    "FromStr for",
    "fn parse",
    ".parse()",
    ".parse::<",
    "Url::parse(",
    "_pem_slice",
    ".decode(",
];

/// A row for every file with a parser or a property, and every property in its row.
#[test]
fn the_table_is_complete() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let rows = rows(&read("src/spoilt.rs")?)?;
    let mut sources = BTreeMap::new();
    for (file, text) in super::layers::sources(&root.join("src"))? {
        let file = Path::new(&file).strip_prefix(root.join("src"))?;
        let file = file.to_string_lossy().replace('\\', "/");
        // The emulator reads what tests and demos send, and the rest is part of tests.
        let is_other = ["emulator/", "bin/", "spoilt.rs"]
            .iter()
            .any(|start| file.starts_with(start));
        if !is_other && !file.ends_with("/testing.rs") {
            sources.insert(file, text);
        }
    }
    let mut wrong = Vec::new();
    for (file, text) in &sources {
        let code = super::layers::without_tests_and_comments(text);
        let sign = SIGNS.iter().find(|sign| code.contains(**sign));
        let properties = names(text, "fn any_");
        let row = rows.get(file).map_or(&[][..], Vec::as_slice);
        if let (Some(sign), true) = (sign, row.is_empty()) {
            wrong.push(format!("{file} has {sign:?} and no row"));
        }
        for property in properties {
            if !row.contains(&property) {
                wrong.push(format!("the row of {file} does not name {property}"));
            }
        }
    }
    for (file, tests) in &rows {
        let Some(text) = sources.get(file) else {
            wrong.push(format!("{file} is no file"));
            continue;
        };
        for test in tests {
            let (place, name) = match test.split_once("::") {
                Some(("answers", name)) => (read("tests/it/answers.rs")?, name),
                Some(("properties", name)) => (read("src/image/properties.rs")?, name),
                Some((file, name)) => (read(&format!("src/{file}"))?, name),
                None => (text.clone(), test.as_str()),
            };
            if !place.contains(&format!("fn {name}(")) {
                wrong.push(format!("{file} names {test}, which is not there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Files, and the tests in their rows.
fn rows(text: &str) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let (file, rest) = line.split_once('`').context("a file is in backticks")?;
        let tests = rest.rsplit(" | ").next().unwrap_or_default();
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        let before = rows.insert(file.to_owned(), tests.collect::<Vec<_>>());
        anyhow::ensure!(before.is_none(), "{file} has two rows");
    }
    anyhow::ensure!(rows.len() > 40, "the table has only {} rows", rows.len());
    Ok(rows)
}

/// Names of functions that begin so, in tests of properties.
fn names(text: &str, start: &str) -> Vec<String> {
    let Some((_, tests)) = text.split_once("proptest! {") else {
        return Vec::new();
    };
    let named = tests.match_indices(start).map(|(at, _)| {
        let name = &tests[at + "fn ".len()..];
        name[..name.find('(').unwrap_or_default()].to_owned()
    });
    named.collect()
}
