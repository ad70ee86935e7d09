//! The workflows: what they use is pinned, what they may is little, and no secret is shown.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::Context as _;
use serde_json::Value as Json;

use super::{root, succeeded};
use crate::support::cli::Workspace;

fn files() -> anyhow::Result<Vec<PathBuf>> {
    let folder = root().join(".github/workflows");
    let entries = fs::read_dir(&folder)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// The workflows as YAML, by their file names. The CLI reads it; `None` when there is none.
async fn parse() -> anyhow::Result<Option<Vec<(String, Json)>>> {
    let files = files()?;
    let configuration = format!(
        "output \"files\" {{\n  value = [for file in {} : jsonencode(yamldecode(file(file)))]\n}}\n",
        serde_json::to_string(&files)?
    );
    let Some(workspace) = Workspace::new(&configuration)? else {
        return Ok(None);
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let output = ["output", "-json", "files"];
    let text = workspace.run(&output).await?.succeeded();
    let texts: Vec<String> = serde_json::from_str(&text)?;
    let mut parsed = Vec::new();
    for (file, text) in files.iter().zip(texts) {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        parsed.push((name.into_owned(), serde_json::from_str(&text)?));
    }
    Ok(Some(parsed))
}

/// What is wrong with a line that uses an action.
fn pin_complaint(line: &str) -> Option<String> {
    let (_, used) = line.split_once("uses:")?;
    let pinned = || {
        let (action, version) = used.trim().split_once(" # ")?;
        let (_, commit) = action.split_once('@')?;
        let hex = |letter: char| matches!(letter, '0'..='9' | 'a'..='f');
        let number = version.strip_prefix('v')?;
        let parts: Vec<&str> = number.split('.').collect();
        let is_version = parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok());
        (commit.len() == 40 && commit.chars().all(hex) && is_version).then_some(())
    };
    match pinned() {
        Some(()) => None,
        None => Some(line.trim().to_owned()),
    }
}

/// Every action is a commit, and a comment says which version that is: a tag can be moved.
#[test]
fn actions_are_pinned() -> anyhow::Result<()> {
    let mut used = 0;
    for file in files()? {
        let text = fs::read_to_string(&file)?;
        used += text.lines().filter(|line| line.contains("uses:")).count();
        let complaints: Vec<String> = text.lines().filter_map(pin_complaint).collect();
        assert!(complaints.is_empty(), "{}: {complaints:?}", file.display());
    }
    assert!(used >= 8, "only {used} actions were found");

    let hash = "3d3c42e5aac5ba805825da76410c181273ba90b1";
    for bad in [
        "- uses: actions/checkout@v7".to_owned(),
        format!("- uses: actions/checkout@{hash}"),
        format!("- uses: actions/checkout@{hash} # newest"),
        format!("- uses: actions/checkout@{} # v7.0.1", &hash[1..]),
    ] {
        assert!(pin_complaint(&bad).is_some(), "{bad}");
    }
    Ok(())
}

/// No job has a permission that it does not name, only the job that publishes may write,
/// and each has an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_are_few() -> anyhow::Result<()> {
    let Some(workflows) = parse().await? else {
        return Ok(());
    };
    let mut names = BTreeSet::new();
    let mut writers = BTreeSet::new();
    for (file, workflow) in &workflows {
        names.insert(file.as_str());
        assert_eq!(workflow["permissions"], serde_json::json!({}), "{file}");
        let jobs = workflow["jobs"].as_object().context("no jobs")?;
        for (name, job) in jobs {
            let permissions = job["permissions"].as_object();
            let permissions = permissions.with_context(|| format!("{file}: {name} names none"))?;
            for (what, level) in permissions {
                match level.as_str() {
                    Some("read") => assert_eq!(what, "contents", "{file}: {name}"),
                    Some("write") => {
                        writers.insert(format!("{file} {name} {what}"));
                    }
                    other => panic!("{file}: {name} has {what}: {other:?}"),
                }
            }
            assert!(
                job["timeout-minutes"].is_number(),
                "{file}: {name} has no end"
            );
            for step in job["steps"].as_array().context("no steps")? {
                let is_checkout = step["uses"]
                    .as_str()
                    .is_some_and(|used| used.starts_with("actions/checkout@"));
                if is_checkout {
                    let kept = &step["with"]["persist-credentials"];
                    assert_eq!(*kept, false, "{file}: {name} leaves its token to all steps");
                }
            }
        }
    }
    assert_eq!(
        names,
        BTreeSet::from(["advisories.yml", "ci.yml", "release.yml"])
    );
    expect_test::expect![[r#"
        {
            "release.yml publish attestations",
            "release.yml publish contents",
            "release.yml publish id-token",
        }
    "#]]
    .assert_debug_eq(&writers);
    Ok(())
}

/// Secrets and whatever strangers write reach a command through its environment, never
/// through its text; a secret is never printed, and only the job in an environment that
/// people guard has any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_stay_secret() -> anyhow::Result<()> {
    let Some(workflows) = parse().await? else {
        return Ok(());
    };
    let mut commands = 0;
    for (file, workflow) in &workflows {
        assert!(workflow["on"]["pull_request_target"].is_null(), "{file}");
        assert!(workflow["env"].is_null(), "{file}: every job would have it");
        for (name, job) in workflow["jobs"].as_object().context("no jobs")? {
            let guarded = job["environment"] == "release";
            assert!(
                guarded || !job.to_string().contains("secrets."),
                "{file}: {name}"
            );
            for step in job["steps"].as_array().context("no steps")? {
                let Some(run) = step["run"].as_str() else {
                    continue;
                };
                commands += 1;
                for expression in run.split("${{").skip(1) {
                    let expression = expression.split("}}").next().unwrap_or_default().trim();
                    assert!(
                        expression.starts_with("matrix."),
                        "{file}: {name}: {expression}"
                    );
                }
                let secrets = step["env"].as_object().into_iter().flatten();
                for (variable, value) in secrets {
                    if !value
                        .as_str()
                        .is_some_and(|value| value.contains("secrets."))
                    {
                        continue;
                    }
                    let shown = format!("${variable}");
                    for line in run.lines().filter(|line| line.contains(&shown)) {
                        let hidden = line.contains(&format!("\"{shown}\" > \""))
                            || line.contains(&format!("<<< \"{shown}\""));
                        assert!(hidden, "{file}: {name} shows a secret: {line}");
                    }
                }
                assert!(
                    !run.contains("set -x") && !run.contains("printenv"),
                    "{file}: {run}"
                );
            }
        }
    }
    assert!(commands > 10, "only {commands} commands were found");
    Ok(())
}

/// The workflows build what the release tool packs, for the targets that it names, and both
/// workflows agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_platforms() -> anyhow::Result<()> {
    let Some(workflows) = parse().await? else {
        return Ok(());
    };
    let known = succeeded(
        Command::new("python3")
            .current_dir(root().join("tools"))
            .args([
                "-c",
                "import json, release; print(json.dumps(release.PLATFORMS))",
            ]),
    )?;
    let known: Json = serde_json::from_str(&known)?;
    for (file, job) in [("ci.yml", "platforms"), ("release.yml", "archive")] {
        let workflow = workflows.iter().find(|(name, _)| name == file);
        let (_, workflow) = workflow.context("no such workflow")?;
        let matrix = workflow["jobs"][job]["strategy"]["matrix"]["include"].as_array();
        let built: serde_json::Map<String, Json> = matrix
            .context("no matrix")?
            .iter()
            .map(|row| {
                let platform = row["platform"].as_str().unwrap_or_default().to_owned();
                (platform, row["target"].clone())
            })
            .collect();
        assert_eq!(Json::Object(built), known, "{file}");
    }
    Ok(())
}
