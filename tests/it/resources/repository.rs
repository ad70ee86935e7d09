//! `ocir_repository`.

mod adoption;
mod import;
mod interrupted;
mod moved;
mod scale;
mod tags;
mod timeouts;
mod writers;

use expect_test::expect;
use ocir::emulator::{Emulator, Fault, Permission};
use serde_json::{Value as Json, json};

use crate::support::{
    core::{Action, Host, unknown},
    provider::{Cloud, arguments, server},
};

/// A configuration with more arguments than the required ones.
fn with(config: Json, more: Json) -> Json {
    let mut config = config;
    let more = more.as_object().expect("arguments are an object").clone();
    config
        .as_object_mut()
        .expect("a configuration is an object")
        .extend(more);
    config
}

/// A repository is made, shows no change, is made public behind our back, seen,
/// repaired, and destroyed.
#[tokio::test]
async fn a_public_repository_is_drift() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(state["is_public"], json!(false));

    cloud
        .emulator
        .edit_repository("team/web", json!({ "isPublic": true }));
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.before["is_public"], json!(true));
    assert_eq!(plan.after["is_public"], json!(false));
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(false));

    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// What a new repository will be called is known while planning, and the create
/// sends no more than was said. The namespace is asked for once, whatever is planned.
#[tokio::test]
async fn a_create_is_one_request() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let namespace = &cloud.emulator.seed().namespace;
    let mut repository = cloud.host.resource("ocir_repository");

    let plan = repository.plan(cloud.web()).await?;
    let url = format!("{}/{namespace}/team/web", cloud.emulator.authority());
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.after["repository_url"], json!(url));
    assert_eq!(plan.after["namespace"], json!(namespace));
    assert_eq!(plan.after["id"], unknown());
    assert_eq!(cloud.operations(), [("GetNamespace".into(), 1)].into());

    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    let body = json!({
        "compartmentId": cloud.compartment(), "displayName": "team/web", "isPublic": false,
    });
    let [create] = &cloud.emulator.requests()[..] else {
        panic!("one request: {:?}", cloud.operations());
    };
    assert_eq!(create.operation, "CreateContainerRepository");
    assert_eq!(create.body_bytes, body.to_string().len() as u64);

    cloud.emulator.clear_requests();
    repository.expect_noop(cloud.web()).await?;
    let look = [("GetContainerRepository".into(), 1)];
    assert_eq!(cloud.operations(), look.into());
    Ok(())
}

/// Everything that can be said goes into the create; the spelling of a defined
/// tag's key stays as it was written, whatever the service makes of it.
#[tokio::test]
async fn all_arguments() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let config = with(
        cloud.web(),
        json!({
            "is_public": true,
            "readme": { "content": "# Web\n" },
            "freeform_tags": { "team": "web" },
            "defined_tags": { "operations.costcenter": "42" },
            "force_delete": true,
        }),
    );
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(config.clone()).await?;
    repository.apply_planned(&plan).await?;

    let made = cloud.repository("team/web");
    assert_eq!(made["isPublic"], json!(true));
    assert_eq!(
        made["readme"],
        json!({ "content": "# Web\n", "format": "TEXT_MARKDOWN" })
    );
    assert_eq!(made["freeformTags"], json!({ "team": "web" }));
    let state = repository.state();
    assert_eq!(state["state"], json!("AVAILABLE"));
    assert_eq!(
        state["created_by"],
        json!(cloud.emulator.seed().user_id.clone())
    );

    cloud.emulator.edit_repository(
        "team/web",
        json!({ "definedTags": { "Operations": { "CostCenter": "42" } } }),
    );
    repository.expect_noop(config).await?;
    Ok(())
}

/// Each argument changes in place, and only what changed is sent; what is taken
/// out of the configuration is cleared.
#[tokio::test]
async fn changes_in_place() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let id = repository.apply(cloud.web()).await?["id"].clone();

    for (more, member, expected) in [
        (json!({ "is_public": true }), "isPublic", json!(true)),
        (
            json!({ "readme": { "content": "hello", "format": "TEXT_PLAIN" } }),
            "readme",
            json!({ "content": "hello", "format": "TEXT_PLAIN" }),
        ),
        (
            json!({ "freeform_tags": { "a": "1" } }),
            "freeformTags",
            json!({ "a": "1" }),
        ),
        (
            json!({ "defined_tags": { "Ops.Owner": "ana" } }),
            "definedTags",
            json!({ "Ops": { "Owner": "ana" } }),
        ),
    ] {
        let plan = repository.plan(with(cloud.web(), more.clone())).await?;
        assert_eq!(plan.action, Action::Update, "{member}");
        repository.apply_planned(&plan).await?;
        assert_eq!(cloud.repository("team/web")[member], expected);
        repository.expect_noop(with(cloud.web(), more)).await?;
    }

    let state = repository.apply(cloud.web()).await?;
    let bare = cloud.repository("team/web");
    assert_eq!(state["id"], id);
    assert_eq!(bare["isPublic"], json!(false));
    assert_eq!(bare["readme"]["content"], json!(""));
    assert_eq!(bare["freeformTags"], json!({}));
    assert_eq!(bare["definedTags"], json!({}));
    assert_eq!(state["readme"], Json::Null);
    assert_eq!(state["defined_tags"], Json::Null);
    Ok(())
}

/// `null` and `{}` are both no tags, and each stays what was written; from one to
/// the other nothing is sent.
#[tokio::test]
async fn no_tags_in_two_ways() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let empty = json!({ "freeform_tags": {}, "defined_tags": {} });
    let mut repository = cloud.host.resource("ocir_repository");

    let state = repository.apply(with(cloud.web(), empty)).await?;
    assert_eq!(state["freeform_tags"], json!({}));
    assert_eq!(state["defined_tags"], json!({}));
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(cloud.count("UpdateContainerRepository"), 0);
    assert_eq!(state["freeform_tags"], Json::Null);
    assert_eq!(state["defined_tags"], Json::Null);
    Ok(())
}

/// A change of what only we know sends nothing.
#[tokio::test]
async fn force_delete_is_ours() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;

    let forced = with(cloud.web(), json!({ "force_delete": true }));
    let plan = repository.plan(forced).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    assert_eq!(cloud.operations(), [].into());
    Ok(())
}

/// Another compartment is a move; the repository stays the same.
#[tokio::test]
async fn another_compartment_is_a_move() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    let id = repository.apply(cloud.web()).await?["id"].clone();

    let moved = with(cloud.web(), json!({ "compartment_id": ops }));
    let plan = repository.plan(moved.clone()).await?;
    assert_eq!(plan.action, Action::Update);
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    let requests = [("ChangeContainerRepositoryCompartment".into(), 1)];
    assert_eq!(cloud.operations(), requests.into());
    assert_eq!(cloud.repository("team/web")["compartmentId"], json!(ops));
    assert_eq!(repository.apply(moved).await?["id"], id);
    Ok(())
}

/// Moved in the console it is drift, and an apply moves it back.
#[tokio::test]
async fn another_compartment_is_drift() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;
    cloud
        .emulator
        .edit_repository("team/web", json!({ "compartmentId": ops }));
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.before["compartment_id"], json!(ops));
    assert_eq!(plan.after["compartment_id"], json!(cloud.compartment()));
    repository.apply_planned(&plan).await?;
    assert_eq!(repository.refresh().await?, before);
    Ok(())
}

/// The move is done and the rest fails: the state says so, and the next apply
/// does the rest only.
#[tokio::test]
async fn half_an_update() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;

    let config = with(
        cloud.web(),
        json!({ "compartment_id": ops, "is_public": true }),
    );
    let plan = repository.plan(config.clone()).await?;
    cloud.emulator.fail_next(
        "UpdateContainerRepository",
        Fault::error(400, "InvalidParameter", "no"),
    );
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("was answered 400 InvalidParameter: no.")
    );
    assert_eq!(repository.state()["compartment_id"], json!(ops));
    assert_eq!(repository.state()["is_public"], json!(false));
    assert!(!repository.is_tainted());

    let plan = repository.plan(config).await?;
    cloud.emulator.clear_requests();
    repository.apply_planned(&plan).await?;
    let requests = [("UpdateContainerRepository".into(), 1)];
    assert_eq!(cloud.operations(), requests.into());
    assert_eq!(cloud.repository("team/web")["isPublic"], json!(true));
    Ok(())
}

/// A tainted repository is made anew.
#[tokio::test]
async fn tainted() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;
    repository.taint();
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Replace);
    repository.apply_planned(&plan).await?;
    assert_ne!(repository.state()["id"], before["id"]);
    repository.expect_noop(cloud.web()).await?;
    Ok(())
}

/// Another name is another repository.
#[tokio::test]
async fn another_name_is_a_replacement() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;

    let renamed = with(cloud.web(), json!({ "display_name": "team/www" }));
    let plan = repository.plan(renamed).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.replace, ["display_name"]);
    repository.apply_planned(&plan).await?;
    assert_ne!(repository.state()["id"], before["id"]);
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// Where the service takes it, a repository made mutable behind our back is
/// drift, and so is an immutable one that was not asked for.
#[tokio::test]
async fn immutability_is_drift() -> anyhow::Result<()> {
    let cloud = Cloud::with(Emulator::builder().accept_immutable().start().await?).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let immutable = with(cloud.web(), json!({ "is_immutable": true }));
    repository.apply(immutable.clone()).await?;
    assert_eq!(cloud.repository("team/web")["isImmutable"], json!(true));

    cloud
        .emulator
        .edit_repository("team/web", json!({ "isImmutable": false }));
    let plan = repository.plan(immutable.clone()).await?;
    assert_eq!(plan.before["is_immutable"], json!(false));
    assert_eq!(plan.after["is_immutable"], json!(true));
    repository.apply(immutable).await?;

    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.before["is_immutable"], json!(true));
    assert_eq!(plan.after["is_immutable"], json!(false));
    Ok(())
}

/// The service as it is known refuses immutability, and the error says what to do.
#[tokio::test]
async fn immutability_is_refused() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let immutable = with(cloud.web(), json!({ "is_immutable": true }));

    let mut created = cloud.host.resource("ocir_repository");
    let plan = created.plan(immutable.clone()).await?;
    let problems = created.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Immutable repositories are not available

        Repository "team/web" could not be created in compartment COMPARTMENT. CreateContainerRepository of service artifacts at HOST was answered 400 BAD_REQUEST: Setting isImmutable is not currently supported.

        The service refuses is_immutable = true in this tenancy, although its API has the argument. Leave the argument out, and give every build a tag of its own. What keeps a tag from being moved is on the side that pushes: if_exists = "error" of ocir_image_push.

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID
          with is_immutable"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(created.state().is_null());

    let mut changed = cloud.host.resource("ocir_repository");
    changed.apply(cloud.web()).await?;
    let plan = changed.plan(immutable).await?;
    let again = changed.apply_planned(&plan).await.unwrap_err();
    let again = cloud.neutral(&again.to_string());
    assert!(
        again.contains("could not be changed. UpdateContainerRepository"),
        "{again}"
    );
    assert!(
        again.contains("The service refuses is_immutable = true"),
        "{again}"
    );
    assert_eq!(changed.state()["is_immutable"], json!(false));
    Ok(())
}

/// A repository that is gone is planned anew.
#[tokio::test]
async fn deleted_behind_our_back() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;

    cloud.emulator.remove_repository("team/web");
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Create);
    repository.apply_planned(&plan).await?;
    assert_ne!(repository.state()["id"], before["id"]);
    Ok(())
}

/// Readme and tags that somebody added are drift, though the configuration does
/// not mention them, and are cleared.
#[tokio::test]
async fn readme_and_tags_of_others_are_drift() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;

    cloud.emulator.edit_repository(
        "team/web",
        json!({
            "readme": { "content": "mine", "format": "TEXT_PLAIN" },
            "freeformTags": { "who": "me" },
            "definedTags": { "Ops": { "Owner": "me" } },
        }),
    );
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.before["readme"]["content"], json!("mine"));
    assert_eq!(plan.before["freeform_tags"], json!({ "who": "me" }));
    assert_eq!(plan.before["defined_tags"], json!({ "Ops.Owner": "me" }));
    for attribute in ["readme", "freeform_tags", "defined_tags"] {
        assert_eq!(plan.after[attribute], Json::Null);
    }
    repository.apply_planned(&plan).await?;
    repository.expect_noop(cloud.web()).await?;
    assert_eq!(cloud.repository("team/web")["readme"]["content"], json!(""));
    Ok(())
}

/// Tags that Oracle adds by itself are no drift, and an update of ours keeps them.
#[tokio::test]
async fn oracles_tags_stay() -> anyhow::Result<()> {
    let cloud = Cloud::with(Emulator::builder().oracle_tags().start().await?).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(state["defined_tags"], Json::Null);
    let created_by =
        cloud.repository("team/web")["definedTags"]["Oracle-Tags"]["CreatedBy"].clone();
    assert!(created_by.is_string());

    let tagged = with(
        cloud.web(),
        json!({ "defined_tags": { "Ops.Owner": "ana" } }),
    );
    let state = repository.apply(tagged).await?;
    assert_eq!(state["defined_tags"], json!({ "Ops.Owner": "ana" }));
    repository.apply(cloud.web()).await?;
    let tags = cloud.repository("team/web")["definedTags"].clone();
    assert_eq!(tags["Oracle-Tags"]["CreatedBy"], created_by);
    assert_eq!(tags["Ops"], Json::Null);
    Ok(())
}

/// Images move counters only, which are not part of the resource: a hundred pushes
/// change nothing.
#[tokio::test]
async fn pushes_are_no_change() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let before = repository.apply(cloud.web()).await?;

    for build in 0..100 {
        cloud
            .push_small("team/web", &format!("1.0.{build}"))
            .await?;
    }
    assert_eq!(cloud.repository("team/web")["imageCount"], json!(100));
    assert_eq!(repository.refresh().await?, before);
    repository.expect_noop(cloud.web()).await?;
    Ok(())
}

/// A repository with images in it is left alone, and the error says what holds
/// it and what to do; with `force_delete` it goes with its images.
#[tokio::test]
async fn images_keep_a_repository() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    cloud.push_small("team/web", "1.0.0").await?;

    let problems = repository.destroy().await.unwrap_err();
    expect![[r#"
        Error: Container repository is not empty

        Repository "team/web" (ocid1.containerrepo.OCID) holds 1 image of 11 bytes (tag: 1.0.0). Deleting it would delete what it holds, so it was left alone.

        To delete the repository with its images, set
            force_delete = true
        in its block, apply that, and destroy it then. If the block was removed or changed, put it back for that as it was. To keep the repository, and only forget it here, run
            terraform state rm ADDRESS"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    cloud.push_small("team/web", "1.1.0").await?;
    let problems = repository.destroy().await.unwrap_err();
    expect![[r#"
        Error: Container repository is not empty

        Repository "team/web" (ocid1.containerrepo.OCID) holds 2 images of 16 bytes in all (newest tags: 1.1.0, 1.0.0). Deleting it would delete what it holds, so it was left alone.

        To delete the repository with its images, set
            force_delete = true
        in its block, apply that, and destroy it then. If the block was removed or changed, put it back for that as it was. To keep the repository, and only forget it here, run
            terraform state rm ADDRESS"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(cloud.emulator.repositories().len(), 1);
    assert_eq!(repository.state()["display_name"], json!("team/web"));

    let forced = with(cloud.web(), json!({ "force_delete": true }));
    repository.apply(forced).await?;
    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    assert!(cloud.emulator.images().is_empty());
    Ok(())
}

/// Moved to another compartment since the last refresh, a repository with images
/// in it is left alone all the same; so it is when nobody can tell.
#[tokio::test]
async fn images_in_another_compartment() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    cloud.push_small("team/web", "1.0.0").await?;
    let plan = repository.plan_destroy();
    cloud
        .emulator
        .edit_repository("team/web", json!({ "compartmentId": ops }));
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    assert!(
        problems
            .to_string()
            .contains("holds 1 image of 11 bytes (tag: 1.0.0)")
    );

    let denied = Fault::status(404);
    cloud.emulator.fail_next("ListContainerImages", denied);
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    assert!(problems.to_string().contains("so it was not deleted"));
    assert_eq!(cloud.emulator.repositories().len(), 1);
    Ok(())
}

/// Gone between refresh and destroy is as good as destroyed.
#[tokio::test]
async fn already_gone() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    for force_delete in [false, true] {
        let config = with(cloud.web(), json!({ "force_delete": force_delete }));
        repository.apply(config).await?;
        let plan = repository.plan_destroy();
        cloud.emulator.remove_repository("team/web");
        repository.apply_planned(&plan).await?;
        assert!(repository.state().is_null());
    }
    Ok(())
}

// What a 404 means. The rule is in `src/provider/absence.rs`.

/// 404 as the services say it.
fn refusal() -> Fault {
    Fault::error(
        404,
        "NotAuthorizedOrNotFound",
        "not authorized or not found",
    )
}

/// A 404 about a repository that its compartment's list has: the right to read it
/// was lost. The state is kept, and the error says which policy is missing.
#[tokio::test]
async fn the_right_to_read_is_lost() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;

    cloud.emulator.withdraw(Permission::RepositoryRead);
    cloud.emulator.clear_requests();
    let problems = repository.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        The repository exists: the list of compartment COMPARTMENT has it, so it stays in the state. The right to do this was lost. A policy gives it back, for example:
            Allow group GROUP to read repos in compartment id COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(repository.state(), state);
    let asked = ["GetContainerRepository", "ListContainerRepositories"];
    let asked = asked.map(|operation| (operation.to_owned(), 1));
    assert_eq!(cloud.operations(), asked.into());

    let destroy = repository.plan_destroy();
    let problems = repository.apply_planned(&destroy).await.unwrap_err();
    let problems = problems.to_string();
    assert!(
        problems.contains("so it was not deleted") && problems.contains("The repository exists"),
        "{problems}"
    );
    assert_eq!(repository.state(), state);
    assert_eq!(cloud.emulator.repositories().len(), 1);

    cloud.emulator.grant(Permission::RepositoryRead);
    repository.expect_noop(cloud.web()).await?;
    Ok(())
}

/// The list of the compartment is refused as well: nobody can tell whether the
/// repository, the compartment or a policy is gone, so nothing is forgotten.
#[tokio::test]
async fn the_list_is_refused_too() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;

    cloud.emulator.withdraw(Permission::RepositoryRead);
    cloud.emulator.withdraw(Permission::RepositoryInspect);
    let problems = repository.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        The repositories of compartment COMPARTMENT cannot be listed either. ListContainerRepositories of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found. Either a permission was lost, or the compartment was deleted. The repository may still exist, so it stays in the state. A policy that allows both, for example:
            Allow group GROUP to read repos in compartment id COMPARTMENT

        If the compartment was deleted, take the repository out of the state:
            terraform state rm ADDRESS

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(repository.state(), state);

    // That it is really gone changes nothing as long as nobody may look.
    cloud.emulator.remove_repository("team/web");
    for force_delete in [false, true] {
        let mut state = state.clone();
        state["force_delete"] = json!(force_delete);
        repository.set_state(0, &state).await?;
        let destroy = repository.plan_destroy();
        repository.apply_planned(&destroy).await.unwrap_err();
        assert_eq!(repository.state(), state);
    }
    cloud.emulator.grant(Permission::RepositoryInspect);
    let destroy = repository.plan_destroy();
    repository.apply_planned(&destroy).await?;
    assert!(repository.state().is_null());
    Ok(())
}

/// A refusal with 403 says the same as one with 404.
#[tokio::test]
async fn the_list_is_refused_with_403() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    cloud.emulator.remove_repository("team/web");
    cloud.emulator.fail_next(
        "ListContainerRepositories",
        Fault::error(403, "NotAuthorized", "no"),
    );
    let problems = repository.refresh().await.unwrap_err().to_string();
    assert!(
        problems
            .contains("cannot be listed either. ListContainerRepositories of service artifacts"),
        "{problems}"
    );
    assert_eq!(repository.state(), state);
    Ok(())
}

/// The question gets no answer that could prove anything: a page of a proxy.
#[tokio::test]
async fn the_question_fails() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    cloud.emulator.remove_repository("team/web");
    for skipped in 0..2 {
        for _ in 0..skipped {
            let answered = Fault::delay(std::time::Duration::ZERO);
            cloud
                .emulator
                .fail_next("ListContainerRepositories", answered);
        }
        let page = Fault::body(200, "<html>Sign in</html>");
        cloud.emulator.fail_next("ListContainerRepositories", page);
        let problems = repository.refresh().await.unwrap_err().to_string();
        assert!(
            problems.contains("whether it is gone could not be found out"),
            "{problems}"
        );
        assert_eq!(repository.state(), state);
    }
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Create);
    Ok(())
}

/// Somebody moved it to a compartment where it must not be read: the error says
/// where it is, and the state is kept.
#[tokio::test]
async fn moved_out_of_sight() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;

    cloud
        .emulator
        .edit_repository("team/web", json!({ "compartmentId": ops }));
    cloud.emulator.withdraw(Permission::RepositoryRead);
    let problems = repository.refresh().await.unwrap_err();
    expect![[r#"
        Error: Cannot read container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be read. GetContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        The repository exists: it was moved from compartment COMPARTMENT to ocid1.compartment.OCID, so it stays in the state. Move it back, or set "compartment_id" to where it is. A policy that allows this there, for example:
            Allow group GROUP to read repos in compartment id ocid1.compartment.OCID

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()).replace(&ops, "OPS"));
    assert_eq!(repository.state(), state);

    // Where it may be read the move is a change like any other.
    cloud.emulator.grant(Permission::RepositoryRead);
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Update);
    assert_eq!(plan.before["compartment_id"], json!(ops));
    Ok(())
}

/// Deleted, and another repository was made under the name since, here or in
/// another compartment: ours is gone, and theirs is not touched.
#[tokio::test]
async fn replaced_by_somebody() -> anyhow::Result<()> {
    for elsewhere in [false, true] {
        let cloud = Cloud::start().await?;
        let ops = cloud.emulator.seed().ops_compartment_id.clone();
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        cloud.emulator.remove_repository("team/web");
        let mut theirs = cloud.web();
        if elsewhere {
            theirs["compartment_id"] = json!(ops);
        }
        let mut other = cloud.host.resource("ocir_repository");
        let other = other.apply(theirs).await?;

        let plan = repository.plan(cloud.web()).await?;
        assert_eq!(plan.action, Action::Create);
        let problems = repository
            .apply_planned(&plan)
            .await
            .unwrap_err()
            .to_string();
        assert!(problems.contains("import it:"), "{problems}");
        assert!(
            problems.contains(other["id"].as_str().unwrap_or_default()),
            "{problems}"
        );
        assert_eq!(cloud.repository("team/web")["id"], other["id"]);
    }
    Ok(())
}

/// The tenancy's list is refused, as it is to teams with rights in their own
/// compartment only: the compartment's list without the repository is proof enough.
#[tokio::test]
async fn the_tenancy_may_not_be_listed() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    cloud.emulator.remove_repository("team/web");

    let answered = Fault::delay(std::time::Duration::ZERO);
    cloud
        .emulator
        .fail_next("ListContainerRepositories", answered);
    cloud
        .emulator
        .fail_next("ListContainerRepositories", refusal());
    cloud.emulator.clear_requests();
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Create);
    assert_eq!(cloud.count("ListContainerRepositories"), 2);
    Ok(())
}

/// Listed for the days that a deletion may take, a repository is gone all the same.
#[tokio::test]
async fn deleted_and_still_listed() -> anyhow::Result<()> {
    for state in ["DELETING", "DELETED"] {
        let cloud = Cloud::start().await?;
        let mut repository = cloud.host.resource("ocir_repository");
        repository.apply(cloud.web()).await?;
        cloud
            .emulator
            .edit_repository("team/web", json!({ "lifecycleState": state }));
        cloud.emulator.withdraw(Permission::RepositoryRead);
        assert!(repository.refresh().await?.is_null());
    }
    Ok(())
}

/// A 404 at the delete of a repository that exists: the right to delete was lost,
/// and the repository stays in the state.
#[tokio::test]
async fn the_right_to_delete_is_lost() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    for force_delete in [false, true] {
        let config = with(cloud.web(), json!({ "force_delete": force_delete }));
        let state = repository.apply(config).await?;
        cloud.emulator.withdraw(Permission::RepositoryManage);
        let problems = repository.destroy().await.unwrap_err();
        if force_delete {
            expect![[r#"
                Error: Cannot delete container repository

                Repository "team/web" (ocid1.containerrepo.OCID) could not be deleted. DeleteContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

                The repository exists: the list of compartment COMPARTMENT has it, so it stays in the state. The right to do this was lost. A policy gives it back, for example:
                    Allow group GROUP to manage repos in compartment id COMPARTMENT

                Signed in as: user USER (API key FINGERPRINT, argument private_key)
                Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
        }
        assert_eq!(repository.state(), state);
        cloud.emulator.grant(Permission::RepositoryManage);
    }
    repository.destroy().await?;
    assert!(cloud.emulator.repositories().is_empty());
    Ok(())
}

/// A 404 at an update or a move leaves the state as it was, and the error names
/// the policy, for a move in both compartments.
#[tokio::test]
async fn the_right_to_change_is_lost() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let ops = cloud.emulator.seed().ops_compartment_id.clone();
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    cloud.emulator.withdraw(Permission::RepositoryUpdate);
    cloud.emulator.withdraw(Permission::RepositoryManage);

    let public = with(cloud.web(), json!({ "is_public": true }));
    let plan = repository.plan(public).await?;
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot update container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be changed. UpdateContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to use repos in compartment id COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    let moved = with(cloud.web(), json!({ "compartment_id": ops }));
    let plan = repository.plan(moved).await?;
    let problems = repository.apply_planned(&plan).await.unwrap_err();
    expect![[r#"
        Error: Cannot move container repository

        Repository "team/web" (ocid1.containerrepo.OCID) could not be moved to compartment ocid1.compartment.OCID. ChangeContainerRepositoryCompartment of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to manage repos in compartment id COMPARTMENT
            Allow group GROUP to manage repos in compartment id ocid1.compartment.OCID

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()).replace(&ops, "OPS"));
    assert_eq!(repository.state(), state);
    Ok(())
}

/// Imported by its OCID, a repository with everything set is what a
/// configuration that says so describes; what only we know has its default.
#[tokio::test]
async fn import() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let config = with(
        cloud.web(),
        json!({
            "readme": { "content": "# Web", "format": "TEXT_MARKDOWN" },
            "freeform_tags": { "team": "web" },
            "defined_tags": { "Ops.Owner": "ana" },
        }),
    );
    let mut made = cloud.host.resource("ocir_repository");
    let state = made.apply(config.clone()).await?;

    let mut imported = cloud.host.resource("ocir_repository");
    let id = state["id"].as_str().unwrap_or_default();
    assert_eq!(imported.import(id).await?, state);
    assert_eq!(state["force_delete"], json!(false));
    imported.expect_noop(config).await?;
    Ok(())
}

/// What cannot be imported: something that is no repository's OCID, and one of
/// a repository that does not exist.
#[tokio::test]
async fn import_of_what_is_not_there() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");

    let problems = repository.import("team/web").await.unwrap_err();
    expect![[r#"
        Error: Invalid import identifier

        A repository is imported by its OCID, which begins with "ocid1.containerrepo.OCID.", or by the OCID of its compartment and its name, as COMPARTMENT_OCID/NAME; "team/web" is neither. Both are shown by:
            oci artifacts container repository list --compartment-id COMPARTMENT --display-name NAME"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    let problems = repository
        .import("ocid1.containerrepo.oc1.sa-saopaulo-1.aaaa")
        .await
        .unwrap_err();
    expect![[r#"
        Error: Cannot import container repository

        Repository ocid1.containerrepo.OCID could not be read. GetContainerRepository of service artifacts at HOST was answered 404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.

        Oracle answers the same whether something does not exist or may not be seen. Check the OCIDs and the region (sa-saopaulo-1), and that a policy allows it, for example:
            Allow group GROUP to read repos in compartment COMPARTMENT

        Signed in as: user USER (API key FINGERPRINT, argument private_key)
        Request id: ID"#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert!(repository.state().is_null());
    Ok(())
}

/// The answer to the create is lost: asked again, the service answers the same,
/// so there is one repository, and it is in the state.
#[tokio::test]
async fn a_lost_answer() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let plan = repository.plan(cloud.web()).await?;
    cloud
        .emulator
        .fail_next("CreateContainerRepository", Fault::cut_answer());
    repository.apply_planned(&plan).await?;

    assert_eq!(cloud.count("CreateContainerRepository"), 2);
    assert_eq!(cloud.emulator.repositories().len(), 1);
    assert_eq!(repository.state()["id"], cloud.repository("team/web")["id"]);
    Ok(())
}

/// An argument of the provider is not known while planning: a new repository
/// plans all the same, and a read says which argument it waits for.
#[tokio::test]
async fn provider_argument_is_not_known_yet() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut made = cloud.host.resource("ocir_repository");
    let state = made.apply(cloud.web()).await?;
    cloud.emulator.clear_requests();

    let host = Host::start(server()).await?;
    let config = with(
        arguments(&cloud.emulator),
        json!({ "private_key": unknown() }),
    );
    host.configure(config).await?;
    let mut planned = host.resource("ocir_repository");
    let plan = planned.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Create);
    assert_eq!(plan.after["repository_url"], unknown());
    assert_eq!(plan.after["is_public"], json!(false));

    let mut existing = host.resource("ocir_repository");
    existing.set_state(0, &state).await?;
    let problems = existing.refresh().await.unwrap_err();
    expect![[r#"
        Error: Provider configuration is not known yet

        Argument "private_key" of the provider comes from something that does not exist yet, so an existing object cannot be read. Create what it comes from first:
            terraform apply -target=ADDRESS
        or give the argument a value that is known while planning."#]].assert_eq(&cloud.neutral(&problems.to_string()));
    assert_eq!(existing.state(), state);
    assert_eq!(cloud.operations(), [].into());
    Ok(())
}
