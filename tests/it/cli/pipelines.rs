//! The pipelines under `examples/`: they are YAML, and what they run does what it
//! says, in a real shell with a real CLI.

use std::{fs, path::Path, process::Command};

use ocir::emulator::Emulator;
use serde_json::{Value as Json, json};

use super::root;
use crate::support::cli::Workspace;

const FILES: [&str; 4] = [
    "github-actions/registry.yml",
    "gitlab-ci/.gitlab-ci.yml",
    "oci-devops/build_spec.yaml",
    "oci-devops/drift_spec.yaml",
];

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "compartment_id" {}
resource "ocir_repository" "this" {
  compartment_id = var.compartment_id
  display_name   = "motando-webapp"
}
"#;

/// What a pipeline runs, by what it is for.
struct Pipeline {
    name: &'static str,
    apply: Vec<String>,
    drift: Vec<String>,
}

/// Each pipeline makes what is configured, finds nothing at night, and fails at night
/// after somebody changed something by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines() -> anyhow::Result<()> {
    let Some(parsed) = parse().await? else {
        return Ok(());
    };
    for pipeline in read(&parsed)? {
        let emulator = Emulator::builder().start().await?;
        let Some(mut workspace) = Workspace::new(CONFIGURATION)? else {
            return Ok(());
        };
        workspace.sign_in(&emulator)?;
        let name = pipeline.name;
        let (status, text) = run(&workspace, &pipeline.apply).await?;
        assert_eq!(status, 0, "{name}: {text}");
        assert_eq!(emulator.repositories().len(), 1, "{name}: {text}");

        let (status, text) = run(&workspace, &pipeline.drift).await?;
        assert_eq!(status, 0, "{name}: {text}");
        assert!(
            text.contains("What is there is what the configuration says."),
            "{name}: {text}"
        );

        emulator.edit_repository("motando-webapp", json!({ "isPublic": true }));
        let (status, text) = run(&workspace, &pipeline.drift).await?;
        assert_eq!(status, 1, "{name}: {text}");
        assert!(text.contains("was changed by hand"), "{name}: {text}");
        assert!(text.contains("is_public"), "{name}: {text}");
        assert_eq!(
            emulator.repositories()[0]["isPublic"],
            json!(true),
            "{name} repaired it"
        );

        // A plan that fails is no drift.
        workspace.set("OCI_ENDPOINT", "not an address");
        let (status, text) = run(&workspace, &pipeline.drift).await?;
        assert_eq!(status, 1, "{name}: {text}");
        assert!(!text.contains("was changed by hand"), "{name}: {text}");
    }
    Ok(())
}

/// The files, parsed by the CLI, which knows YAML.
async fn parse() -> anyhow::Result<Option<Vec<Json>>> {
    let files: Vec<String> = FILES
        .iter()
        .map(|file| {
            root()
                .join("examples/pipelines")
                .join(file)
                .display()
                .to_string()
        })
        .collect();
    let configuration = format!(
        "output \"files\" {{\n  value = [for file in {} : jsonencode(yamldecode(file(file)))]\n}}\n",
        serde_json::to_string(&files)?
    );
    let Some(workspace) = Workspace::new(&configuration)? else {
        return Ok(None);
    };
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    let text = workspace
        .run(&["output", "-json", "files"])
        .await?
        .succeeded();
    let texts: Vec<String> = serde_json::from_str(&text)?;
    let parsed: Result<Vec<Json>, _> = texts
        .iter()
        .map(|text| serde_json::from_str(text))
        .collect();
    Ok(Some(parsed?))
}

fn read(parsed: &[Json]) -> anyhow::Result<[Pipeline; 3]> {
    let [github, gitlab, build, drift] = parsed else {
        anyhow::bail!("there are other files");
    };
    // The night's job is the night's, and only that.
    assert_eq!(
        github["jobs"]["drift"]["if"],
        "github.event_name == 'schedule'"
    );
    let rule = &gitlab["drift"]["rules"][0]["if"];
    assert_eq!(rule, "$CI_PIPELINE_SOURCE == \"schedule\"");
    for spec in [build, drift] {
        assert_eq!(spec["version"].to_string(), "0.1");
        assert_eq!(spec["component"], "build");
    }
    Ok([
        Pipeline {
            name: "GitHub Actions",
            apply: commands(&github["jobs"]["apply"]["steps"], "run"),
            drift: commands(&github["jobs"]["drift"]["steps"], "run"),
        },
        Pipeline {
            name: "GitLab CI",
            apply: lines(&gitlab["apply"]["script"]),
            drift: lines(&gitlab["drift"]["script"]),
        },
        Pipeline {
            name: "OCI DevOps",
            apply: commands(&build["steps"], "command"),
            drift: commands(&drift["steps"], "command"),
        },
    ])
}

/// The steps that work with the configuration: what comes before installs a CLI, or
/// asks the pipeline's host who it is.
fn commands(steps: &Json, member: &str) -> Vec<String> {
    let steps = steps.as_array().into_iter().flatten();
    let all = steps.filter_map(|step| step[member].as_str());
    let own = all.filter(|command| command.contains("terraform init"));
    own.map(str::to_owned).collect()
}

fn lines(script: &Json) -> Vec<String> {
    let lines = script.as_array().into_iter().flatten();
    lines
        .filter_map(|line| line.as_str())
        .map(str::to_owned)
        .collect()
}

/// Runs commands as a pipeline does: one after the other, until one fails.
async fn run(workspace: &Workspace, commands: &[String]) -> anyhow::Result<(i32, String)> {
    assert!(!commands.is_empty(), "the pipeline runs nothing");
    let programs = tempfile::tempdir()?;
    let cli = workspace.command(&["version"]);
    std::os::unix::fs::symlink(cli.get_program(), programs.path().join("terraform"))?;
    let mut shell = Command::new("bash");
    shell
        .args(["-e", "-c", &commands.join("\n")])
        .current_dir(workspace.path());
    for (name, value) in cli.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let path = std::env::var("PATH").unwrap_or_default();
    shell
        .env("PATH", format!("{}:{path}", programs.path().display()))
        .env("TF_CLI_ARGS", "-no-color")
        .env("OCI_PRIMARY_SOURCE_DIR", workspace.path());
    let output = tokio::task::spawn_blocking(move || shell.output()).await??;
    drop(programs);
    Ok((
        output.status.code().unwrap_or(-1),
        format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
    ))
}

/// Every file under `examples/pipelines` is one that is tested.
#[test]
fn every_pipeline_is_tested() -> anyhow::Result<()> {
    fn count(folder: &Path) -> anyhow::Result<usize> {
        let mut found = 0;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            found += if path.is_dir() { count(&path)? } else { 1 };
        }
        Ok(found)
    }
    assert_eq!(count(&root().join("examples/pipelines"))?, FILES.len());
    Ok(())
}
