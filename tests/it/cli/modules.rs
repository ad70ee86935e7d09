//! `terraform test`: the example module's own tests, and mocks of every type.

use std::{fs, path::Path};

use ocir::emulator::Emulator;

use super::root;
use crate::support::cli::Workspace;

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The module in a folder of its own, not signed in.
async fn module() -> anyhow::Result<Option<Workspace>> {
    let Some(workspace) = Workspace::new("")? else {
        return Ok(None);
    };
    fs::remove_file(workspace.path().join("main.tf"))?;
    let module = root().join("examples/modules/application");
    copy_tree(&module, &workspace.path())?;
    workspace.init().await?;
    Ok(Some(workspace))
}

/// The unit tests of the module need no account and no network: nobody is signed in,
/// and what would be pushed does not exist.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unit_tests_of_a_module() -> anyhow::Result<()> {
    let Some(mut workspace) = module().await? else {
        return Ok(());
    };
    workspace.set("OCI_ENDPOINT", "http://127.0.0.1:1");
    let text = workspace
        .run(&["test", "-filter=tests/unit.tftest.hcl"])
        .await?
        .succeeded();
    assert!(text.contains("Success! 4 passed, 0 failed."), "{text}");
    Ok(())
}

/// All tests of the module, with a real apply against the emulator: the image was
/// pushed, and nothing is left afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_tests_of_a_module() -> anyhow::Result<()> {
    let Some(mut workspace) = module().await? else {
        return Ok(());
    };
    let emulator = Emulator::builder().start().await?;
    workspace.sign_in(&emulator)?;
    let text = workspace.run(&["test"]).await?.succeeded();
    assert!(text.contains("Success! 7 passed, 0 failed."), "{text}");
    let pushed: Vec<String> = emulator
        .requests()
        .into_iter()
        .filter(|request| request.operation == "PutManifest" && request.status == 201)
        .map(|request| request.path)
        .collect();
    assert!(
        pushed.iter().any(|path| path.contains("module-test/web")),
        "{pushed:?}"
    );
    assert!(emulator.repositories().is_empty());
    Ok(())
}

/// A module's test that fails says what is wrong: the tests above could fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_test_of_a_module_is_told() -> anyhow::Result<()> {
    let Some(workspace) = module().await? else {
        return Ok(());
    };
    let main = fs::read_to_string(workspace.path().join("main.tf"))?;
    let public = main.replace("is_public     = false", "is_public     = true");
    assert_ne!(main, public);
    workspace.write("main.tf", &public)?;
    let text = workspace
        .run(&["test", "-filter=tests/unit.tftest.hcl"])
        .await?
        .ended_with(1);
    assert!(text.contains("A repository is public."), "{text}");
    Ok(())
}

const EVERYTHING: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
data "ocir_tenancy_namespace" "it" {}
data "tenancy_namespace" "it" {
  provider       = ocir
  compartment_id = "ocid1.compartment.oc1..a"
}
resource "ocir_repository" "it" {
  compartment_id = "ocid1.compartment.oc1..a"
  display_name   = "team/web"
  freeform_tags  = { team = "web" }
  defined_tags   = { "Ops.Owner" = "ana" }
  readme {
    content = "Web"
  }
  timeouts {
    create = "5m"
  }
}
resource "ocir_image_push" "it" {
  source          = "docker-archive:nowhere.tar"
  repository      = ocir_repository.it.display_name
  tag             = "1.0.0"
  additional_tags = ["a", "b"]
  platforms       = ["linux/amd64"]
  timeouts {
    update = "1h"
  }
}
resource "ocir_auth_token" "it" {
  description       = "Pipeline"
  rotate_after_days = 30
  rotation_triggers = { digest = ocir_image_push.it.digest }
  timeouts {
    delete = "1m"
  }
}
resource "oci_auth_token" "it" {
  provider    = ocir
  description = "Docker"
}
output "namespace" {
  value = "${data.ocir_tenancy_namespace.it.namespace} ${data.tenancy_namespace.it.namespace}"
}
output "hosts" {
  value = data.tenancy_namespace.it.registry_hosts
}
output "id" {
  value = ocir_repository.it.id
}
output "layers" {
  value = ocir_image_push.it.layers
}
"#;

/// Computed values of every kind are made up, and what is overridden is what it is.
const MOCKED: &str = r#"
mock_provider "ocir" {
  mock_data "ocir_tenancy_namespace" {
    defaults = { namespace = "first" }
  }
  mock_data "tenancy_namespace" {
    defaults = { namespace = "second" }
  }
  mock_resource "ocir_image_push" {
    defaults = { digest = "sha256:1" }
  }
}
run "plan" {
  command = plan
  assert {
    condition     = ocir_repository.it.readme.content == "Web"
    error_message = "The block is another one."
  }
}
run "apply" {
  assert {
    condition     = output.namespace == "first second"
    error_message = "The namespaces are ${output.namespace}."
  }
  assert {
    condition     = length(ocir_repository.it.id) > 0 && length(oci_auth_token.it.token) > 0
    error_message = "Nothing was made up."
  }
  assert {
    condition     = ocir_auth_token.it.rotation_triggers.digest == "sha256:1" && output.layers != null
    error_message = "The image is another one."
  }
  assert {
    condition     = ocir_auth_token.it.rotate_after_days == 30 && ocir_image_push.it.additional_tags == toset(["a", "b"])
    error_message = "What is configured did not come back."
  }
}
run "again" {
  command = plan
  assert {
    condition     = ocir_repository.it.id == run.apply.id
    error_message = "Something else was made up."
  }
}
run "override" {
  command = plan
  plan_options {
    target = [ocir_repository.it]
  }
  override_resource {
    target = ocir_repository.it
    values = { repository_url = "gru.ocir.io/ns/web" }
  }
}
"#;

/// Mocks stand in for every resource and data source, under both names, with nobody
/// signed in. An ephemeral resource no version of Terraform up to 1.15 can mock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_can_be_mocked() -> anyhow::Result<()> {
    let Some(workspace) = Workspace::new(EVERYTHING)? else {
        return Ok(());
    };
    workspace.write("all.tftest.hcl", MOCKED)?;
    workspace.init().await?;
    let text = workspace.run(&["test"]).await?.succeeded();
    assert!(text.contains("Success! 4 passed, 0 failed."), "{text}");
    Ok(())
}
