//! What the guides tell happens: their configurations are applied, by a real CLI against the
//! emulator.

use std::{fs, path::Path};

use ocir::emulator::Emulator;

use super::markdown::Page;
use crate::{cli::make_images, support::cli::Workspace};

/// The first guide, from its first command to its last: a plan that knows the digests, an
/// apply, nothing left to do, and a destroy that leaves images alone. The Portuguese one has the same code.
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
