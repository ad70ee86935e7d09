//! Pushes by a real CLI: what only processes show.

use std::time::Duration;

use ocir::emulator::{Emulator, Fault};

use crate::support::{
    cli::{Workspace, flat},
    images::Layout,
};

const PUSH: &str = r#"
terraform {
  required_providers {
    ocir = { source = "motando/ocir" }
  }
}

variable "compartment_id" {}
variable "source_of_image" {}

resource "ocir_repository" "this" {
  compartment_id = var.compartment_id
  display_name   = "web"
}

resource "ocir_image_push" "this" {
  source          = var.source_of_image
  repository      = ocir_repository.this.display_name
  tag             = "1.0.0"
  additional_tags = ["stable"]
}
"#;

async fn workspace(emulator: &Emulator, layout: &Layout) -> anyhow::Result<Option<Workspace>> {
    let Some(mut workspace) = Workspace::new(PUSH)? else {
        return Ok(None);
    };
    workspace
        .sign_in(emulator)?
        .set("TF_VAR_source_of_image", layout.source());
    workspace.init().await?;
    Ok(Some(workspace))
}

fn count(emulator: &Emulator, operation: &str) -> usize {
    let requests = emulator.requests();
    let found = requests
        .iter()
        .filter(|request| request.operation == operation);
    found.count()
}

/// CLI and provider are killed in the middle of a push: no blob that arrived is sent
/// again, the next apply finishes, and a plan after it is empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::new()?;
    let layers: Vec<Vec<u8>> = (1..5)
        .map(|size| vec![size as u8; size * 300_000])
        .collect();
    let layers: Vec<&[u8]> = layers.iter().map(Vec::as_slice).collect();
    let image = layout.image_of(&layers)?;
    layout.show(&image)?;
    let Some(workspace) = workspace(&emulator, &layout).await? else {
        return Ok(());
    };
    workspace
        .run(&[
            "apply",
            "-input=false",
            "-auto-approve",
            "-target=ocir_repository.this",
        ])
        .await?
        .succeeded();

    // Two blobs arrive, and then nothing more does.
    for _ in 0..2 {
        emulator.fail_next("PutBlobUpload", Fault::delay(Duration::ZERO));
    }
    emulator.fail_always("PutBlobUpload", Fault::delay(Duration::from_secs(300)));
    emulator.clear_requests();
    let is_midway =
        || emulator.begun("PutBlobUpload") >= 4 && count(&emulator, "PutBlobUpload") >= 2;
    let apply = ["apply", "-input=false", "-auto-approve"];
    let run = workspace.start_until(&apply, is_midway).await?;
    run.killed().await?;
    assert!(emulator.tags("web").is_empty());

    emulator.clear_faults();
    emulator.clear_requests();
    workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    // Four layers and the configuration, less what had arrived. What the killed
    // one had begun is noticed as ended at any time, without an answer.
    let arrived = emulator
        .requests()
        .iter()
        .filter(|request| request.operation == "PutBlobUpload" && request.status == 201)
        .count();
    assert_eq!(arrived, 3);
    let digest = image["digest"].as_str().unwrap_or_default();
    for tag in ["1.0.0", "stable"] {
        assert_eq!(emulator.tags("web")[tag], digest);
    }
    workspace
        .run(&["plan", "-input=false", "-detailed-exitcode"])
        .await?
        .ended_with(0);
    Ok(())
}

/// The source changes between plan and apply: the CLI refuses in its own words, and
/// a warning beside them says what happened. Nothing is pushed, and a new plan works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_changed_after_the_plan() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::of("one")?;
    let Some(workspace) = workspace(&emulator, &layout).await? else {
        return Ok(());
    };
    workspace
        .run(&["plan", "-input=false", "-out=saved"])
        .await?
        .succeeded();
    layout.show(&layout.image("two")?)?;
    let refused = workspace.run(&["apply", "-input=false", "saved"]).await?;
    let text = refused.ended_with(1);
    let words = flat(&text);
    assert!(words.contains("inconsistent final plan"), "{text}");
    for part in [
        "Warning: Image source changed since the last plan",
        "This concerns only a plan that was made before",
    ] {
        assert!(words.contains(part), "{text}");
    }
    assert!(emulator.images().is_empty());

    let applied = workspace
        .run(&["apply", "-input=false", "-auto-approve"])
        .await?
        .succeeded();
    assert!(!applied.contains("Warning"), "{applied}");
    assert_eq!(emulator.tags("web").len(), 2);
    Ok(())
}

/// Ctrl-C while the CLI waits for a registry that does not get on: for a token, for an
/// upload to be taken, for one to be confirmed, for the end of a pause that it asked
/// for, and for a tag to be taken off. The run ends within a second or so, nothing is
/// half done, and the next one finishes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::of("zero")?;
    let Some(workspace) = workspace(&emulator, &layout).await? else {
        return Ok(());
    };
    let configuration = PUSH.replace("\"1.0.0\"", "\"1.0.0\"\n  on_destroy      = \"untag\"");
    workspace.write("main.tf", &configuration)?;
    let apply = ["apply", "-input=false", "-auto-approve"];
    let repository = [&apply[..], &["-target=ocir_repository.this"]].concat();
    workspace.run(&repository).await?.succeeded();

    let never = || Fault::delay(Duration::from_secs(300));
    let big = vec![7; 20_000_000];
    for (operation, fault, layer) in [
        ("GetRegistryToken", never(), b"one".as_slice()),
        ("PutBlobUpload", never(), &big),
        ("PutBlobUpload", never(), b"two"),
        (
            "PostBlobUpload",
            Fault::status(429).retry_after(300),
            b"three",
        ),
        ("PutManifest", never(), b"four"),
    ] {
        let image = layout.image_of(&[layer])?;
        layout.show(&image)?;
        let before = emulator.tags("web");
        emulator.fail_always(operation, fault);
        emulator.clear_requests();
        let asked = || emulator.begun(operation) > 0;
        let run = workspace.start_until(&apply, asked).await?;
        let (_, ended) = run.interrupted().await?;
        assert!(ended < SOON, "{operation}: {ended:?}");
        assert_eq!(emulator.tags("web"), before, "{operation}");

        emulator.clear_faults();
        workspace.run(&apply).await?.succeeded();
        let digest = image["digest"].as_str().unwrap_or_default();
        for tag in ["1.0.0", "stable"] {
            assert_eq!(emulator.tags("web")[tag], digest, "{operation}");
        }
        let plan = ["plan", "-input=false", "-detailed-exitcode"];
        workspace.run(&plan).await?.ended_with(0);
    }

    let destroy = ["destroy", "-auto-approve", "-target=ocir_image_push.this"];
    emulator.fail_always("RemoveContainerVersion", never());
    emulator.clear_requests();
    let asked = || emulator.begun("RemoveContainerVersion") > 0;
    let run = workspace.start_until(&destroy, asked).await?;
    let (_, ended) = run.interrupted().await?;
    assert!(ended < SOON, "{ended:?}");
    emulator.clear_faults();
    workspace.run(&destroy).await?.succeeded();
    assert!(emulator.tags("web").is_empty());
    Ok(())
}

/// A second, and what a busy machine needs to end two programs.
const SOON: Duration = Duration::from_millis(1_500);

/// Somebody moved the tag: what a user reads of the plan has both digests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_tag_in_the_plan() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::of("one")?;
    let Some(workspace) = workspace(&emulator, &layout).await? else {
        return Ok(());
    };
    let apply = ["apply", "-input=false", "-auto-approve"];
    workspace.run(&apply).await?.succeeded();
    let theirs = emulator.tags("web")["1.0.0"].clone();
    layout.show(&layout.image("two")?)?;
    workspace.run(&apply).await?.succeeded();
    let ours = emulator.tags("web")["1.0.0"].clone();
    emulator.move_tag("web", "1.0.0", &theirs);

    let plan = ["plan", "-input=false", "-detailed-exitcode"];
    let text = workspace.run(&plan).await?.ended_with(2);
    let words = flat(&text);
    let drift = format!("~ digest = \"{theirs}\" -> \"{ours}\"");
    assert!(words.contains(&drift), "{text}");
    assert!(words.contains("will be updated in-place"), "{text}");

    // Taken away altogether, it is made again; and any other answer is an error.
    emulator.remove_tag("web", "1.0.0");
    let text = workspace.run(&plan).await?.ended_with(2);
    assert!(
        text.contains("ocir_image_push.this will be created"),
        "{text}"
    );
    let before = workspace.state()?;
    emulator.fail_always("HeadManifest", Fault::status(403));
    emulator.fail_always("GetManifest", Fault::status(403));
    let text = workspace.run(&plan).await?.ended_with(1);
    assert!(text.contains("Error: Cannot read image"), "{text}");
    assert_eq!(workspace.state()?, before);
    Ok(())
}

/// A layer of a hundred megabytes passes through a few pieces of memory.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_layer_in_little_memory() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let layout = Layout::new()?;
    let big: Vec<u8> = (0..100_000_000_u32).map(|at| (at >> 8) as u8).collect();
    layout.show(&layout.image_of(&[&big])?)?;
    drop(big);
    let Some(workspace) = workspace(&emulator, &layout).await? else {
        return Ok(());
    };
    let run = workspace.start(&["apply", "-input=false", "-auto-approve"])?;
    let (run, peak) = run.measured().await?;
    run.succeeded();
    assert_eq!(emulator.tags("web").len(), 2);
    // The release build is held to 40 MiB by `make bench`; this one is larger, and
    // smaller than the layer all the same.
    assert!((1..60 << 10).contains(&peak), "{peak} KiB");
    Ok(())
}
