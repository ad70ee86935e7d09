//! What the next developer is told holds: recipes, paths, layers, the walkthrough, and
//! how to debug.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context as _;
use ocir::emulator::Emulator;

use crate::{
    layers::MAY_USE,
    support::{self, cli::Workspace},
};

const PAGES: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

fn read(file: &str) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What stands between single backticks, outside of code blocks.
fn quoted(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let prose = prose.join("");
    let words = prose.split('`').skip(1).step_by(2);
    words.map(str::to_owned).collect()
}

/// The code blocks of one language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let blocks = text.split("```").skip(1).step_by(2);
    blocks
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// Every file and folder that the pages name exists.
#[test]
fn paths_exist() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in PAGES {
        let mut found = 0;
        for word in quoted(&read(page)?) {
            let is_path = word.contains('/')
                || [".rs", ".md", ".toml", ".py", ".json"]
                    .iter()
                    .any(|ending| word.ends_with(ending));
            let is_other =
                word.contains([' ', '<', '~', ':', '\'', '…']) || word.starts_with("target/");
            if !is_path || is_other {
                continue;
            }
            // Modules are named from the top of the library, files in an example or a release by their name.
            let exists = root.join(&word).exists() || root.join("src").join(&word).exists();
            let in_examples = ["resource.tf", "import.sh"].contains(&&*word);
            let in_release = ["manifest.json", "sbom.cdx.json", "layout/"].contains(&&*word);
            assert!(exists || in_examples || in_release, "{page} names {word}");
            found += 1;
        }
        assert!(found >= 4, "{page}: only {found} paths were found");
    }
    Ok(())
}

/// Everything of ours that a page names as `layer::thing` is in the sources of that layer.
#[test]
fn names_exist() -> anyhow::Result<()> {
    let layers: BTreeSet<&str> = MAY_USE.iter().map(|(layer, _)| *layer).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = 0;
    for page in PAGES {
        for word in quoted(&read(page)?) {
            let mut steps: Vec<&str> = word.split("::").collect();
            if steps.len() < 2 || !layers.contains(steps[0]) {
                continue;
            }
            let folder = root.join(steps.remove(0));
            for step in steps {
                let is_file = folder.join(step).with_extension("rs").is_file()
                    || folder.join(step).is_dir()
                    || defines(&folder, step)?;
                assert!(is_file, "{page} names {word}, and {step} is not there");
            }
            found += 1;
        }
    }
    assert!(found >= 10, "only {found} names were found");
    Ok(())
}

/// Whether a folder's sources define an item of this name.
fn defines(folder: &Path, name: &str) -> anyhow::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let defined = if path.is_dir() {
            defines(&path, name)?
        } else {
            let text = fs::read_to_string(&path)?;
            let kinds = ["struct", "enum", "trait", "fn", "mod"];
            kinds.iter().any(|kind| {
                text.match_indices(&format!("{kind} {name}"))
                    .any(|(at, found)| {
                        let next = text[at + found.len()..].chars().next();
                        next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
                    })
            })
        };
        if defined {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The table of the layers says what the sources do.
#[test]
fn the_table_of_layers_is_true() -> anyhow::Result<()> {
    let text = read("CONTRIBUTING.md")?;
    let mut described = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let layer = cells[0].trim_start_matches("| ").trim_matches('`');
        let Some((_, uses)) = MAY_USE.iter().find(|(name, _)| *name == layer) else {
            continue;
        };
        let said: BTreeSet<String> = quoted(cells[1]).into_iter().collect();
        let uses: BTreeSet<String> = uses.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(said, uses, "{layer}");
        described.insert(layer);
    }
    assert_eq!(described.len(), MAY_USE.len(), "{described:?}");
    Ok(())
}

/// `make` alone lists the recipes, and CONTRIBUTING.md has each of those that are for
/// every day.
#[test]
fn recipes_are_listed() -> anyhow::Result<()> {
    let output = Command::new("make")
        .arg("--no-print-directory")
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .context("make")?;
    let listed = String::from_utf8(output.stdout)?;
    let makefile = read("Makefile")?;
    let recipes: Vec<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '#', '.']))
        .filter_map(|line| line.split_once(": ").or(line.split_once(":\n")))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' '))
        .collect();
    assert!(recipes.len() > 8, "{recipes:?}");
    let contributing = read("CONTRIBUTING.md")?;
    for recipe in recipes {
        assert!(
            listed
                .lines()
                .any(|line| line.starts_with(&format!("make {recipe} "))),
            "{recipe} is not in:\n{listed}"
        );
        assert!(
            recipe == "help" || contributing.contains(&format!("`make {recipe}")),
            "CONTRIBUTING.md has no {recipe}"
        );
    }
    Ok(())
}

/// The workflow runs `.ci/run` and has more patience than that, and CONTRIBUTING.md names its steps.
#[test]
fn ci_is_as_described() -> anyhow::Result<()> {
    let script = read(".ci/run")?;
    let steps: Vec<String> = script
        .lines()
        .filter_map(|line| line.strip_prefix("step make "))
        .map(|recipe| format!("make {recipe}"))
        .collect();
    let contributing = read("CONTRIBUTING.md")?;
    let sentence = contributing
        .lines()
        .find(|line| line.starts_with("CI runs `.ci/run`"))
        .context("CONTRIBUTING.md does not say what CI runs")?;
    assert_eq!(quoted(sentence)[1..], steps);

    let workflow = read(".github/workflows/ci.yml")?;
    let job = workflow
        .split("\n  everything:\n")
        .nth(1)
        .and_then(|rest| rest.split("\n  platforms:\n").next())
        .context("no job that runs everything")?;
    assert!(job.contains("bash .ci/run\n"), "{job}");
    let number = |text: &str, before: &str| -> anyhow::Result<u32> {
        let rest = text.split(before).nth(1).context(before.to_owned())?;
        let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next();
        Ok(digits.unwrap_or_default().parse()?)
    };
    let patience = number(job, "timeout-minutes: ")?;
    let limit = number(&script, "limit=$((")?;
    assert!(
        patience > limit,
        "the workflow ends after {patience} minutes, before .ci/run can say what took {limit}"
    );
    Ok(())
}

/// The walkthrough shows what is compiled, and what a CLI does with it.
#[test]
fn the_walkthrough_is_real() -> anyhow::Result<()> {
    let text = read("CONTRIBUTING.md")?;
    let rust = blocks(&text, "rust");
    let [file, row] = rust[..] else {
        anyhow::bail!("there are {} blocks of Rust", rust.len());
    };
    let source = read("tests/probe/note.rs")?;
    assert!(
        file == source,
        "the walkthrough in CONTRIBUTING.md is not tests/probe/note.rs; copy it over"
    );
    let table = read("tests/probe/main.rs")?;
    assert!(table.contains(row.trim()), "{row}");

    let hcl = blocks(&text, "hcl");
    let [example] = hcl[..] else {
        anyhow::bail!("there are {} blocks of configuration", hcl.len());
    };
    let provider = "provider \"probe\" {\n  directory = abspath(path.module)\n}\n\n";
    let Some(workspace) = crate::protocol::Workspace::of(&format!("{provider}{example}"))? else {
        return Ok(());
    };
    workspace.apply()?.success()?;
    let note = workspace.path("shopping.note");
    assert_eq!(fs::read_to_string(&note)?, "milk");
    let unchanged = ["plan", "-detailed-exitcode"];
    workspace.run(&unchanged, &[])?.success()?;
    fs::write(&note, "beer")?;
    workspace.apply()?.success()?;
    assert_eq!(fs::read_to_string(&note)?, "milk");

    fs::remove_file(workspace.path("terraform.tfstate"))?;
    workspace
        .run(&["import", "probe_note.it", "shopping"], &[])?
        .success()?;
    workspace.run(&unchanged, &[])?.success()?;
    workspace
        .run(&["destroy", "-auto-approve"], &[])?
        .success()?;
    assert!(!note.exists());
    Ok(())
}

const TOKEN: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
variable "compartment_id" {}
variable "user_id" {}
resource "ocir_auth_token" "it" {
  description = "Pipeline"
}
"#;

/// The recipe of `make debug`: a CLI works with the provider that a person started,
/// by the line it printed, without an installed one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cli_attaches_to_what_make_debug_starts() -> anyhow::Result<()> {
    let recipe = "\tcargo run --quiet --locked -- --debug\n";
    assert!(read("Makefile")?.replace("\t@", "\t").contains(recipe));
    let Some(mut workspace) = Workspace::new(TOKEN)? else {
        return Ok(());
    };
    let emulator = Emulator::builder().start().await?;
    workspace.sign_in(&emulator)?;
    fs::remove_dir_all(workspace.path().join("../mirror"))?;

    let mut command = Command::new(env!("CARGO_BIN_EXE_terraform-provider-ocir"));
    for (name, value) in workspace.command(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut provider = command.arg("--debug").stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(provider.stdout.take().context("standard output")?);
    let line = output.lines().find_map(|line| {
        let line = line.ok()?;
        let value = line.trim().strip_prefix("TF_REATTACH_PROVIDERS=")?;
        Some(value.trim_matches('\'').to_owned())
    });
    workspace.set("TF_REATTACH_PROVIDERS", line.context("a line to copy")?);
    let applied = workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await;
    let planned = workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await;
    let status = Command::new("kill")
        .args(["-INT", &provider.id().to_string()])
        .status()?;
    assert!(status.success());
    let ended = tokio::task::spawn_blocking(move || provider.wait()).await??;
    applied?.succeeded();
    planned?.ended_with(0);
    assert!(ended.success(), "{ended}");
    assert_eq!(emulator.auth_tokens().len(), 1);
    Ok(())
}

/// Each level shows what CONTRIBUTING.md says, and not what the next one is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_show_what_they_promise() -> anyhow::Result<()> {
    let wait = "The registry accepts the auth token";
    let (request, call) = ("operation=CreateAuthToken", "call ended");
    let (begin, others) = ("call began", "provider.ocir.h");
    for (variables, shown, hidden) in [
        (vec![("TF_LOG_PROVIDER", "WARN")], vec![], vec![wait, call]),
        (
            vec![("TF_LOG_PROVIDER", "INFO")],
            vec![wait],
            vec![request, call],
        ),
        (
            vec![("TF_LOG_PROVIDER", "DEBUG")],
            vec![
                wait,
                request,
                call,
                "opc_request_id=",
                "chose how to sign in",
            ],
            vec![begin, others],
        ),
        (
            vec![("TF_LOG_PROVIDER", "TRACE")],
            vec![wait, request, call, begin, others],
            vec![],
        ),
        (
            vec![("TF_LOG", "TRACE"), ("TF_LOG_PROVIDER_OCIR", "INFO")],
            vec![wait, "terraform.graphNodeRoot"],
            vec![request, begin],
        ),
    ] {
        let Some(mut workspace) = Workspace::new(TOKEN)? else {
            return Ok(());
        };
        let emulator = Emulator::builder().start().await?;
        workspace.sign_in(&emulator)?;
        workspace.init().await?;
        for (name, value) in &variables {
            workspace.set(name, *value);
        }
        let text = workspace
            .run(&["apply", "-input=false", "-auto-approve"])
            .await?
            .succeeded();
        for part in shown {
            assert!(text.contains(part), "{variables:?} hides {part:?}:\n{text}");
        }
        for part in hidden {
            assert!(!text.contains(part), "{variables:?} shows {part:?}");
        }
    }
    Ok(())
}

/// The page has the recipes that the tests above run.
#[test]
fn recipes_for_logs_are_written_down() -> anyhow::Result<()> {
    let text = read("CONTRIBUTING.md")?;
    for recipe in [
        "TF_LOG_PROVIDER=INFO terraform",
        "TF_LOG_PROVIDER=DEBUG terraform",
        "TF_LOG_PROVIDER=TRACE terraform",
        "TF_LOG=TRACE TF_LOG_PROVIDER_OCIR=INFO terraform",
    ] {
        assert!(text.contains(recipe), "{recipe}");
    }
    // The probe is where the walkthrough says.
    assert!(support::probe().is_file());
    Ok(())
}
