//! What the READMEs claim: the dependencies, the recipes, and that both languages say the same.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    markdown::{Page, all_pages},
    root,
};

/// The list of dependencies names each direct one and no other, in both languages.
#[test]
fn dependencies_are_listed() -> anyhow::Result<()> {
    let manifest = fs::read_to_string(root().join("Cargo.toml"))?;
    let direct: BTreeSet<&str> = manifest
        .split("\n[")
        .find_map(|section| section.strip_prefix("dependencies]"))
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("terraform-provider-ocir-"))
        .collect();
    assert!(direct.len() > 30, "{direct:?}");
    for (file, heading) in [
        ("README.md", "Dependencies"),
        ("README.pt-BR.md", "Dependências"),
    ] {
        let page = Page::read(Path::new(file))?;
        let section = page
            .text()
            .split("\n## ")
            .find(|section| section.lines().next() == Some(heading));
        let section = section.unwrap_or_else(|| panic!("{file} has no section \"{heading}\""));
        let listed: BTreeSet<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split(" | ").next())
            .flat_map(|names| names.split('`').step_by(2))
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(listed, direct, "{file}");
        let without_a_job = section.lines().find(|line| {
            line.starts_with("| `")
                && line
                    .split('|')
                    .nth(2)
                    .is_none_or(|job| job.trim().is_empty())
        });
        assert_eq!(without_a_job, None, "{file}");
    }
    Ok(())
}

/// The Portuguese README and the first guide have the sections, the code, the tables and the
/// figures of the English ones.
#[test]
fn translations_are_in_step() -> anyhow::Result<()> {
    let pairs = [
        ("README.md", "README.pt-BR.md"),
        (
            "docs/guides/getting-started.md",
            "docs/guides/getting-started-pt-br.md",
        ),
    ];
    for (original, translation) in pairs {
        let (one, other) = (
            Page::read(Path::new(original))?,
            Page::read(Path::new(translation))?,
        );
        let levels = |page: &Page| {
            page.headings()
                .iter()
                .map(|heading| heading.level)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            levels(&one),
            levels(&other),
            "headings of {original} and {translation}"
        );
        let code = |page: &Page| {
            let fences = page.fences().into_iter();
            fences
                .map(|fence| (fence.language, fence.remark, without_comments(&fence.text)))
                .collect::<Vec<_>>()
        };
        let (ours, theirs) = (code(&one), code(&other));
        assert_eq!(
            ours.len(),
            theirs.len(),
            "code of {original} and {translation}"
        );
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{translation}");
        }
        let rows = |page: &Page| {
            page.prose()
                .iter()
                .filter(|(_, line)| line.starts_with('|'))
                .count()
        };
        assert_eq!(
            rows(&one),
            rows(&other),
            "rows of tables in {original} and {translation}"
        );
        let figures = |page: &Page| {
            let prose = page.prose();
            let rows = prose.iter().filter(|(_, line)| line.starts_with('|'));
            let figures: Vec<String> = rows
                .map(|(_, line)| line.chars().filter(char::is_ascii_digit).collect())
                .collect();
            figures
        };
        assert_eq!(
            figures(&one),
            figures(&other),
            "figures in the tables of {original} and {translation}"
        );
    }
    Ok(())
}

/// What a page says to run exists: recipes of make, and options of the emulator.
#[test]
fn commands_exist() -> anyhow::Result<()> {
    let makefile = fs::read_to_string(root().join("Makefile"))?;
    let recipes: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| line.contains("## "))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name)
        .collect();
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_ocir-emulator"))
        .arg("--help")
        .output()?;
    let help = String::from_utf8(help.stdout)?;
    let mut count = 0;
    for page in all_pages()? {
        for fence in page.fences() {
            for line in fence.text.lines() {
                let place = format!("{}:{}: {line}", page.path.display(), fence.line);
                let line = line.split(" #").next().unwrap_or_default().trim();
                if let Some(recipe) = line.strip_prefix("make ") {
                    let recipe = recipe.split_whitespace().next().unwrap_or_default();
                    assert!(recipes.contains(recipe), "{place}");
                    count += 1;
                }
                if line.contains("ocir-emulator ") && !line.contains(" call ") {
                    let options = line.split("ocir-emulator ").nth(1).unwrap_or_default();
                    for word in options
                        .split_whitespace()
                        .filter(|word| word.starts_with("--"))
                    {
                        assert!(help.contains(word), "{place}");
                        count += 1;
                    }
                }
            }
        }
    }
    assert!(count >= 5, "only {count} commands were found");
    Ok(())
}

/// A policy statement on a page is one that Oracle can read, and gives a right that the provider
/// asks for, as its own errors name them.
#[test]
fn policies_are_the_providers() -> anyhow::Result<()> {
    let source = fs::read_to_string(root().join("src/provider/policy.rs"))?;
    let rights: BTreeSet<(String, String)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("right("))
        .filter_map(|line| {
            let parts: Vec<&str> = line.split(", ").collect();
            let verb = parts.get(2)?.trim_matches('"');
            let resource = parts.get(3)?.trim_end_matches("),").trim_matches('"');
            Some((verb.to_owned(), resource.to_lowercase()))
        })
        .collect();
    assert!(
        rights.contains(&("manage".to_owned(), "repos".to_owned())),
        "{rights:?}"
    );
    let mut count = 0;
    for page in all_pages()? {
        for fence in page.fences() {
            for line in fence.text.lines().filter(|line| line.starts_with("Allow ")) {
                let place = format!("{}:{}: {line}", page.path.display(), fence.line);
                let (statement, condition) = line.split_once(" where ").unwrap_or((line, ""));
                let words: Vec<&str> = statement.split(' ').collect();
                let (subject, rest) = match words[1] {
                    "any-user" => (1, &words[2..]),
                    "group" | "dynamic-group" => (2, &words[3..]),
                    _ => panic!("{place}: who is allowed?"),
                };
                assert!(
                    subject == 2 || condition.contains("request.principal"),
                    "{place}: everybody is allowed"
                );
                let ["to", verb, resource, "in", scope @ ..] = rest else {
                    panic!("{place}: what is allowed?");
                };
                assert!(
                    matches!(scope, ["tenancy"] | ["compartment", _]),
                    "{place}: where?"
                );
                assert!(
                    rights.contains(&((*verb).to_owned(), (*resource).to_owned())),
                    "{place}: the provider asks for no such right"
                );
                count += 1;
            }
        }
    }
    assert!(count >= 10, "only {count} statements were found");
    Ok(())
}

/// Comments are translated, and commands are not.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once('#') {
        Some((code, _)) => code.trim_end(),
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}
