//! What the guides tell happens: their configurations are applied, by a real CLI against the
//! emulator.

use std::{fs, path::Path};

use ocir::emulator::{Emulator, Permission, call};
use serde_json::json;

use super::markdown::Page;
use crate::{cli::make_images, support::cli::Workspace};

/// The first guide, from its first command to its last, with the rights that it asks for and no
/// others: a plan that knows the digests, an apply, nothing left to do, a destroy that leaves images
/// alone, and one that was allowed to take them. The Portuguese one has the same code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn getting_started() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let page = Page::read(Path::new("docs/guides/getting-started.md"))?;
    let fences = page.fences().into_iter();
    let configuration: Vec<String> = fences
        .filter(|fence| fence.language == "terraform")
        .map(|fence| fence.text)
        .collect();
    workspace.write("main.tf", &configuration.join("\n"))?;
    make_images(&workspace.path())?;
    let emulator = Emulator::builder().start().await?;
    emulator.withdraw(Permission::CompartmentInspect);
    emulator.withdraw(Permission::TenancyInspect);
    workspace.sign_in(&emulator)?;
    workspace.init().await?;

    let plan = workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    let shown = page
        .fences()
        .into_iter()
        .find(|fence| fence.text.contains("+ digest"))
        .expect("the guide shows a plan");
    for line in shown.text.lines() {
        let line = line.split('…').next().unwrap_or_default();
        assert!(
            plan.contains(line),
            "the guide shows \"{line}\", and the plan is\n{plan}"
        );
    }
    workspace
        .run(&["apply", "-input=false", "saved"])
        .await?
        .succeeded();
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    let user = workspace
        .run(&["output", "-raw", "docker_username"])
        .await?
        .succeeded();
    assert!(user.ends_with("/docker@example.com"), "{user}");

    let errors = workspace
        .run(&["destroy", "-input=false", "-auto-approve"])
        .await?
        .errors();
    assert!(
        errors.contains("Container repository is not empty"),
        "{errors}"
    );
    assert!(errors.contains("force_delete"), "{errors}");
    assert_eq!(emulator.repositories().len(), 2);

    let configuration = fs::read_to_string(workspace.path().join("main.tf"))?;
    let name = "  compartment_id = var.compartment_id\n";
    assert!(configuration.contains(name), "{configuration}");
    let forced = configuration.replace(name, &format!("{name}  force_delete   = true\n"));
    workspace.write("main.tf", &forced)?;
    for command in ["apply", "destroy"] {
        workspace
            .run(&[command, "-input=false", "-auto-approve"])
            .await?
            .succeeded();
    }
    assert!(emulator.repositories().is_empty());
    assert!(emulator.auth_tokens().is_empty());
    Ok(())
}

/// The guide's job that only pushes, with `use repos` and, unless it says the namespace itself, the right to
/// ask for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_only_pushes() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(());
    };
    make_images(&workspace.path())?;
    let folder = tempfile::tempdir()?;
    let emulator = Emulator::builder().config(folder.path()).start().await?;
    let seed = emulator.seed().clone();
    // Somebody else makes it.
    let repository =
        json!({ "compartmentId": seed.apps_compartment_id, "displayName": "motando-webapp" });
    let path = "/20160918/container/repositories";
    let made = call::call(folder.path(), "POST", path, Some(&repository.to_string())).await?;
    assert_eq!(made.status, 200, "{}", made.body);
    workspace.sign_in(&emulator)?;
    for beyond in [
        Permission::CompartmentInspect,
        Permission::CredentialManage,
        Permission::RepositoryCreate,
        Permission::RepositoryManage,
        Permission::TenancyInspect,
        Permission::UserInspect,
    ] {
        emulator.withdraw(beyond);
    }
    let push = |tag: &str, namespace: &str| {
        format!(
            "terraform {{\n  required_providers {{\n    ocir = {{ source = \"motando/ocir\" }}\n  }}\n}}\n\n\
             resource \"ocir_image_push\" \"web\" {{\n  source = \"docker-archive:motando-webapp.tar\"\n  \
             repository = \"motando-webapp\"\n  tag = \"{tag}\"\n  {namespace}\n}}\n"
        )
    };
    workspace.write("main.tf", &push("1.0.0", ""))?;
    workspace.init().await?;
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();

    emulator.withdraw(Permission::NamespaceRead);
    let namespace = format!("namespace = \"{}\"", seed.namespace);
    workspace.write("main.tf", &push("1.1.0", &namespace))?;
    workspace.run(&apply).await?.succeeded();
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

/// The module of the guide about tests: its test with mocks passes without anybody to talk to, the other one
/// with the emulator, and nothing is left there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn testing_with_the_emulator() -> anyhow::Result<()> {
    let Some(mut workspace) = Workspace::new("")? else {
        return Ok(());
    };
    let page = Page::read(Path::new("docs/guides/testing-with-the-emulator.md"))?;
    fs::create_dir(workspace.path().join("tests"))?;
    let mut tests = Vec::new();
    for fence in page.fences() {
        if fence.language != "terraform" {
            continue;
        }
        let name = fence
            .text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("# tests/"));
        match name {
            Some(name) => {
                workspace.write(&format!("tests/{name}"), &fence.text)?;
                tests.push(format!("-filter=tests/{name}"));
            }
            None => workspace.write("main.tf", &fence.text)?,
        }
    }
    workspace.init().await?;
    let mocked = workspace.run(&["test", &tests[0]]).await?.succeeded();
    assert!(mocked.contains("1 passed, 0 failed"), "{mocked}");

    let emulator = Emulator::builder().start().await?;
    workspace.sign_in(&emulator)?;
    let real = workspace.run(&["test", &tests[1]]).await?.succeeded();
    assert!(real.contains("3 passed, 0 failed"), "{real}");
    let made = emulator.requests().into_iter();
    let made = made
        .filter(|request| request.operation == "CreateContainerRepository")
        .count();
    assert_eq!(made, 2);
    assert!(emulator.repositories().is_empty());
    Ok(())
}
