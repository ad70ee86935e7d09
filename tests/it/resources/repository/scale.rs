//! Many repositories at once.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use ocir::emulator::Emulator;
use serde_json::json;

use crate::support::{
    core::{Action, PlannedChange, Resource},
    provider::Cloud,
};

const REPOSITORIES: usize = 1_000;
const PARALLELISM: usize = 10;

/// A thousand repositories, ten at a time, as a CLI does it: each phase takes the
/// requests that it has to and no more, and a refresh is one for each. What the
/// process holds does not grow with the rounds.
#[tokio::test]
async fn a_thousand_repositories() -> anyhow::Result<()> {
    let cloud = Cloud::with(Emulator::builder().page_size(1_000).start().await?).await?;
    let name = |number: usize| format!("scale/r{number:04}");
    let config = |number: usize| json!({ "compartment_id": cloud.compartment(), "display_name": name(number) });
    let mut all: Vec<Resource> = (0..REPOSITORIES)
        .map(|_| cloud.host.resource("ocir_repository"))
        .collect();
    let per_repository = |operation: &str| (operation.to_owned(), REPOSITORIES);

    let start = Instant::now();
    let plans: Vec<PlannedChange> = stream::iter(all.iter_mut().enumerate())
        .map(async |(number, repository)| repository.plan(config(number)).await)
        .buffered(PARALLELISM)
        .try_collect()
        .await?;
    assert!(plans.iter().all(|plan| plan.action == Action::Create));
    // The namespace never changes: asked for once, whatever is planned.
    assert_eq!(cloud.operations(), [("GetNamespace".to_owned(), 1)].into());
    report("plan", &cloud, start);

    let start = Instant::now();
    stream::iter(all.iter_mut().zip(&plans))
        .map(async |(repository, plan)| repository.apply_planned(plan).await)
        .buffer_unordered(PARALLELISM)
        .try_collect::<Vec<()>>()
        .await?;
    let expected = [per_repository("CreateContainerRepository")];
    assert_eq!(cloud.operations(), expected.into());
    assert_eq!(cloud.emulator.repositories().len(), REPOSITORIES);
    report("apply", &cloud, start);

    let mut held = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        stream::iter(&mut all)
            .map(async |repository| repository.refresh().await)
            .buffer_unordered(PARALLELISM)
            .try_for_each(async |_| Ok(()))
            .await?;
        let expected = [per_repository("GetContainerRepository")];
        assert_eq!(cloud.operations(), expected.into());
        report("refresh", &cloud, start);
        held.extend(resident_mib());
    }
    if let (Some(first), Some(last)) = (held.first(), held.last()) {
        eprintln!("resident after each refresh, emulator and test included: {held:?} MiB");
        // Other tests run beside this one in the same process.
        assert!(
            *last < first + 64,
            "memory grows from round to round: {held:?} MiB"
        );
    }

    let start = Instant::now();
    stream::iter(&mut all)
        .map(async |repository| {
            let plan = repository.plan_destroy();
            repository.apply_planned(&plan).await
        })
        .buffer_unordered(PARALLELISM)
        .try_collect::<Vec<()>>()
        .await?;
    let expected = [
        per_repository("DeleteContainerRepository"),
        per_repository("GetContainerRepository"),
        per_repository("ListContainerImages"),
    ];
    assert_eq!(cloud.operations(), expected.into());
    assert!(cloud.emulator.repositories().is_empty());
    report("destroy", &cloud, start);
    Ok(())
}

/// Prints what a phase took, and forgets its requests.
fn report(phase: &str, cloud: &Cloud, start: Instant) {
    let requests: usize = cloud.operations().values().sum();
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{phase}: {requests} requests in {seconds:.2} s");
    cloud.emulator.clear_requests();
}

/// What the process has in memory, where the system says so.
fn resident_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
