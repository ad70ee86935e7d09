//! Markdown as far as the tests have to understand it: front matter, headings, anchors,
//! links and fences.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::root;

/// A page, as it is on disk.
pub struct Page {
    /// Where it is, from the project's root.
    pub path: PathBuf,
    text: String,
    front_matter: Option<BTreeMap<String, String>>,
}

/// A fenced block of code.
#[derive(Clone)]
pub struct Fence {
    /// Line of the page that opens it, from 1.
    pub line: usize,
    /// The first word after the backticks.
    pub language: String,
    pub text: String,
    /// What a comment on the line before it says, such as `needs 1.12`. It is not shown.
    pub remark: Option<String>,
}

/// A heading.
pub struct Heading {
    pub level: usize,
    pub text: String,
}

impl Page {
    /// Reads a page by its path in the project, or a whole one.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let whole = root().join(path);
        let text = fs::read_to_string(&whole).with_context(|| whole.display().to_string())?;
        let path = whole.strip_prefix(root()).unwrap_or(&whole).to_owned();
        Ok(Self::new(path, text))
    }

    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let text = text.into();
        let front_matter = text
            .strip_prefix("---\n")
            .and_then(|rest| rest.split_once("\n---\n"))
            .map(|(yaml, _)| front_matter(yaml));
        Self {
            path: path.into(),
            text,
            front_matter,
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The members of the front matter; nothing when the page has none.
    pub fn front_matter_keys(&self) -> Option<Vec<&str>> {
        let members = self.front_matter.as_ref()?;
        Some(members.keys().map(String::as_str).collect())
    }

    pub fn front_matter(&self, key: &str) -> Option<String> {
        self.front_matter.as_ref()?.get(key).cloned()
    }

    /// The lines that are no code, with their numbers from 1.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut open = None;
        let mut lines = Vec::new();
        for (line, number) in self.text.lines().zip(1..) {
            let fence = line.trim_start();
            match open {
                Some(ticks) if fence.trim_end() == ticks => open = None,
                Some(_) => {}
                None if fence.starts_with("```") => open = Some("```"),
                None => lines.push((number, line)),
            }
        }
        lines
    }

    pub fn fences(&self) -> Vec<Fence> {
        let mut fences = Vec::new();
        let mut remark = None;
        let mut lines = self.text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            let bare = line.trim_start();
            let indent = line.len() - bare.len();
            if let Some(info) = bare.strip_prefix("```") {
                let language = info.split_whitespace().next().unwrap_or_default();
                let mut text = String::new();
                for (line, _) in lines.by_ref() {
                    if line.trim() == "```" {
                        break;
                    }
                    let cut = indent.min(line.len() - line.trim_start().len());
                    text.push_str(&line[cut..]);
                    text.push('\n');
                }
                fences.push(Fence {
                    line: number,
                    language: language.to_owned(),
                    text,
                    remark: remark.take(),
                });
            } else if !bare.is_empty() {
                remark = bare
                    .strip_prefix("<!--")
                    .and_then(|rest| rest.strip_suffix("-->"))
                    .map(|remark| remark.trim().to_owned());
            }
        }
        fences
    }

    pub fn headings(&self) -> Vec<Heading> {
        let lines = self.prose().into_iter();
        lines
            .filter_map(|(_, line)| {
                let text = line.trim_start_matches('#');
                let level = line.len() - text.len();
                let text = text.strip_prefix(' ')?;
                (1..=6).contains(&level).then(|| Heading {
                    level,
                    text: text.trim().to_owned(),
                })
            })
            .collect()
    }

    /// What a link may point to within the page: headings as GitHub and the registries name
    /// them, and anchors that are written down.
    pub fn anchors(&self) -> Vec<String> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut anchors = Vec::new();
        for heading in self.headings() {
            let slug = slug(&heading.text);
            let count = seen.entry(slug.clone()).or_default();
            anchors.push(match *count {
                0 => slug,
                count => format!("{slug}-{count}"),
            });
            *count += 1;
        }
        for part in self.text.split("<a id=\"").skip(1) {
            anchors.extend(part.split('"').next().map(str::to_owned));
        }
        anchors
    }

    /// Where links go, with their lines.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (number, line) in self.prose() {
            // What is in backticks is shown as it is.
            let spoken: Vec<&str> = line.split('`').step_by(2).collect();
            let spoken = spoken.join("");
            for part in spoken.split("](").skip(1) {
                links.extend(part.split(')').next().map(|to| (number, to.to_owned())));
            }
        }
        links
    }
}

/// The members of a front matter: `key: text`, `key: "text"`, or `key: |-` and indented lines.
fn front_matter(yaml: &str) -> BTreeMap<String, String> {
    let mut members = BTreeMap::new();
    let mut last = String::new();
    for line in yaml.lines() {
        if line.starts_with(' ') {
            let text: &mut String = members.entry(last.clone()).or_default();
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(line.trim());
        } else if let Some((key, value)) = line.split_once(':') {
            last = key.to_owned();
            let value = value.trim().trim_matches('"').trim_start_matches("|-");
            members.insert(last.clone(), value.to_owned());
        }
    }
    members
}

/// A heading's anchor: lower case, no punctuation, hyphens for spaces.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter if letter.is_alphanumeric() => Some(letter),
            _ => None,
        })
        .collect()
}

/// Every page of the project that a user or a developer reads.
pub fn all_pages() -> anyhow::Result<Vec<Page>> {
    let mut paths = Vec::new();
    for folder in ["docs", "examples"] {
        collect(&root().join(folder), &mut paths)?;
    }
    for entry in fs::read_dir(root())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Page::read(path)).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    Ok(())
}

/// What is read out of a page is what is in it.
#[test]
fn parts_of_a_page() {
    let page = Page::new(
        "page.md",
        "---\npage_title: \"A page\"\ndescription: |-\n  Says\n  much.\n---\n\n# One `two` three?\n\n## Same\n## Same\n\n\
         See [there](../there.md#part), not `[here](nowhere)`.\n<a id=\"by-hand\"></a>\n\n<!-- needs 1.12 -->\n```terraform\n# Not a heading\n```\n\n\
         - in a list:\n\n  ```sh\n  make\n    deep\n  ```\n",
    );
    assert_eq!(page.front_matter("page_title").as_deref(), Some("A page"));
    assert_eq!(
        page.front_matter("description").as_deref(),
        Some("Says much.")
    );
    assert_eq!(
        page.anchors(),
        ["one-two-three", "same", "same-1", "by-hand"]
    );
    assert_eq!(page.links(), [(13, "../there.md#part".to_owned())]);
    let fences = page.fences();
    let parts = |fence: &Fence| {
        (
            fence.language.clone(),
            fence.text.clone(),
            fence.remark.clone(),
        )
    };
    assert_eq!(
        fences.iter().map(parts).collect::<Vec<_>>(),
        [
            (
                "terraform".into(),
                "# Not a heading\n".into(),
                Some("needs 1.12".into())
            ),
            ("sh".into(), "make\n  deep\n".into(), None),
        ]
    );
}
