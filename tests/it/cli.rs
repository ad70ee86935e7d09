//! Real CLIs over the scenarios and over what only they can show.

mod modules;
mod repositories;
mod versions;

mod pipelines;
mod stopped;
mod tokens;

mod pushes;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use ocir::emulator::Emulator;
use serde_json::json;

use crate::support::{
    self, Feature,
    cli::{Workspace, copy_files},
};

/// The main job: one apply makes repositories, token and images; the second plan
/// is empty; a repository made public is seen and repaired; a destroy leaves
/// nothing. No secret is in any log on the way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn motando_scenario() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let emulator = Emulator::builder().start().await?;
    fs::remove_file(workspace.path().join("main.tf"))?;
    copy_files(
        &root().join("examples/scenarios/motando"),
        &workspace.path(),
    )?;
    make_images(&workspace.path())?;
    let log = workspace.path().join("trace.log");
    let images = workspace.path().display().to_string();
    workspace
        .sign_in(&emulator)?
        .set("TF_VAR_image_directory", images);
    workspace.init().await?;

    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    assert!(
        plan.contains("Plan: 5 to add, 0 to change, 0 to destroy."),
        "{plan}"
    );
    assert!(
        plan.contains("+ digest           = \"sha256:"),
        "the plan does not know the digests:\n{plan}"
    );
    assert!(emulator.repositories().is_empty(), "a plan made something");

    workspace
        .set("TF_LOG", "TRACE")
        .set("TF_LOG_PATH", log.display().to_string());
    let apply = workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    assert!(
        apply.contains("Apply complete! Resources: 5 added"),
        "{apply}"
    );
    let namespace = &emulator.seed().namespace;
    let reference = format!("{}/{namespace}/motando-webapp:1.0.0", emulator.authority());
    assert!(apply.contains(&reference), "{apply}");
    assert_eq!(
        emulator.tags("motando-webapp").keys().collect::<Vec<_>>(),
        ["1.0.0"]
    );
    assert_eq!(
        emulator
            .tags("dramatiq-classifiedad")
            .keys()
            .collect::<Vec<_>>(),
        ["1.4.0"]
    );

    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);

    emulator.edit_repository("motando-webapp", json!({ "isPublic": true }));
    let drift = workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(2);
    assert!(
        drift.contains("~ is_public      = true -> false"),
        "{drift}"
    );
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(
        emulator
            .repositories()
            .iter()
            .all(|repository| repository["isPublic"] == json!(false))
    );

    let state = workspace.state()?;
    let token = find(&state, "oci_auth_token")["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(token.len() > 8, "the state has no token");
    let destroy = workspace
        .run(&["destroy", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(
        destroy.contains("Destroy complete! Resources: 5 destroyed"),
        "{destroy}"
    );
    assert!(emulator.repositories().is_empty() && emulator.auth_tokens().is_empty());

    // The host's own lines may show values it was told are sensitive nowhere else.
    let log = fs::read_to_string(log)?;
    let ours: String = log
        .lines()
        .filter(|line| line.contains("provider.ocir") || line.contains("terraform-provider-ocir"))
        .collect();
    assert!(
        ours.contains("CreateContainerRepository"),
        "the provider logged nothing at TRACE"
    );
    let key_lines: Vec<&str> = emulator
        .seed()
        .private_key_pem
        .lines()
        .filter(|line| line.len() == 64)
        .collect();
    assert!(!key_lines.is_empty());
    for secret in key_lines
        .iter()
        .copied()
        .chain([&*token, "Bearer ey", "Signature version"])
    {
        assert!(
            !ours.contains(secret),
            "a secret is in the provider's log: {}…",
            &secret[..6.min(secret.len())]
        );
        for text in [&plan, &apply, &drift, &destroy] {
            assert!(!text.contains(secret), "a secret is in the output");
        }
    }
    Ok(())
}

/// `validate` works without credentials, a region and a network, and so does a
/// plan without resources.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_needed_to_validate() -> anyhow::Result<()> {
    let configuration = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "there" {
  type    = bool
  default = false
}
resource "ocir_repository" "this" {
  count          = var.there ? 1 : 0
  compartment_id = "ocid1.compartment.oc1..a"
  display_name   = "web"
}
"#;
    let Some(workspace) = Workspace::new(configuration)? else {
        return Ok(());
    };
    workspace.init().await?;
    workspace.run(&["validate"]).await?.succeeded();
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    let errors = workspace
        .run(&["plan", "-input=false", "-var=there=true"])
        .await?
        .errors();
    assert!(
        errors.contains("Cannot sign in to Oracle Cloud"),
        "{errors}"
    );
    Ok(())
}

/// Every example is valid to a real CLI.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_validate() -> anyhow::Result<()> {
    let preamble =
        "terraform {\n  required_providers {\n    ocir = { source = \"motando/ocir\" }\n  }\n}\n";
    let Some(workspace) = Workspace::new(preamble)? else {
        return Ok(());
    };
    workspace.init().await?;
    let mut count = 0;
    let ephemeral = support::knows(Feature::EphemeralResources)?;
    let kinds = ["resources", "data-sources", "provider"];
    let kinds = kinds
        .into_iter()
        .chain(ephemeral.then_some("ephemeral-resources"));
    for kind in kinds {
        for file in terraform_files(&root().join("examples").join(kind))? {
            // An import wants the block beside it: docs/ has both, and its tests validate them.
            if file
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("import-"))
            {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            // An example of the whole preamble brings its own.
            let own = text.contains("required_providers");
            workspace.write("main.tf", if own { "" } else { preamble })?;
            workspace.write("example.tf", &text)?;
            workspace.write("variables.tf", &variables(&text))?;
            let run = workspace.run(&["validate"]).await?;
            assert_eq!(run.status, 0, "{}:\n{}", file.display(), run.text);
            count += 1;
        }
    }
    assert!(count >= 6, "only {count} examples were found");
    Ok(())
}

/// Declarations of the variables that an example leaves to its reader.
fn variables(text: &str) -> String {
    let names: BTreeSet<&str> = text
        .split("var.")
        .skip(1)
        .map(|rest| {
            rest.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
                .next()
                .unwrap_or_default()
        })
        .collect();
    names
        .iter()
        .map(|name| format!("variable \"{name}\" {{}}\n"))
        .collect()
}

fn terraform_files(directory: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(terraform_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "tf") {
            files.push(path);
        }
    }
    Ok(files)
}

fn find<'a>(state: &'a serde_json::Value, kind: &str) -> &'a serde_json::Value {
    let resources = state["resources"].as_array().into_iter().flatten();
    let found = resources
        .into_iter()
        .find(|resource| resource["type"] == kind && resource["mode"] == "managed");
    &found.expect("the resource is in the state")["instances"][0]["attributes"]
}

pub(crate) fn make_images(directory: &Path) -> anyhow::Result<()> {
    let output = Command::new("python3")
        .arg(root().join("tools/images.py"))
        .arg(directory)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "tools/images.py: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
