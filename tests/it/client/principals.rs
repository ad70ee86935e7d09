//! Everybody who signs in with something that is exchanged over the network:
//! found out, let in, and not disturbed when it comes to its end.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use expect_test::expect;
use ocir::{
    credentials::{self, CredentialSource, Environment, Network, Resolved, Settings},
    emulator::{Emulator, Fault, Permission},
    oci,
    transport::{Options, RetryPolicy, http_client},
};

/// The environment of a machine of the emulator's, whose files are in a folder.
type Machine = fn(&Emulator, &Path) -> anyhow::Result<Variables>;

type Variables = BTreeMap<String, String>;

/// A program on one of the emulator's machines.
struct Program {
    emulator: Emulator,
    folder: tempfile::TempDir,
    machine: Machine,
}

/// The machines that exchange something, with how the emulator names who comes
/// from there.
const MACHINES: [(&str, Machine); 4] = [
    ("instance", instance),
    ("delegation", cloud_shell),
    ("workload", workload),
    ("token_exchange", job),
];

fn instance(emulator: &Emulator, _: &Path) -> anyhow::Result<Variables> {
    Ok(emulator.instance())
}

fn cloud_shell(emulator: &Emulator, folder: &Path) -> anyhow::Result<Variables> {
    Ok(emulator.cloud_shell(folder)?)
}

fn workload(emulator: &Emulator, folder: &Path) -> anyhow::Result<Variables> {
    let mut variables = emulator.workload(folder)?;
    // It is found out by the cluster, not by what a function has too.
    variables.remove("OCI_RESOURCE_PRINCIPAL_VERSION");
    Ok(variables)
}

fn job(emulator: &Emulator, folder: &Path) -> anyhow::Result<Variables> {
    let mut variables = emulator.identity_domain(folder)?;
    variables.insert("OCI_REGION".to_owned(), emulator.seed().region.clone());
    Ok(variables)
}

impl Program {
    async fn on(machine: Machine) -> anyhow::Result<Self> {
        Ok(Self {
            emulator: Emulator::builder().start().await?,
            folder: tempfile::tempdir()?,
            machine,
        })
    }

    /// Finds out how to sign in, from the environment alone.
    async fn resolve(&self) -> anyhow::Result<Resolved> {
        let environment = Environment {
            variables: (self.machine)(&self.emulator, self.folder.path())?,
            home: Some(self.folder.path().to_owned()),
        };
        let network = Network {
            retry: RetryPolicy::without_waiting(),
            endpoint: Some(self.emulator.url()),
            ..Network::default()
        };
        Ok(credentials::resolve(&Settings::default(), &environment, &network).await?)
    }

    async fn client(&self) -> anyhow::Result<(oci::Client, Arc<dyn CredentialSource>)> {
        let resolved = self.resolve().await?;
        let region = resolved
            .region
            .ok_or_else(|| anyhow::anyhow!("nothing names a region"))?;
        let source = resolved.source;
        let client = oci::Client::new(oci::Config {
            endpoint: Some(self.emulator.url()),
            regions: resolved.regions,
            retry: RetryPolicy::without_waiting(),
            ..oci::Config::new(http_client(&Options::default())?, region, source.clone())
        })?;
        Ok((client, source))
    }

    /// Calls the control plane and gets a registry token.
    async fn use_it(&self, client: &oci::Client) -> anyhow::Result<()> {
        let namespace = client.get_namespace(None).await?;
        anyhow::ensure!(namespace == self.emulator.seed().namespace);
        client.get_registry_token(&self.emulator.url()).await?;
        Ok(())
    }

    /// How somebody fails who wants the namespace.
    async fn failure(&self) -> anyhow::Result<String> {
        let (client, _) = self.client().await?;
        match client.get_namespace(None).await {
            Ok(_) => anyhow::bail!("it works"),
            Err(error) => Ok(self.text(&anyhow::Error::new(error))),
        }
    }

    /// An error with its causes, and without what differs from run to run.
    fn text(&self, error: &anyhow::Error) -> String {
        let folder = self.folder.path().display().to_string();
        let mut text = format!("{error:#}")
            .replace(&self.emulator.authority(), "HOST")
            .replace(&folder, "FOLDER");
        if let Some(at) = text.find("(opc-request-id ")
            && let Some(end) = text[at..].find(')')
        {
            text.replace_range(at..at + end, "(opc-request-id ID");
        }
        text
    }

    fn count(&self, operation: &str) -> usize {
        let requests = self.emulator.requests();
        let asked = requests
            .iter()
            .filter(|request| request.operation == operation);
        asked.count()
    }
}

/// Each of them is found out without a setting, signs in once for all calls, and
/// is known by name afterwards.
#[tokio::test]
async fn each_signs_in() -> anyhow::Result<()> {
    let mut said = String::new();
    for (credential, machine) in MACHINES {
        let program = Program::on(machine).await?;
        let (client, source) = program.client().await?;
        program.use_it(&client).await?;
        let exchanges = ["FederateInstance", "GetWorkloadToken", "ExchangeToken"];
        let exchanges: usize = exchanges.map(|name| program.count(name)).iter().sum();
        assert_eq!(exchanges, 1, "{credential}");
        let caller = program
            .emulator
            .requests()
            .into_iter()
            .find(|request| request.operation == "GetNamespace")
            .and_then(|request| request.caller)
            .unwrap_or_default();
        assert!(caller.starts_with(&format!("{credential} ")), "{caller}");
        let seed = program.emulator.seed();
        assert_eq!(source.tenancy_id(), Some(seed.tenancy_id.clone()));
        let description = source
            .describe()
            .replace(&seed.user_id, "USER")
            .replace(&seed.instance_id, "INSTANCE");
        said.push_str(&program.text(&anyhow::Error::msg(description)));
        said.push('\n');
    }
    expect![[r#"
        instance INSTANCE (instance principal)
        user USER (Cloud Shell, through instance INSTANCE)
        service account default/terraform (OKE workload identity)
        user USER (workload identity federation at HOST)
    "#]]
    .assert_eq(&said);
    Ok(())
}

/// A token that the services do not accept any more is replaced without anybody
/// noticing, also when the instance's certificate was replaced meanwhile.
#[tokio::test]
async fn expiry_is_not_noticed() -> anyhow::Result<()> {
    for (credential, machine) in MACHINES {
        let program = Program::on(machine).await?;
        let (client, source) = program.client().await?;
        program.use_it(&client).await?;
        let first = source.credential().await?;
        program.emulator.expire_tokens();
        program.emulator.rotate_instance_certificate();
        program.use_it(&client).await?;
        let next = source.credential().await?;
        assert_ne!(first.key_id, next.key_id, "{credential}");
    }
    Ok(())
}

/// Twenty calls that begin together cause one exchange, and twenty that are
/// refused together cause one more.
#[tokio::test]
async fn one_exchange_for_all() -> anyhow::Result<()> {
    let program = Program::on(instance).await?;
    let (client, _) = program.client().await?;
    for exchanges in [1, 2] {
        let calls = (0..20).map(|_| client.get_namespace(None));
        for answer in futures_util::future::join_all(calls).await {
            answer?;
        }
        assert_eq!(program.count("FederateInstance"), exchanges);
        program.emulator.expire_tokens();
    }
    Ok(())
}

/// A session that comes to its end is renewed before a request meets it.
#[tokio::test]
async fn ended_session_meets_no_request() -> anyhow::Result<()> {
    let lifetime = std::time::Duration::from_secs(4);
    let program = Program {
        emulator: Emulator::builder()
            .session_lifetime(lifetime)
            .start()
            .await?,
        ..Program::on(instance).await?
    };
    let (client, _) = program.client().await?;
    client.get_namespace(None).await?;
    tokio::time::sleep(lifetime).await;
    client.get_namespace(None).await?;
    assert_eq!(program.count("FederateInstance"), 2);
    let refused = program
        .emulator
        .requests()
        .into_iter()
        .filter(|request| request.status == 401);
    assert_eq!(refused.count(), 0);
    Ok(())
}

/// An identity without a permission is told so by the service it asked, and is
/// not taken for one that cannot sign in.
#[tokio::test]
async fn missing_permission_is_no_missing_credential() -> anyhow::Result<()> {
    let program = Program::on(instance).await?;
    let (client, source) = program.client().await?;
    client.get_namespace(None).await?;
    program.emulator.withdraw(Permission::RepositoryRead);
    let id = "ocid1.containerrepo.oc1.sa-saopaulo-1.0.a.b";
    let error = client.get_container_repository(id).await.err();
    let error = error.ok_or_else(|| anyhow::anyhow!("it is permitted"))?;
    assert!(error.is_not_found(), "{error}");
    assert!(source.describe().starts_with("instance ocid1.instance."));
    assert_eq!(program.count("FederateInstance"), 1);
    Ok(())
}

/// What goes wrong with an exchange is said with what to do, once, by whoever
/// wanted to call.
#[tokio::test]
async fn failures_say_what_to_do() -> anyhow::Result<()> {
    let program = Program::on(workload).await?;
    program.emulator.enhanced_cluster(false);
    let host =
        workload(&program.emulator, program.folder.path())?["KUBERNETES_SERVICE_HOST"].clone();
    expect!["cannot sign in: cannot get a security token for this workload: CLUSTER:12250 answered 403 NotAuthorized: Workload identity is available in enhanced clusters only (opc-request-id ID); workload identity needs an enhanced cluster; upgrade it, or sign in with InstancePrincipal, which every pod of the node can do"].assert_eq(&program.failure().await?.replace(&host, "CLUSTER"));

    let program = Program::on(|emulator, folder| {
        let mut variables = job(emulator, folder)?;
        let secret = "OCI_TOKEN_EXCHANGE_CLIENT_SECRET".to_owned();
        variables.insert(secret, "wr0ng".to_owned());
        Ok(variables)
    })
    .await?;
    expect!["cannot sign in: cannot get a security token in exchange for the CI's token: HOST answered 401 invalid_client: Client authentication failed (opc-request-id ID); are token_exchange_client_id and token_exchange_client_secret those of an activated confidential application of this domain?"].assert_eq(&program.failure().await?);

    let program = Program::on(|emulator, folder| {
        let variables = cloud_shell(emulator, folder)?;
        // Ended in 2001.
        let token = "e30.eyJleHAiOjEwMDAwMDAwMDB9.c2ln";
        std::fs::write(folder.join("delegation_token"), token)?;
        Ok(variables)
    })
    .await?;
    let error = program.failure().await?;
    let (before, after) = (error.find(" ended ").unwrap_or(0), error.find(" days ago"));
    expect!["cannot sign in: the delegation token from FOLDER/delegation_token ended N days ago; open a new Cloud Shell session, which brings a new one"].assert_eq(&after.map_or(error.clone(), |after| {
        format!("{} ended N{}", &error[..before], &error[after..])
    }));

    let program = Program::on(instance).await?;
    program
        .emulator
        .fail_always("FederateInstance", Fault::status(500));
    expect!["cannot sign in: cannot get a security token for this instance: HOST answered 500 InternalServerError: Out of host capacity or an internal error occurred (opc-request-id ID)"].assert_eq(&program.failure().await?);
    assert_eq!(program.count("FederateInstance"), 8);
    Ok(())
}
