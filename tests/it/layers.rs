//! Dependencies between the layers point one way.

use std::{collections::BTreeMap, fs, path::Path};

/// What each layer may build on. The emulator shares nothing with the clients:
/// two readings of the same documents catch what one would miss.
pub(crate) const MAY_USE: &[(&str, &[&str])] = &[
    ("credentials", &["region", "signing", "transport"]),
    ("cty", &[]),
    ("emulator", &[]),
    ("framework", &["cty"]),
    ("goplugin", &[]),
    ("image", &[]),
    ("oci", &["credentials", "region", "signing", "transport"]),
    ("protocol", &["cty", "framework", "goplugin"]),
    (
        "provider",
        &[
            "credentials",
            "cty",
            "framework",
            "image",
            "oci",
            "region",
            "registry",
            "transport",
        ],
    ),
    ("region", &[]),
    ("registry", &["image", "transport"]),
    ("signing", &[]),
    ("transport", &[]),
];

/// Crates that only some layers may know.
const CRATES: &[(&str, &[&str])] = &[
    ("tonic", &["goplugin", "protocol"]),
    ("prost", &["goplugin", "protocol"]),
    // The emulator's `call` is a small client for people, as curl would be.
    (
        "reqwest",
        &[
            "credentials",
            "emulator",
            "oci",
            "provider",
            "registry",
            "transport",
        ],
    ),
    ("hyper", &["emulator", "goplugin", "protocol"]),
    (
        "tokio",
        &[
            "credentials",
            "emulator",
            // The clock of operations with a deadline.
            "framework",
            "goplugin",
            "oci",
            "protocol",
            "provider",
            "registry",
            "transport",
        ],
    ),
];

/// Every use of another layer is in the table, and the table has no row too many.
#[test]
fn layers_use_what_they_may() -> anyhow::Result<()> {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut crossings = Vec::new();
    let mut layers = Vec::new();
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        let layer = entry.file_name().to_string_lossy().into_owned();
        if !entry.file_type()?.is_dir() || layer == "bin" {
            continue;
        }
        let may_use = allowed.get(layer.as_str()).copied();
        let Some(may_use) = may_use else {
            anyhow::bail!("src/{layer} is in no row of the table in tests/it/layers.rs");
        };
        for (file, text) in sources(&entry.path())? {
            let code = without_tests_and_comments(&text);
            for used in used_layers(&code) {
                if used != layer
                    && allowed.contains_key(used.as_str())
                    && !may_use.contains(&used.as_str())
                {
                    crossings.push(format!(
                        "{file} uses crate::{used}, which {layer} has never heard of"
                    ));
                }
            }
            for (name, users) in CRATES {
                if mentions_crate(&code, name) && !users.contains(&layer.as_str()) {
                    crossings.push(format!(
                        "{file} uses the crate {name}, which {layer} has never heard of"
                    ));
                }
            }
        }
        layers.push(layer);
    }
    assert!(
        crossings.is_empty(),
        "layers are crossed:\n{}",
        crossings.join("\n")
    );
    layers.sort();
    let expected: Vec<&str> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    assert_eq!(
        layers, expected,
        "a row of the table has no folder, or rows are not sorted"
    );
    Ok(())
}

/// The reader of `use` sees nested lists, paths in expressions, and no comments.
#[test]
fn the_reader_finds_what_is_used() {
    let code = without_tests_and_comments(
        "//! crate::oci in prose\nuse crate::{cty::{Path, Value}, framework::Attr};\nfn f() { crate::image::x() } // crate::region\n#[cfg(test)]\nmod tests { use crate::emulator; }\n",
    );
    assert_eq!(used_layers(&code), ["cty", "framework", "image"]);
    assert!(mentions_crate("let x = tonic::Status::ok();", "tonic"));
    assert!(!mentions_crate("let electronic::x", "tonic"));
}

pub(crate) fn sources(directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

pub(crate) fn without_tests_and_comments(text: &str) -> String {
    text.lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"))
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

fn used_layers(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            used.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                letter if begins && !letter.is_whitespace() => {
                    used.push(word(&list[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    used.sort();
    used.dedup();
    used
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
        .collect()
}

fn mentions_crate(code: &str, name: &str) -> bool {
    code.match_indices(&format!("{name}::")).any(|(at, _)| {
        !code[..at]
            .ends_with(|letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':')
    })
}
