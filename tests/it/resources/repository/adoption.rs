//! A name that somebody has: the way out of it, and taking over.

use expect_test::expect;
use ocir::emulator::{Emulator, Fault};
use serde_json::{Value as Json, json};

use super::with;
use crate::support::{core::Action, provider::Cloud};

/// A repository that somebody made in another compartment, with everything set and
/// an image in it. Gives its OCID.
async fn somebodys(cloud: &Cloud) -> anyhow::Result<Json> {
    let mut theirs = cloud.host.resource("ocir_repository");
    let config = json!({
        "compartment_id": cloud.emulator.seed().ops_compartment_id,
        "display_name": "team/web",
        "is_public": true,
        "readme": { "content": "theirs" },
        "freeform_tags": { "who": "they" },
        "defined_tags": { "Ops.Owner": "they", "Ops.Cost": "7" },
    });
    let id = theirs.apply(config).await?["id"].clone();
    cloud.push_small("team/web", "1.0.0").await?;
    cloud.emulator.clear_requests();
    Ok(id)
}

fn adopting(cloud: &Cloud) -> Json {
    with(cloud.web(), json!({ "adopt_existing": true }))
}

/// A first push made it in the root compartment: the error says so, with an import
/// block to paste, and after that import an apply moves it.
#[tokio::test]
async fn made_by_a_first_push() -> anyhow::Result<()> {
    let cloud = Cloud::with(Emulator::builder().create_on_first_push().start().await?).await?;
    cloud.push_small("team/web", "1.0.0").await?;
    let there = cloud.repository("team/web");
    assert_eq!(
        there["compartmentId"],
        json!(cloud.emulator.seed().tenancy_id)
    );

    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot create container repository

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 409 NAMESPACE_CONFLICT: Repository already exists.

        The name is taken in this tenancy and region. It is in the root compartment, where a first push makes repositories. To manage the existing repository, import it:
            import {
              to = ocir_repository.NAME
              id = "ocid1.containerrepo.OCID"
            }
        or let the resource take it over, with its images, by setting in its block:
            adopt_existing = true

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with display_name"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());

    let id = there["id"].as_str().unwrap_or_default();
    assert!(problems.to_string().contains(&format!("id = \"{id}\"")));
    repository.import(id).await?;
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Update);
    repository.apply_planned(&plan).await?;
    repository.expect_noop(cloud.web()).await?;
    assert_eq!(cloud.emulator.tags("team/web").len(), 1);
    Ok(())
}

/// `adopt_existing` takes over what is there, makes it what the configuration says,
/// and touches no image. It says so, and the next plan is empty.
#[tokio::test]
async fn taken_over() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let id = somebodys(&cloud).await?;
    let config = with(
        adopting(&cloud),
        json!({
            "readme": { "content": "ours" },
            "freeform_tags": { "team": "web" },
            "defined_tags": { "ops.owner": "we" },
        }),
    );
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(config.clone()).await?;
    assert_eq!(plan.action, Action::Create);
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    let requests: Vec<_> = cloud.operations().into_iter().collect();
    let expected = [
        ("ChangeContainerRepositoryCompartment", 1),
        ("CreateContainerRepository", 1),
        // Once to see what it is, once for the tags of others in that moment.
        ("GetContainerRepository", 2),
        ("ListContainerRepositories", 1),
        ("UpdateContainerRepository", 1),
    ];
    assert_eq!(
        requests,
        expected.map(|(operation, count)| (operation.to_owned(), count))
    );
    expect![[r#"
        Warning: Existing container repository taken over

        Repository "team/web" (ocid1.containerrepo.OCID) existed in compartment ocid1.compartment.OCID with 1 image in it, and adopt_existing is true. It is changed to what the configuration says; its images stay as they are."#]].assert_eq(&cloud.neutral(&repository.take_warnings().join("\n")));

    assert_eq!(repository.state()["id"], id);
    assert!(!repository.is_tainted());
    repository.expect_noop(config.clone()).await?;
    let there = cloud.repository("team/web");
    assert_eq!(there["compartmentId"], json!(cloud.compartment()));
    assert_eq!(there["isPublic"], json!(false));
    assert_eq!(there["readme"]["content"], json!("ours"));
    assert_eq!(there["freeformTags"], json!({ "team": "web" }));
    // A tag that nobody asked for may come from a tag default: it stays.
    assert_eq!(there["definedTags"]["Ops"]["Cost"], json!("7"));
    assert_eq!(there["imageCount"], json!(1));

    // From then on it is like any other: drift is seen, and images hold it.
    cloud
        .emulator
        .edit_repository("team/web", json!({ "isPublic": true }));
    let drift = repository.plan(config.clone()).await?;
    assert_eq!(drift.action, Action::Update);
    repository.apply_planned(&drift).await?;
    let problems = repository.destroy().await.unwrap_err().to_string();
    assert!(problems.contains("is not empty"), "{problems}");
    repository
        .apply(with(config, json!({ "force_delete": true })))
        .await?;
    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// What is as it should be is taken over without a change.
#[tokio::test]
async fn nothing_to_change() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    theirs.apply(cloud.web()).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(adopting(&cloud)).await?;
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.count("UpdateContainerRepository"), 0);
    assert_eq!(cloud.count("ChangeContainerRepositoryCompartment"), 0);
    let warnings = repository.take_warnings().join("\n");
    assert!(!warnings.contains("image in it"), "{warnings}");
    repository.expect_noop(adopting(&cloud)).await?;
    Ok(())
}

/// Where nobody has the name `adopt_existing` changes nothing, and taking it out
/// of the configuration sends nothing.
#[tokio::test]
async fn nothing_to_adopt() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(adopting(&cloud)).await?;
    assert_eq!(repository.take_warnings(), Vec::<String>::new());
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    Ok(())
}

/// Taken over and then not changed: the repository is in the state and not tainted,
/// what went wrong is a warning, and the next apply does the rest.
#[tokio::test]
async fn a_late_failure_is_a_warning() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let id = somebodys(&cloud).await?;
    let mut texts = Vec::new();
    for operation in [
        "UpdateContainerRepository",
        "ChangeContainerRepositoryCompartment",
    ] {
        let mut repository = cloud.host.resource("ocir_repository");
        cloud
            .emulator
            .edit_repository("team/web", json!({ "isPublic": true }));
        let plan = repository.plan(adopting(&cloud)).await?;
        let no = Fault::error(400, "InvalidParameter", "no");
        cloud.emulator.fail_next(operation, no);
        repository.apply_planned(&plan).await?;
        assert_eq!(repository.state()["id"], id);
        assert!(!repository.is_tainted());
        texts.push(cloud.neutral(&repository.take_warnings().join("\n\n")));

        let rest = repository.plan(adopting(&cloud)).await?;
        assert_eq!(rest.action, Action::Update);
        assert_eq!(rest.before["is_public"], json!(true));
        repository.apply_planned(&rest).await?;
        repository.expect_noop(adopting(&cloud)).await?;
        let there = json!({ "compartmentId": cloud.emulator.seed().ops_compartment_id });
        cloud.emulator.edit_repository("team/web", there);
    }
    assert_eq!(cloud.emulator.images().len(), 1);
    expect![[r#"
        Warning: Existing container repository taken over

        Repository "team/web" (ocid1.containerrepo.OCID) existed in compartment ocid1.compartment.OCID with 1 image in it, and adopt_existing is true. It is changed to what the configuration says; its images stay as they are.

        Warning: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed. UpdateContainerRepository of service artifacts at HOST was answered 400 InvalidParameter: no.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID

        Warning: Existing container repository taken over

        Repository "team/web" (ocid1.containerrepo.OCID) existed in compartment ocid1.compartment.OCID with 1 image in it, and adopt_existing is true. It is changed to what the configuration says; its images stay as they are.

        Warning: Cannot move container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be moved to compartment COMPARTMENT. ChangeContainerRepositoryCompartment of service artifacts at HOST was answered 400 InvalidParameter: no.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&texts.join("\n\n"));
    Ok(())
}

/// It may be seen in a list and not be read: an error, and nothing is in the state.
#[tokio::test]
async fn it_cannot_be_read() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    somebodys(&cloud).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(adopting(&cloud)).await?;
    cloud
        .emulator
        .fail_next("GetContainerRepository", super::refusal());
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot take over container repository

        Repository "team/web" (ocid1.containerrepo.OCID) exists in compartment ocid1.compartment.OCID and was to be taken over, but could not be read. GetContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: not authorized or not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to read repos in compartment id ocid1.compartment.OCID

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// Who may not list the tenancy finds what is in the compartment all the same.
#[tokio::test]
async fn the_tenancy_may_not_be_listed() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut theirs = cloud.host.resource("ocir_repository");
    let id = theirs.apply(cloud.web()).await?["id"].clone();
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(adopting(&cloud)).await?;
    cloud
        .emulator
        .fail_next("ListContainerRepositories", super::refusal());
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.count("ListContainerRepositories"), 2);
    assert_eq!(repository.state()["id"], id);
    Ok(())
}

/// A replacement with `create_before_destroy` takes over the very repository that it
/// replaces: it is not deleted afterwards.
#[tokio::test]
async fn a_replacement_keeps_what_it_took_over() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let config = with(adopting(&cloud), json!({ "force_delete": true }));
    let mut old = cloud.host.resource("ocir_repository");
    let id = old.apply(config.clone()).await?["id"].clone();
    let mut new = cloud.host.resource("ocir_repository");
    let plan = new.plan(config.clone()).await?;
    new.apply_planned(&plan).await?;
    assert_eq!(new.state()["id"], id);

    let destroy = old.plan_destroy();
    old.apply_planned(&destroy).await?;
    assert!(old.state().is_null());
    expect![[r#"
        Warning: Container repository not deleted

        Repository "team/web" (ocid1.containerrepo.OCID) was taken over in this run, with adopt_existing, by the resource that replaces the one that had it. It was left alone."#]].assert_eq(&cloud.neutral(&old.take_warnings().join("\n")));
    assert_eq!(cloud.repository("team/web")["id"], id);
    new.expect_noop(config).await?;
    new.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}
