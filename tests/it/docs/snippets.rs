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
//! A first line `# NAME.tftest.hcl`, `# NAME.tfrc` or `# ~/.terraformrc` says that the snippet is a file of its own kind: a test of
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
            let completed = complete(&page, &fences, &[index], &types())?;
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
        let fences = page.fences();
        let snippets: Vec<usize> = (0..fences.len())
            .filter(|index| is_configuration(&fences[*index]))
            .collect();
        let unformatted = self.unformatted(&fences, &snippets).await?;
        let mut problems = Vec::new();
        let mut groups: Vec<(BTreeSet<String>, Vec<usize>)> = Vec::new();
        for &index in &snippets {
            let fence = &fences[index];
            let place = format!("{}:{}", page.path.display(), fence.line);
            match (unformatted.get(&index), self.exception(fence)) {
                (Some(difference), _) => {
                    problems.push(format!("{place}: not formatted\n{difference}"))
                }
                (None, Err(problem)) => problems.push(format!("{place}: {problem}")),
                (None, Ok(Some(reason))) => eprintln!("{place}: {reason}"),
                (None, Ok(None)) => {
                    let names = occupied(fence);
                    let fits = |group: &&mut (BTreeSet<String>, Vec<usize>)| {
                        file_kind(fence).is_none() && group.0.is_disjoint(&names)
                    };
                    match groups.iter_mut().find(fits) {
                        Some((taken, members)) => {
                            taken.extend(names);
                            members.push(index);
                        }
                        None => groups.push((names, vec![index])),
                    }
                }
            }
        }
        // What can be together is validated together, for the CLI takes its time to start. When something is
        // wrong, each tells whether it is the one.
        for (_, members) in groups {
            if self.invalid(page, &fences, &members).await?.is_none() {
                continue;
            }
            for index in members {
                if let Some(problem) = self.invalid(page, &fences, &[index]).await? {
                    problems.push(format!(
                        "{}:{}: {problem}",
                        page.path.display(),
                        fences[index].line
                    ));
                }
            }
        }
        Ok((snippets.len(), problems))
    }

    /// Which snippets `fmt` would write otherwise, and how.
    async fn unformatted(
        &self,
        fences: &[Fence],
        snippets: &[usize],
    ) -> anyhow::Result<BTreeMap<usize, String>> {
        let mut differences = BTreeMap::new();
        if snippets.is_empty() {
            return Ok(differences);
        }
        let folder = self.workspace.path().join("../fmt");
        fs::create_dir(&folder)?;
        for &index in snippets {
            fs::write(folder.join(format!("{index}.tf")), &fences[index].text)?;
        }
        // One start of the CLI for a page as it should be.
        if self
            .workspace
            .run(&["fmt", "-check", "../fmt"])
            .await?
            .status
            != 0
        {
            for &index in snippets {
                let file = format!("../fmt/{index}.tf");
                let run = self
                    .workspace
                    .run(&["fmt", "-check", "-diff", &file])
                    .await?;
                if run.status != 0 {
                    differences.insert(index, run.text);
                }
            }
        }
        fs::remove_dir_all(folder)?;
        Ok(differences)
    }

    /// Why a snippet is not validated, when its remark says so and may.
    fn exception(&self, fence: &Fence) -> Result<Option<String>, String> {
        let Some(remark) = &fence.remark else {
            return Ok(None);
        };
        if let Some(reason) = remark.strip_prefix("not validated:") {
            return match reason.trim() {
                "" => Err(format!("the remark \"{remark}\" does not say why")),
                _ => Ok(Some(remark.clone())),
            };
        }
        let needs = remark.strip_prefix("needs ").and_then(|needs| {
            let (major, minor) = needs.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let (major, minor) = self.version;
        match needs {
            Some(needs) if needs > self.version => {
                let reason = format!("not validated: {remark}, and the CLI is {major}.{minor}");
                Ok(Some(reason))
            }
            Some(_) => Ok(None),
            None => Err(format!("the remark \"{remark}\" means nothing")),
        }
    }

    /// What the CLI has against some snippets of a page, completed.
    async fn invalid(
        &self,
        page: &Page,
        fences: &[Fence],
        members: &[usize],
    ) -> anyhow::Result<Option<String>> {
        let first = &fences[members[0]];
        let kind = file_kind(first);
        if kind == Some("tfrc") {
            return self.cli_configuration(&first.text).await;
        }
        let rest = match complete(page, fences, members, &self.types) {
            Ok(rest) => rest,
            Err(problem) => return Ok(Some(problem.to_string())),
        };
        // The lock file and the installed provider stay.
        for entry in fs::read_dir(self.workspace.path())? {
            let path = entry?.path();
            let name = path.to_string_lossy();
            if name.ends_with(".tf") || name.ends_with(".tftest.hcl") {
                fs::remove_file(&path)?;
            }
        }
        let mut whole = rest.contains("required_providers");
        for index in members {
            let ending = kind.unwrap_or("tf");
            let text = &fences[*index].text;
            self.workspace
                .write(&format!("snippet{index}.{ending}"), text)?;
            whole |= text.contains("required_providers");
        }
        self.workspace.write("completion.tf", &rest)?;
        self.workspace
            .write("preamble.tf", if whole { "" } else { PREAMBLE })?;
        let run = self.workspace.run(&["validate"]).await?;
        Ok((run.status != 0).then_some(run.text))
    }

    /// A configuration of the CLI itself is read by the CLI, which warns of what it does not know.
    async fn cli_configuration(&self, text: &str) -> anyhow::Result<Option<String>> {
        let file = self.workspace.path().join("../snippet.tfrc");
        fs::write(&file, text)?;
        let mut command = self.workspace.command(&["version"]);
        command.env("TF_CLI_CONFIG_FILE", &file);
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let good = output.status.success() && stderr.trim().is_empty();
        Ok((!good).then(|| stderr.into_owned()))
    }
}

fn is_configuration(fence: &Fence) -> bool {
    ["terraform", "hcl"].contains(&&*fence.language)
}

/// What kind of file the first line names, if it is not an ordinary one.
fn file_kind(fence: &Fence) -> Option<&'static str> {
    let name = fence.text.lines().next()?.strip_prefix("# ")?.trim();
    let kinds = [
        ("tftest.hcl", ".tftest.hcl"),
        ("tfrc", ".tfrc"),
        ("tfrc", ".terraformrc"),
    ];
    let kind = kinds.into_iter().find(|(_, end)| name.ends_with(end));
    kind.map(|(kind, _)| kind)
}

/// Whether a snippet declares things for others on its page.
fn declares(fence: &Fence) -> bool {
    let excepted = fence
        .remark
        .as_deref()
        .is_some_and(|remark| remark.starts_with("not validated"));
    is_configuration(fence) && file_kind(fence).is_none() && !excepted
}

/// What a snippet takes in a configuration, so that no other may have it beside it.
fn occupied(fence: &Fence) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = declarations(&fence.text).into_keys().collect();
    // What is given up may not be there.
    for line in fence.text.lines() {
        if let Some((word, address)) = line.trim().split_once(" = ")
            && ["from", "to"].contains(&word.trim())
        {
            names.insert(format!(
                "{}{address}",
                if word.trim() == "to" { "to " } else { "" }
            ));
        }
    }
    names
}

/// What some snippets of a page lack to be whole.
fn complete(
    page: &Page,
    fences: &[Fence],
    members: &[usize],
    types: &BTreeSet<String>,
) -> anyhow::Result<String> {
    let first = members[0];
    let is_test = file_kind(&fences[first]) == Some("tftest.hcl");
    let mut have = BTreeSet::new();
    let mut wanted = Vec::new();
    let mut rest = String::new();
    for index in members {
        let text = &fences[*index].text;
        wanted.extend(references(text, types));
        if !is_test {
            have.extend(declarations(text).into_keys());
        }
    }
    if is_test {
        // A test is one of the whole configuration that was shown before it.
        for fence in fences[..first].iter().filter(|fence| declares(fence)) {
            for (name, block) in declarations(&fence.text) {
                // A block of locals comes once for each of its names.
                if have.insert(name) && !rest.contains(&block) {
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
        let (before, behind) = fences.split_at(first);
        let block = before
            .iter()
            .rev()
            .chain(behind.iter().skip(1))
            .filter(|fence| declares(fence))
            .find_map(|fence| declarations(&fence.text).remove(&name));
        let block = match (block, name.strip_prefix("var.")) {
            (Some(block), _) => block,
            (None, Some(variable)) => format!("variable \"{variable}\" {{}}\n"),
            (None, None) => {
                anyhow::bail!(
                    "nothing on the page declares {name} (in {})",
                    page.path.display()
                )
            }
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
            (keyword @ ("output" | "check"), [name]) => vec![format!("{keyword} {name}")],
            ("terraform", _) => vec!["terraform".to_owned()],
            ("provider", [name]) => {
                let alias = whole
                    .lines()
                    .find_map(|line| line.trim().strip_prefix("alias")?.split('"').nth(1));
                vec![alias.map_or(format!("provider {name}"), |alias| {
                    format!("{name}.{alias}")
                })]
            }
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
