//! What the registries and their tooling (`tfplugindocs validate`, `tfproviderdocs check`) want
//! of the pages, and that no link is dead.

use std::{collections::BTreeSet, fs, path::Path};

use super::{
    PageKind,
    markdown::{Page, all_pages},
    pages, root,
};
use crate::support::provider as support;

/// Folders that a registry reads below `docs`, beside the first page.
const FOLDERS: [&str; 4] = ["resources", "data-sources", "ephemeral-resources", "guides"];
/// A registry leaves out larger files, and further ones.
const LARGEST: u64 = 500_000;
const MOST: usize = 2_000;

/// The layout is the registries', and not mixed with the older one.
#[test]
fn layout() -> anyhow::Result<()> {
    for old in ["website", "docs/r", "docs/d", "docs/cdktf"] {
        assert!(!root().join(old).exists(), "{old} is of the older layout");
    }
    let mut files = 0;
    for entry in fs::read_dir(root().join("docs"))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_file() {
            assert_eq!(
                name,
                "index.md",
                "a registry does not read {}",
                path.display()
            );
            files += 1;
            continue;
        }
        assert!(
            FOLDERS.contains(&&*name),
            "a registry does not read {}",
            path.display()
        );
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let path = entry.path();
            assert!(
                path.is_file(),
                "a registry does not look into {}",
                path.display()
            );
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name.strip_suffix(".md");
            let plain = |stem: &str| {
                stem.bytes()
                    .all(|letter| matches!(letter, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
            };
            assert!(
                stem.is_some_and(plain),
                "{} is no page's name",
                path.display()
            );
            let size = entry.metadata()?.len();
            assert!(size < LARGEST, "{} has {size} bytes", path.display());
            files += 1;
        }
    }
    assert!(files <= MOST, "{files} pages");
    Ok(())
}

/// The front matter says what a registry shows, and nothing that it refuses.
#[test]
fn front_matter() -> anyhow::Result<()> {
    for page in all_pages()? {
        let name = page.path.display().to_string();
        if !page.path.starts_with("docs") {
            assert_eq!(page.front_matter_keys(), None, "{name} is on no registry");
            continue;
        }
        let expected: &[&str] = match name.as_str() {
            "docs/index.md" => &["description", "page_title"],
            _ => &["description", "page_title", "subcategory"],
        };
        assert_eq!(
            page.front_matter_keys().as_deref(),
            Some(expected),
            "{name}"
        );
        let title = page.front_matter("page_title").unwrap_or_default();
        let description = page.front_matter("description").unwrap_or_default();
        assert!(
            title == "ocir Provider" || title.ends_with(" - ocir"),
            "{name}: {title}"
        );
        assert!(
            description.ends_with('.') && description.len() < 300 && !description.contains('`'),
            "{name} has to be described by a plain sentence or two: {description}"
        );
    }
    Ok(())
}

/// A page has one title, which its front matter repeats; a guide's is in its own words.
#[test]
fn titles() -> anyhow::Result<()> {
    for page in all_pages()? {
        let headings = page.headings();
        let titles: Vec<&str> = headings
            .iter()
            .filter(|heading| heading.level == 1)
            .map(|heading| heading.text.as_str())
            .collect();
        let [title] = titles[..] else {
            panic!("{} has the titles {titles:?}", page.path.display());
        };
        assert_eq!(headings[0].level, 1, "{}", page.path.display());
        for pair in headings.windows(2) {
            assert!(
                pair[1].level <= pair[0].level + 1,
                "{}: \"{}\" is too deep",
                page.path.display(),
                pair[1].text
            );
        }
        if let Some(front) = page.front_matter("page_title") {
            let front = front.trim_end_matches(" - ocir");
            let title = title.replace(['(', ')'], "");
            assert_eq!(title, front, "{}", page.path.display());
        }
    }
    Ok(())
}

/// A thing's page shows an example first, then the schema, then how to import, each where it
/// belongs, and nothing of a level that nobody expects there.
#[test]
fn sections() -> anyhow::Result<()> {
    let server = support::server();
    for thing in pages(&server) {
        let path = format!("docs/{}/{}.md", thing.kind.folder(), thing.stem);
        let page = Page::read(Path::new(&path))?;
        let sections: Vec<String> = page
            .headings()
            .into_iter()
            .filter(|heading| heading.level == 2)
            .map(|heading| heading.text)
            .collect();
        let expected: &[&str] = match thing.kind {
            PageKind::Resource => &["Example Usage", "Schema", "Import"],
            _ => &["Example Usage", "Schema"],
        };
        assert_eq!(sections, expected, "{path}");
        for name in &thing.names {
            let shown = page
                .fences()
                .iter()
                .any(|fence| fence.text.contains(&format!("\"{name}\" \"")));
            assert!(shown, "{path} does not show {name}");
        }
        let shown: BTreeSet<String> = page
            .fences()
            .into_iter()
            .map(|fence| fence.language)
            .collect();
        assert!(
            shown
                .iter()
                .all(|language| ["terraform", "shell"].contains(&&**language)),
            "{path}: {shown:?}"
        );
    }
    Ok(())
}

/// Every fence says what language is in it, and no configuration is hidden from the tests by
/// being indented instead.
#[test]
fn code_says_its_language() -> anyhow::Result<()> {
    const KNOWN: [&str; 12] = [
        "console",
        "hcl",
        "json",
        "make",
        "python",
        "rust",
        "sh",
        "shell",
        "terraform",
        "text",
        "toml",
        "yaml",
    ];
    const BLOCKS: [&str; 9] = [
        "resource ",
        "data ",
        "provider ",
        "terraform ",
        "moved ",
        "import ",
        "ephemeral ",
        "removed ",
        "module ",
    ];
    for page in all_pages()? {
        for fence in page.fences() {
            let place = format!("{}:{}", page.path.display(), fence.line);
            assert!(
                KNOWN.contains(&&*fence.language),
                "{place}: language \"{}\"",
                fence.language
            );
        }
        for (line, text) in page.prose() {
            let indented = text.strip_prefix("    ").unwrap_or_default().trim_start();
            let block = BLOCKS.iter().any(|block| indented.starts_with(block));
            let place = format!("{}:{line}", page.path.display());
            assert!(
                !(block && indented.ends_with('{')),
                "{place}: put it into a fence"
            );
        }
    }
    Ok(())
}

/// Every link goes to a file and a part of it that are there. Within `docs` links keep to
/// `docs`, because a registry has nothing else.
#[test]
fn links_resolve() -> anyhow::Result<()> {
    for page in all_pages()? {
        for (line, to) in page.links() {
            let place = format!("{}:{line}: {to}", page.path.display());
            if to.starts_with("https://") {
                continue;
            }
            assert!(!to.contains("://") && !to.starts_with('/'), "{place}");
            let (file, anchor) = to.split_once('#').unwrap_or((&to, ""));
            let folder = page.path.parent().unwrap_or(Path::new(""));
            let target = match file {
                "" => root().join(&page.path),
                file => root().join(folder).join(file),
            };
            let target = target.canonicalize();
            let target = target.unwrap_or_else(|error| panic!("{place}: {error}"));
            let inside = target.starts_with(root().join("docs").canonicalize()?);
            assert!(
                inside || !page.path.starts_with("docs"),
                "{place} is on no registry"
            );
            if !anchor.is_empty() {
                let anchors = Page::read(&target)?.anchors();
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{place}: no such part"
                );
            }
        }
    }
    Ok(())
}
