//! Tags that others manage.

use expect_test::expect;
use ocir::{credentials::Environment, emulator::Emulator, framework::Server, provider::Ocir};
use serde_json::{Value as Json, json};

use super::with;
use crate::support::{
    core::{Action, Host, Resource, unknown},
    provider::{Cloud, arguments, server},
};

fn tagged(cloud: &Cloud, tags: Json) -> Json {
    with(cloud.web(), json!({ "defined_tags": tags }))
}

/// A tag default and Oracle itself add tags: they are not shown, and no change of
/// ours removes them. Set in the configuration one of them is ours until it is
/// given up, and then it stays as it is.
#[tokio::test]
async fn tag_defaults() -> anyhow::Result<()> {
    let emulator = Emulator::builder()
        .oracle_tags()
        .tag_default("Finance", "Cost", "unassigned")
        .start()
        .await?;
    let cloud = Cloud::with(emulator).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(state["defined_tags"], Json::Null);

    let tags = |cloud: &Cloud| cloud.repository("team/web")["definedTags"].clone();
    let automatic = tags(&cloud);
    assert_eq!(automatic["Finance"]["Cost"], json!("unassigned"));
    for config in [
        tagged(&cloud, json!({ "Ops.Owner": "ana" })),
        tagged(&cloud, json!({})),
        with(cloud.web(), json!({ "is_public": true })),
        cloud.web(),
    ] {
        repository.apply(config).await?;
        for namespace in ["Finance", "Oracle-Tags"] {
            assert_eq!(tags(&cloud)[namespace], automatic[namespace]);
        }
    }

    let ours = tagged(&cloud, json!({ "finance.cost": "42" }));
    let state = repository.apply(ours).await?;
    assert_eq!(state["defined_tags"], json!({ "finance.cost": "42" }));
    let state = repository.apply(cloud.web()).await?;
    assert_eq!(state["defined_tags"], Json::Null);
    assert!(tags(&cloud)["Oracle-Tags"]["CreatedBy"].is_string());

    // Another tag that somebody adds later is drift, and goes.
    let mut drifted = tags(&cloud);
    drifted["Ops"] = json!({ "Owner": "somebody" });
    cloud
        .emulator
        .edit_repository("team/web", json!({ "definedTags": drifted }));
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(
        plan.before["defined_tags"],
        json!({ "Ops.Owner": "somebody" })
    );
    repository.apply(cloud.web()).await?;
    assert_eq!(tags(&cloud)["Ops"], Json::Null);
    Ok(())
}

/// A tag in `ignore_defined_tags` may change as it likes, in any case.
#[tokio::test]
async fn ignored_tags() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let config = with(
        arguments(&emulator),
        json!({ "ignore_defined_tags": ["robots.lastSEEN"] }),
    );
    let cloud = Cloud::configured(emulator, config).await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository
        .apply(tagged(&cloud, json!({ "Ops.Owner": "ana" })))
        .await?;
    let edit = |seen: &str| {
        let mut tags = cloud.repository("team/web")["definedTags"].clone();
        tags["Robots"] = json!({ "LastSeen": seen });
        cloud
            .emulator
            .edit_repository("team/web", json!({ "definedTags": tags }));
    };
    let seen = || cloud.repository("team/web")["definedTags"]["Robots"]["LastSeen"].clone();
    for day in ["monday", "tuesday"] {
        edit(day);
        repository
            .expect_noop(tagged(&cloud, json!({ "Ops.Owner": "ana" })))
            .await?;
    }
    repository
        .apply(tagged(&cloud, json!({ "Ops.Owner": "eva" })))
        .await?;
    repository.apply(cloud.web()).await?;
    assert_eq!(seen(), json!("tuesday"));

    // A resource that sets it itself has it, drift and all, until it gives it up.
    let own = tagged(&cloud, json!({ "Robots.LastSeen": "never" }));
    repository.apply(own.clone()).await?;
    edit("wednesday");
    let plan = repository.plan(own).await?;
    assert_eq!(plan.action, Action::Update);
    repository.apply_planned(&plan).await?;
    repository.apply(cloud.web()).await?;
    assert_eq!(seen(), json!("never"));
    edit("thursday");
    repository.expect_noop(cloud.web()).await?;

    // An import does not show it either.
    let id = repository.state()["id"].clone();
    let mut imported = cloud.host.resource("ocir_repository");
    let state = imported.import(id.as_str().unwrap_or_default()).await?;
    assert_eq!(state["defined_tags"], Json::Null);
    Ok(())
}

/// A repository with tags, a readme and labels that somebody else made, and how it comes
/// here: by an import, or from Oracle's provider.
async fn arrived(cloud: &Cloud, moved: bool) -> anyhow::Result<Resource> {
    let mut theirs = cloud.host.resource("ocir_repository");
    theirs.apply(cloud.web()).await?;
    let members = json!({
        "freeformTags": { "team": "web" },
        "definedTags": {
            "Finance": { "Cost": "unassigned" },
            "Ops": { "Owner": "ana" },
            "Oracle-Tags": { "CreatedBy": "ana" },
        },
    });
    cloud.emulator.edit_repository("team/web", members);
    let id = cloud.repository("team/web")["id"].clone();
    let mut repository = cloud.host.resource("ocir_repository");
    if moved {
        let state = json!({
            "id": id,
            "compartment_id": cloud.compartment(),
            "display_name": "team/web",
            "freeform_tags": { "team": "web" },
            "defined_tags": { "Finance.Cost": "unassigned", "Ops.Owner": "ana", "Oracle-Tags.CreatedBy": "ana" },
        });
        let theirs = "oci_artifacts_container_repository";
        repository
            .move_from("registry.terraform.io/oracle/oci", theirs, 0, &state)
            .await?;
    } else {
        repository.import(id.as_str().unwrap_or_default()).await?;
    }
    Ok(repository)
}

/// After an import or a move nobody can tell whether a tag default or a person wrote a
/// tag. What the configuration names plans nothing; what it leaves out is planned to go, as
/// it would be for any other repository, and a warning says so before it is too late, with
/// both ways out.
#[tokio::test]
async fn tags_that_came_along() -> anyhow::Result<()> {
    for moved in [false, true] {
        let cloud = Cloud::start().await?;
        let mut repository = arrived(&cloud, moved).await?;
        let labels = json!({ "freeform_tags": { "team": "web" } });
        let config = |tags: Json| with(tagged(&cloud, tags), labels.clone());
        let all = config(json!({ "ops.owner": "ana", "Finance.Cost": "unassigned" }));
        repository.expect_noop(all).await?;
        assert_eq!(repository.take_warnings(), Vec::<String>::new());

        let bare = with(cloud.web(), labels.clone());
        let plan = repository.plan(bare.clone()).await?;
        assert_eq!(plan.action, Action::Update);
        expect![[r#"
            Warning: Defined tags will be removed

            Repository "team/web" (ocid1.containerrepo.OCID) has defined tags that the configuration does not set, and the plan removes them: "Finance.Cost", "Ops.Owner". It came here by an import or from another provider, so whether a tag default or a person set them is not known.

            To leave them to whoever set them, name them in the provider block:
                ignore_defined_tags = ["Finance.Cost", "Ops.Owner"]
            To manage them here, set them in defined_tags.
              with defined_tags"#]].assert_eq(&cloud.neutral(&plan.warnings.join("\n")));
        let plan = repository
            .plan(config(json!({ "OPS.Owner": "eva" })))
            .await?;
        let warning = plan.warnings.join("\n");
        assert!(
            warning.contains("removes them: \"Finance.Cost\"."),
            "{warning}"
        );
        repository.apply_planned(&plan).await?;
        let tags = cloud.repository("team/web")["definedTags"].clone();
        let left = json!({ "OPS": { "Owner": "eva" }, "Oracle-Tags": { "CreatedBy": "ana" } });
        assert_eq!(tags, left);

        // From here on it is known who wrote what: tags of ours that are given up are
        // removed without a word, and so are those that somebody adds.
        let plan = repository.plan(bare).await?;
        assert_eq!(plan.action, Action::Update);
        assert_eq!(plan.warnings, Vec::<String>::new());
    }
    Ok(())
}

/// A repository that is made anew has no tags to be removed, so nothing is said of them.
#[tokio::test]
async fn tags_that_came_along_and_a_new_name() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = arrived(&cloud, false).await?;
    let renamed = with(cloud.web(), json!({ "display_name": "team/new" }));
    let plan = repository.plan(renamed).await?;
    assert_eq!(plan.action, Action::Replace);
    assert_eq!(plan.warnings, Vec::<String>::new());
    Ok(())
}

/// The way out that the warning shows: with the tags of the tag default ignored, the plan
/// after an import or a move is empty, and no later change removes them.
#[tokio::test]
async fn tags_that_came_along_and_are_ignored() -> anyhow::Result<()> {
    for moved in [false, true] {
        let emulator = Emulator::builder().start().await?;
        let ignored = json!({ "ignore_defined_tags": ["Finance.Cost", "Ops.Owner"] });
        let arguments = with(arguments(&emulator), ignored);
        let cloud = Cloud::configured(emulator, arguments).await?;
        let mut repository = arrived(&cloud, moved).await?;
        let config = with(cloud.web(), json!({ "freeform_tags": { "team": "web" } }));
        repository.expect_noop(config.clone()).await?;
        assert_eq!(repository.take_warnings(), Vec::<String>::new());
        let before = cloud.repository("team/web")["definedTags"].clone();
        repository
            .apply(with(config, json!({ "is_public": true })))
            .await?;
        assert_eq!(cloud.repository("team/web")["definedTags"], before);
    }
    Ok(())
}

/// Labels are nobody's but the configuration's: left out of it they are planned to go, and
/// the plan shows them.
#[tokio::test]
async fn labels_that_came_along() -> anyhow::Result<()> {
    for moved in [false, true] {
        let cloud = Cloud::start().await?;
        let mut repository = arrived(&cloud, moved).await?;
        let tags = json!({ "Ops.Owner": "ana", "Finance.Cost": "unassigned" });
        let plan = repository.plan(tagged(&cloud, tags)).await?;
        assert_eq!(plan.action, Action::Update);
        assert_eq!(plan.before["freeform_tags"], json!({ "team": "web" }));
        assert_eq!(plan.after["freeform_tags"], Json::Null);
        assert_eq!(plan.warnings, Vec::<String>::new());
        repository.apply_planned(&plan).await?;
        assert_eq!(cloud.repository("team/web")["freeformTags"], json!({}));
    }
    Ok(())
}

/// A tag that was drift is ignored from the run on in which the provider says so.
#[tokio::test]
async fn ignored_later() -> anyhow::Result<()> {
    let cloud = Cloud::start().await?;
    let mut repository = cloud.host.resource("ocir_repository");
    repository.apply(cloud.web()).await?;
    let tags = json!({ "definedTags": { "Robots": { "LastSeen": "monday" } } });
    cloud.emulator.edit_repository("team/web", tags);
    let plan = repository.plan(cloud.web()).await?;
    assert_eq!(plan.action, Action::Update);

    // From the environment, as a list of Terraform's and as text with commas.
    for (name, value) in [
        ("TF_VAR_ignore_defined_tags", r#"["Robots.LastSeen"]"#),
        ("OCI_IGNORE_DEFINED_TAGS", " Ops.X, robots.lastseen ,"),
    ] {
        let environment = Environment {
            variables: [(name.to_owned(), value.to_owned())].into(),
            home: None,
        };
        let host = Host::start(Server::new(Ocir::new(environment))).await?;
        host.configure(arguments(&cloud.emulator)).await?;
        let mut later = host.resource("ocir_repository");
        later.set_state(0, &repository.state()).await?;
        let plan = later.plan(cloud.web()).await?;
        assert_eq!(plan.action, Action::Noop, "{name}");
    }
    Ok(())
}

/// Keys that are none, and too many of them.
#[tokio::test]
async fn invalid_lists() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let mut texts = Vec::new();
    let many: Vec<String> = (0..101).map(|number| format!("Ops.K{number}")).collect();
    for keys in [json!(["Ops"]), json!(["Ops."]), json!(many)] {
        let host = Host::start(server()).await?;
        let config = with(arguments(&emulator), json!({ "ignore_defined_tags": keys }));
        texts.push(host.configure(config).await.unwrap_err().to_string());
    }
    for value in ["Ops", "[1]", r#"["#] {
        let environment = Environment {
            variables: [("OCI_IGNORE_DEFINED_TAGS".to_owned(), value.to_owned())].into(),
            home: None,
        };
        let host = Host::start(Server::new(Ocir::new(environment))).await?;
        let problems = host.configure(arguments(&emulator)).await.unwrap_err();
        texts.push(problems.to_string());
    }
    expect![[r#"
        Error: Invalid value

        Argument "ignore_defined_tags" must have keys of the form "Namespace.Key"; "Ops" is none.
          with ignore_defined_tags

        Error: Invalid value

        Argument "ignore_defined_tags" must have keys of the form "Namespace.Key"; "Ops." is none.
          with ignore_defined_tags

        Error: Invalid value

        Argument "ignore_defined_tags" must have at most 100 keys, not 101.
          with ignore_defined_tags

        Error: Invalid environment variable

        Environment variable OCI_IGNORE_DEFINED_TAGS must have keys of the form "Namespace.Key"; "Ops" is none.

        Error: Invalid environment variable

        Environment variable OCI_IGNORE_DEFINED_TAGS must be a list of tags, such as "Namespace.One,Namespace.Two".

        Error: Invalid environment variable

        Environment variable OCI_IGNORE_DEFINED_TAGS must be a list of tags, such as "Namespace.One,Namespace.Two"."#]].assert_eq(&texts.join("\n\n"));
    let host = Host::start(server()).await?;
    let config = with(
        arguments(&emulator),
        json!({ "ignore_defined_tags": ["Ops.A", unknown()] }),
    );
    host.configure(config).await?;
    Ok(())
}
