//! Every piece of configuration that a page shows is formatted, and valid to a real CLI.
//!
//! A snippet is a fragment, so it is completed first, always in the same way:
//!
//! - What it refers to (`ocir_repository.web`, `data.…`, `local.…`, `module.…`, `ocir.alias`) is taken from
//!   the same page, from the last snippet before it that declares it, or else from the first one after
//!   it. What no snippet of the page declares is an error of the page. Variables may stay undeclared: the reader's own.
//! - `required_providers` is added when there is none.
//! - Names that are given up (`from` in `moved` and `removed`) are left alone.
//!
//! A first line `# NAME.tftest.hcl` or `# NAME.tfrc` says that the snippet is a file of its own kind: a test of
//! what the page declares so far, or the CLI's configuration. A remark before the fence makes an exception, and says why:
//!
//! - `<!-- needs 1.12 -->`: an older CLI does not know this; validated by newer ones.
//! - `<!-- not validated: … -->`: formatted, and not validated.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{
    markdown::{Fence, Page, all_pages},
    root,
};
use crate::support::{cli::Workspace, provider as support};

/// Every snippet is as `fmt` writes it, and passes `validate`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snippets_are_formatted_and_valid() -> anyhow::Result<()> {
    let Some(checker) = Checker::new().await? else {
        return Ok(());
    };
    let mut count = 0;
    let mut problems = Vec::new();
    for page in all_pages()? {
        let (snippets, found) = checker.check(&page).await?;
        count += snippets;
        problems.extend(found);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    assert!(count >= 45, "only {count} snippets were found");
    Ok(())
}

/// A snippet with a wrong argument, a wrong value, a reference to nothing, a bad format, or an
/// unexplained exception fails, and is named with its line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_snippets_fail() -> anyhow::Result<()> {
    let Some(checker) = Checker::new().await? else {
        return Ok(());
    };
    let wrong = [
        (
            "compartment  = var.compartment_id\n  display_name = \"a\"",
            "An argument named \"compartment\" is not expected here",
        ),
        (
            "compartment_id = var.compartment_id\n  display_name   = \"UPPER\"",
            "display_name",
        ),
        (
            "compartment_id = local.nothing\n  display_name   = \"a\"",
            "page.md:3: nothing on the page declares local.nothing",
        ),
        (
            "compartment_id   = var.compartment_id\n  display_name = \"a\"",
            "page.md:3: not formatted",
        ),
    ];
    for (arguments, expected) in wrong {
        let text = format!(
            "# Page\n\n```terraform\nresource \"ocir_repository\" \"web\" {{\n  {arguments}\n}}\n```\n"
        );
        let (_, problems) = checker.check(&Page::new("page.md", text)).await?;
        let problems = problems.join("\n");
        assert!(
            problems.contains(expected),
            "{expected} is not in:\n{problems}"
        );
        assert!(problems.contains("page.md:3"), "{problems}");
    }
    let remark = "# Page\n\n<!-- not validated: -->\n```terraform\nlocals {}\n```\n";
    let (_, problems) = checker.check(&Page::new("page.md", remark)).await?;
    assert_eq!(
        problems,
        ["page.md:4: the remark \"not validated:\" does not say why"]
    );
    Ok(())
}

/// Snippets are completed from before, then from behind, and never with what is given up.
#[test]
fn completion() -> anyhow::Result<()> {
    let page = Page::new(
        "page.md",
        "```terraform\nresource \"ocir_repository\" \"web\" {\n  display_name = local.name\n}\n```\n\n\
         ```terraform\nlocals {\n  name = \"a\"\n}\n\nmoved {\n  from = ocir_repository.old\n  to   = ocir_repository.web\n}\n```\n\n\
         ```terraform\n# ocir_repository.nobody\noutput \"id\" {\n  value = \"ocir_repository.text ${ocir_repository.web[0].id}${var.x}\"\n}\n```\n",
    );
    let fences = page.fences();
    let names: Vec<BTreeSet<String>> = (0..3)
        .map(|index| {
            let completed = complete(&page, &fences, index, &types())?;
            Ok(declarations(&completed).into_keys().collect())
        })
        .collect::<anyhow::Result<_>>()?;
    let set = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        names,
        [
            set(&["local.name"]),
            set(&["ocir_repository.web"]),
            set(&["local.name", "ocir_repository.web", "var.x"])
        ]
    );
    Ok(())
}

/// A CLI in a folder where the provider is installed.
struct Checker {
    workspace: Workspace,
    version: (u32, u32),
    types: BTreeSet<String>,
}

const PREAMBLE: &str =
    "terraform {\n  required_providers {\n    ocir = { source = \"motando/ocir\" }\n  }\n}\n";

impl Checker {
    async fn new() -> anyhow::Result<Option<Self>> {
        let Some(workspace) = Workspace::new(PREAMBLE)? else {
            return Ok(None);
        };
        workspace.init().await?;
        let version = workspace.run(&["version"]).await?.succeeded();
        let number = version
            .split_once(" v")
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        let mut parts = number
            .split('.')
            .map(|part| part.parse().unwrap_or_default());
        let version = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        Ok(Some(Self {
            workspace,
            version,
            types: types(),
        }))
    }

    /// How many snippets a page has, and what is wrong with them.
    async fn check(&self, page: &Page) -> anyhow::Result<(usize, Vec<String>)> {
        let fences: Vec<Fence> = page.fences();
        let mut problems = Vec::new();
        let mut count = 0;
        for (index, fence) in fences.iter().enumerate() {
            if !is_configuration(fence) {
                continue;
            }
            count += 1;
            let place = format!("{}:{}", page.path.display(), fence.line);
            for entry in fs::read_dir(self.workspace.path())? {
                let path = entry?.path();
                if path.is_file()
                    && path.extension().is_some_and(|extension| {
                        extension != "hcl" || path.to_string_lossy().ends_with(".tftest.hcl")
                    })
                {
                    fs::remove_file(path)?;
                }
            }
            self.workspace.write("snippet.tf", &fence.text)?;
            let run = self
                .workspace
                .run(&["fmt", "-check", "-diff", "snippet.tf"])
                .await?;
            if run.status != 0 {
                problems.push(format!("{place}: not formatted\n{}", run.text));
                continue;
            }
            if let Some(remark) = &fence.remark {
                if let Some(reason) = remark.strip_prefix("not validated:") {
                    if reason.trim().is_empty() {
                        problems.push(format!("{place}: the remark \"{remark}\" does not say why"));
                    }
                    continue;
                }
                let needs = remark.strip_prefix("needs ").and_then(|needs| {
                    let (major, minor) = needs.split_once('.')?;
                    Some((major.parse().ok()?, minor.parse().ok()?))
                });
                match needs {
                    Some(needs) if self.version < needs => {
                        let (major, minor) = self.version;
                        eprintln!(
                            "{place}: {remark}, and the CLI is {major}.{minor}: not validated"
                        );
                        continue;
                    }
                    Some(_) => {}
                    None => {
                        problems.push(format!("{place}: the remark \"{remark}\" means nothing"));
                        continue;
                    }
                }
            }
            let kind = file_kind(fence);
            if kind == Some("tfrc") {
                fs::remove_file(self.workspace.path().join("snippet.tf"))?;
                problems.extend(self.cli_configuration(&place, &fence.text).await?);
                continue;
            }
            let rest = match complete(page, &fences, index, &self.types) {
                Ok(rest) => rest,
                Err(error) => {
                    problems.push(format!("{place}: {error}"));
                    continue;
                }
            };
            if kind == Some("tftest.hcl") {
                fs::remove_file(self.workspace.path().join("snippet.tf"))?;
                self.workspace.write("snippet.tftest.hcl", &fence.text)?;
            }
            let own = [&fence.text, &rest]
                .iter()
                .any(|text| text.contains("required_providers"));
            self.workspace.write("completion.tf", &rest)?;
            self.workspace
                .write("preamble.tf", if own { "" } else { PREAMBLE })?;
            let run = self.workspace.run(&["validate"]).await?;
            if run.status != 0 {
                problems.push(format!("{place}: {}", run.text));
            }
        }
        Ok((count, problems))
    }

    /// A configuration of the CLI itself is read by the CLI, which warns of what it does not know.
    async fn cli_configuration(&self, place: &str, text: &str) -> anyhow::Result<Option<String>> {
        let file = self.workspace.path().join("../snippet.tfrc");
        fs::write(&file, text)?;
        let mut command = self.workspace.command(&["version"]);
        command.env("TF_CLI_CONFIG_FILE", &file);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let good = output.status.success() && stderr.trim().is_empty();
        Ok((!good).then(|| format!("{place}: {stderr}")))
    }
}

fn is_configuration(fence: &Fence) -> bool {
    ["terraform", "hcl"].contains(&&*fence.language)
}

/// What kind of file the first line names, if it is not an ordinary one.
fn file_kind(fence: &Fence) -> Option<&'static str> {
    let name = fence.text.lines().next()?.strip_prefix("# ")?.trim();
    let kinds = ["tftest.hcl", "tfrc"];
    kinds.into_iter().find(|kind| {
        name.ends_with(&format!(".{kind}"))
            || name == format!("~/.{kind}")
            || name == "~/.terraformrc" && *kind == "tfrc"
    })
}

/// Whether a snippet declares things for others on its page.
fn declares(fence: &Fence) -> bool {
    let excepted = fence
        .remark
        .as_deref()
        .is_some_and(|remark| remark.starts_with("not validated"));
    is_configuration(fence) && file_kind(fence).is_none() && !excepted
}

/// What a snippet lacks to be whole.
fn complete(
    page: &Page,
    fences: &[Fence],
    index: usize,
    types: &BTreeSet<String>,
) -> anyhow::Result<String> {
    let here = &fences[index].text;
    let is_test = file_kind(&fences[index]) == Some("tftest.hcl");
    let mut have: BTreeSet<String> = match is_test {
        true => BTreeSet::new(),
        false => declarations(here).into_keys().collect(),
    };
    let mut rest = String::new();
    let mut wanted: Vec<String> = references(here, types).into_iter().collect();
    if is_test {
        // A test is one of the whole configuration that was shown before it.
        for fence in fences[..index].iter().filter(|fence| declares(fence)) {
            for (name, block) in declarations(&fence.text) {
                if have.insert(name) {
                    wanted.extend(references(&block, types));
                    rest.push_str(&block);
                }
            }
        }
        // What `run` blocks refer to beside it are their own names.
        wanted.retain(|name| !name.starts_with("var."));
    }
    while let Some(name) = wanted.pop() {
        if have.contains(&name) {
            continue;
        }
        let (before, behind) = fences.split_at(index);
        let block = before
            .iter()
            .rev()
            .chain(behind.iter().skip(1))
            .filter(|fence| declares(fence))
            .find_map(|fence| declarations(&fence.text).remove(&name));
        let block = match (block, name.strip_prefix("var.")) {
            (Some(block), _) => block,
            (None, Some(variable)) => format!("variable \"{variable}\" {{}}\n"),
            (None, None) => anyhow::bail!(
                "nothing on the page declares {name} (in {})",
                page.path.display()
            ),
        };
        // A block of locals declares several things.
        have.extend(declarations(&block).into_keys());
        have.insert(name);
        wanted.extend(references(&block, types));
        rest.push_str(&block);
    }
    Ok(rest)
}

/// The blocks of a snippet by the names under which others refer to them. `fmt` has seen to
/// it that a block begins and ends in the first column.
fn declarations(text: &str) -> BTreeMap<String, String> {
    let mut declared = BTreeMap::new();
    let mut block = String::new();
    for line in text.lines() {
        let begins = block.is_empty();
        if begins && !line.starts_with(|letter: char| letter.is_ascii_lowercase()) {
            continue;
        }
        block.push_str(line);
        block.push('\n');
        let ends = line == "}" || begins && line.ends_with('}');
        if !ends {
            continue;
        }
        let whole = std::mem::take(&mut block);
        let head = whole.lines().next().unwrap_or_default();
        let labels: Vec<&str> = head.split('"').skip(1).step_by(2).collect();
        let names = match (
            head.split_whitespace().next().unwrap_or_default(),
            &labels[..],
        ) {
            ("resource", [kind, name]) => vec![format!("{kind}.{name}")],
            (keyword @ ("data" | "ephemeral"), [kind, name]) => {
                vec![format!("{keyword}.{kind}.{name}")]
            }
            ("module", [name]) => vec![format!("module.{name}")],
            ("variable", [name]) => vec![format!("var.{name}")],
            ("provider", [name]) => whole
                .lines()
                .filter_map(|line| line.trim().strip_prefix("alias")?.split('"').nth(1))
                .map(|alias| format!("{name}.{alias}"))
                .collect(),
            ("locals", _) => whole
                .lines()
                .filter_map(|line| {
                    line.strip_prefix("  ")?
                        .split_once(" =")
                        .map(|(name, _)| name.trim())
                })
                .filter(|name| !name.is_empty() && !name.starts_with([' ', '#']))
                .map(|name| format!("local.{name}"))
                .collect(),
            _ => vec![],
        };
        for name in names {
            declared.insert(name, whole.clone());
        }
    }
    declared
}

/// The names that a snippet refers to.
fn references(text: &str, types: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut in_removed = false;
    for line in text.lines() {
        in_removed = line.starts_with("removed") || in_removed && !line.starts_with('}');
        let bare = line.trim_start();
        if bare.starts_with('#') || bare.starts_with("from ") || in_removed {
            continue;
        }
        let code = expressions(line);
        let is_word = |letter: char| letter.is_alphanumeric() || "_.-".contains(letter);
        for word in code.split(|letter| !is_word(letter)) {
            let parts: Vec<&str> = word.split('.').collect();
            match parts[..] {
                ["var" | "local" | "module", name, ..] => {
                    found.insert(format!("{}.{name}", parts[0]));
                }
                ["data" | "ephemeral", kind, name, ..] => {
                    found.insert(format!("{}.{kind}.{name}", parts[0]));
                }
                // An alias of the provider, or something managed.
                ["ocir", alias] => {
                    found.insert(format!("ocir.{alias}"));
                }
                [kind, name, ..] if types.contains(kind) => {
                    found.insert(format!("{kind}.{name}"));
                }
                _ => {}
            }
        }
    }
    found
}

/// A line without what is in quotes, except for what a template puts into them.
fn expressions(line: &str) -> String {
    let mut code = String::new();
    // What we are in: true for a text, false for an expression.
    let mut nest = vec![false];
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let in_text = *nest.last().unwrap_or(&false);
        match letter {
            '\\' if in_text => drop(letters.next()),
            '"' if in_text => drop(nest.pop()),
            '"' => nest.push(true),
            '$' if in_text && letters.peek() == Some(&'{') => {
                letters.next();
                nest.push(false);
                code.push(' ');
            }
            '}' if !in_text && nest.len() > 1 => {
                nest.pop();
                code.push(' ');
            }
            '{' if !in_text && nest.len() > 1 => {
                nest.push(false);
                code.push(' ');
            }
            letter if !in_text => code.push(letter),
            _ => {}
        }
    }
    code
}

/// The types of things that are managed, as they begin a reference.
fn types() -> BTreeSet<String> {
    let server = support::server();
    let ours = server
        .resource_schemas()
        .into_iter()
        .map(|(name, _)| name.to_owned());
    ours.chain(["terraform_data".to_owned()]).collect()
}

/// Identities in examples have the attributes that identities have, whichever CLI there is.
#[test]
fn identities_in_examples_are_whole() -> anyhow::Result<()> {
    let server = support::server();
    for (name, schema) in server.identity_schemas() {
        let path = root()
            .join("examples/resources")
            .join(name)
            .join("import-by-identity.tf");
        let text = fs::read_to_string(&path)?;
        let shown: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once('='))
            .map(|(name, _)| name.trim())
            .collect();
        let known: BTreeSet<&str> = schema
            .block
            .attributes
            .iter()
            .map(|attribute| attribute.name.as_str())
            .collect();
        assert_eq!(shown, known, "{}", path.display());
    }
    Ok(())
}
