//! What the real network does to an apply: storms, cut connections, wrong
//! clocks, rights that are taken away, and a person who presses Ctrl-C.

use std::{collections::BTreeSet, time::Duration};

use ocir::emulator::{Emulator, Fault, Permission};

use crate::support::{
    cli::{Workspace, flat},
    images::Layout,
};

const REPOSITORIES: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}
provider "ocir" {}
variable "compartment_id" {}
variable "user_id" {}
resource "ocir_repository" "many" {
  count          = COUNT
  compartment_id = var.compartment_id
  display_name   = "team/app-${count.index}"
}
"#;

/// 200 repositories while the service takes no more than twenty requests a
/// second: in the end there are 200, each made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttled_apply_of_200_repositories() -> anyhow::Result<()> {
    let Some((workspace, emulator)) = ready(200).await? else {
        return Ok(());
    };
    emulator.throttle(Some(20));
    let apply = workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(apply.contains("200 added"), "{apply}");

    let repositories = emulator.repositories();
    let names: BTreeSet<&str> = repositories
        .iter()
        .filter_map(|repository| repository["displayName"].as_str())
        .collect();
    assert_eq!((repositories.len(), names.len()), (200, 200));
    let requests = emulator.requests();
    let creates: Vec<_> = requests
        .iter()
        .filter(|request| request.operation == "CreateContainerRepository")
        .collect();
    let refused = creates
        .iter()
        .filter(|request| request.status == 429)
        .count();
    assert!(refused > 0, "the storm did not reach us");
    // A creation has one retry token, however often it was asked for.
    let tokens: BTreeSet<_> = creates.iter().map(|request| &request.retry_token).collect();
    assert_eq!(tokens.len(), 200);
    let asked = creates.len();
    println!("200 repositories took {asked} requests, of which {refused} were refused");
    assert!(asked < 1000, "{asked} requests for 200 repositories");

    emulator.throttle(None);
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

/// Connections break before and after the service did its work: what was made
/// is made once and known to the state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections() -> anyhow::Result<()> {
    let Some((workspace, emulator)) = ready(3).await? else {
        return Ok(());
    };
    emulator.fail_next("CreateContainerRepository", Fault::cut(0));
    emulator.fail_next("CreateContainerRepository", Fault::cut_answer());
    emulator.fail_next("GetNamespace", Fault::cut_answer());
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert_eq!(emulator.repositories().len(), 3);
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    emulator.fail_next("DeleteContainerRepository", Fault::cut_answer());
    workspace
        .run(&["destroy", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(emulator.repositories().is_empty());
    Ok(())
}

/// A right is taken away: nothing is forgotten, nothing is made anew, and the
/// error holds the policy that would give it back. It is given back, and there
/// is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permission_withdrawn() -> anyhow::Result<()> {
    let Some((workspace, emulator)) = ready(2).await? else {
        return Ok(());
    };
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    for lost in [
        &[Permission::RepositoryRead][..],
        &[Permission::RepositoryRead, Permission::RepositoryInspect],
    ] {
        for permission in lost {
            emulator.withdraw(*permission);
        }
        for command in ["plan", "refresh"] {
            let errors = workspace.run(&[command, "-input=false"]).await?.errors();
            let flat = flat(&errors);
            assert!(flat.contains("Allow group GROUP to"), "{errors}");
            assert!(flat.contains("NotAuthorizedOrNotFound"), "{errors}");
        }
        for permission in lost {
            emulator.grant(*permission);
        }
        workspace
            .run(&["plan", "-input=false", "-detailed-exitcode"])
            .await?
            .ended_with(0);
    }
    Ok(())
}

/// The clock of the machine is wrong, and the error says by how much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_clock() -> anyhow::Result<()> {
    let Some((workspace, emulator)) = ready(1).await? else {
        return Ok(());
    };
    emulator.skew_clock(900);
    let errors = workspace.run(&["plan", "-input=false"]).await?.errors();
    let flat = flat(&errors);
    assert!(flat.contains("clock is 15 minutes behind"), "{errors}");
    Ok(())
}

/// Ctrl-C while the service does not answer, throttles, or a push is on its way:
/// the CLI is back within a second or two, and a second apply finishes the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupts() -> anyhow::Result<()> {
    let Some((mut workspace, emulator)) = ready(1).await? else {
        return Ok(());
    };
    let layout = Layout::new()?;
    let layer = vec![7; 200_000];
    layout.show(&layout.image_of(&[&layer])?)?;
    workspace.write(
        "push.tf",
        r#"
variable "image" {}
resource "ocir_image_push" "web" {
  source     = var.image
  repository = ocir_repository.many[0].display_name
  tag        = "1.0.0"
}
"#,
    )?;
    workspace.set("TF_VAR_image", layout.source());
    let long = Duration::from_secs(120);
    let cases = [
        ("GetNamespace", Fault::delay(long)),
        (
            "CreateContainerRepository",
            Fault::status(429).retry_after(100),
        ),
        ("CreateContainerRepository", Fault::status(503)),
        ("PostBlobUpload", Fault::delay(long)),
        ("PutBlobUpload", Fault::delay(long)),
        ("PutBlobUpload", Fault::status(503).retry_after(100)),
    ];
    let apply = ["apply", "-input=false", "-auto-approve"];
    for (operation, fault) in cases {
        emulator.clear_requests();
        emulator.fail_always(operation, fault.clone());
        let asked = || emulator.begun(operation) > 0;
        let run = workspace.start_until(&apply, asked).await?;
        let (_, took) = run.interrupted().await?;
        assert!(
            took < Duration::from_secs(4),
            "{operation} with {fault:?}: the CLI took {took:?} to end"
        );
        emulator.clear_faults();
    }
    workspace.run(&apply).await?.succeeded();
    assert_eq!(emulator.repositories().len(), 1);
    assert!(emulator.tags("team/app-0").contains_key("1.0.0"));
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

async fn ready(count: usize) -> anyhow::Result<Option<(Workspace, Emulator)>> {
    let configuration = REPOSITORIES.replace("COUNT", &count.to_string());
    let Some(mut workspace) = Workspace::new(&configuration)? else {
        return Ok(None);
    };
    let emulator = Emulator::builder().start().await?;
    workspace.sign_in(&emulator)?;
    workspace.init().await?;
    Ok(Some((workspace, emulator)))
}
