//! The troubleshooting guide has a section for every message that the provider has.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{markdown::Page, root};

/// Where messages for users are written.
const SOURCES: [&str; 2] = ["src/provider", "src/framework"];
/// Files of these that users never meet: a provider that only tests have.
const TESTS_ONLY: [&str; 1] = ["src/framework/sample.rs"];
/// Every summary that the code can emit has a heading in the guide, and every heading of an error is still a
/// summary of the code.
#[test]
fn troubleshooting_is_complete() -> anyhow::Result<()> {
    let page = Page::read(Path::new("docs/guides/troubleshooting.md"))?;
    let headings: BTreeSet<String> = page
        .headings()
        .into_iter()
        .filter(|heading| heading.level == 3)
        .map(|heading| heading.text)
        .collect();
    let summaries = summaries()?;
    let missing: Vec<String> = summaries
        .iter()
        .filter(|(summary, _)| !headings.contains(*summary))
        .map(|(summary, file)| format!("{summary} ({})", file.display()))
        .collect();
    assert!(
        missing.is_empty(),
        "the guide lacks:\n{}",
        missing.join("\n")
    );
    let stale: Vec<&String> = headings
        .iter()
        .filter(|heading| !summaries.contains_key(*heading))
        .collect();
    assert!(stale.is_empty(), "no code says this any more: {stale:#?}");
    assert!(
        summaries.len() > 50,
        "only {} summaries were found",
        summaries.len()
    );
    Ok(())
}

/// What is found in a file, whichever way a summary is written.
#[test]
fn summaries_are_found() {
    let text = r##"
        const TAKEN: &str = "Cannot take";
        fn one() { Diagnostic::error("Plain error", "Detail."); }
        fn two() { cx.warn(Diagnostic::warning(
            "Over lines",
            detail)); }
        fn three() { diagnose::oci("Through a helper", what); Diagnostic::error(TAKEN, detail); }
        fn four() { let summary = "By a name"; Diagnostic::error(summary, detail) }
        fn five() { Attempt { summary: "In a \"member\"" }; diagnose::stopped(what); Diagnostic::error("Interrupted", what) }
        fn six() { tracing::debug!("Only logged"); "Cannot sit in a text alone, for it is a sentence." }
        #[cfg(test)]
        mod tests { fn seven() { Diagnostic::error("In a test", ""); } }
    "##;
    let found = summaries_in(text);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(
        found,
        [
            "By a name",
            "Cannot take",
            "In a \"member\"",
            "Interrupted",
            "Over lines",
            "Plain error",
            "Through a helper"
        ]
    );
}

fn summaries() -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut files = Vec::new();
    for folder in SOURCES {
        collect(&root().join(folder), &mut files)?;
    }
    for path in files {
        let name = path.strip_prefix(root()).unwrap_or(&path).to_owned();
        if TESTS_ONLY.iter().any(|file| name == Path::new(file)) {
            continue;
        }
        for summary in summaries_in(&fs::read_to_string(&path)?) {
            found.insert(summary, name.clone());
        }
    }
    Ok(found)
}

fn summaries_in(text: &str) -> BTreeSet<String> {
    // Tests are at the bottom of a file.
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for (at, literal) in literals(code) {
        let before = code[..at].trim_end();
        let given = CALLS.iter().any(|call| before.ends_with(call));
        let constant = before.ends_with("&str =") && used_as_summary(code, at);
        // Helpers take summaries in their own ways; what fails is called so everywhere.
        let fails = literal.starts_with("Cannot ");
        if (given || constant || fails) && is_summary(&literal) {
            found.insert(literal);
        }
    }
    found
}

/// What stands before a summary.
const CALLS: &[&str] = &[
    "Diagnostic::error(",
    "Diagnostic::warning(",
    "diagnose::oci(",
    "diagnose::refusal(",
    "diagnose::registry(",
    "failed(cx,",
    "refusal(",
    "summary =",
    "summary:",
];

/// Whether the constant that is declared at a place is a summary: its name stands where summaries do.
fn used_as_summary(code: &str, at: usize) -> bool {
    let name = code[..at]
        .rsplit("const ")
        .next()
        .and_then(|rest| rest.split(':').next())
        .unwrap_or_default()
        .trim();
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let handed_on = |call: &&str| {
        flat.contains(&format!("{call}{name},")) || flat.contains(&format!("{call} {name},"))
    };
    CALLS.iter().any(handed_on)
}

/// A few words, with a capital and without a period.
fn is_summary(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.len() < 60
        && !text.contains(['{', '.', ':', '\n', '`'])
}

/// The texts of a file and where their first quotation mark is.
fn literals(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in code.split_inclusive('\n') {
        if !line.trim_start().starts_with("//") {
            let mut rest = line;
            let mut at = offset;
            while let Some(start) = rest.find('"') {
                let inner = &rest[start + 1..];
                let quoted = |end: &usize| !inner[..*end].ends_with('\\');
                let Some(end) = inner.match_indices('"').map(|(end, _)| end).find(quoted) else {
                    break;
                };
                found.push((at + start, inner[..end].replace("\\\"", "\"")));
                let next = start + end + 2;
                at += next;
                rest = &rest[next..];
            }
        }
        offset += line.len();
    }
    found
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(())
}
