//! Tags that others manage.

use expect_test::expect;
use ocir::{credentials::Environment, emulator::Emulator, framework::Server, provider::Ocir};
use serde_json::{Value as Json, json};

use super::with;
use crate::support::{
    core::{Action, Host, unknown},
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
