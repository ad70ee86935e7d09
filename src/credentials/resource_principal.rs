//! A function, a pipeline or another resource: a token and a key, in variables
//! or in files (resource principal 2.2).
//!
//! <https://docs.oracle.com/en-us/iaas/Content/Functions/Tasks/functionsaccessingociresources.htm>
//!
//! A variable whose value is an absolute path names a file, which whoever runs
//! the program writes anew from time to time.

use std::{
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{
    CredentialSource, Environment, Error, Grantee, MissingValue,
    renew::{Exchange, Principal, Renewing, Session},
    token_pair::{Loaded, Place, State, TokenPair},
};

/// Where a resource principal is.
pub(super) struct Parts {
    pub(super) token: Place,
    pub(super) key: Place,
    pub(super) passphrase: Option<Place>,
}

/// Where the variables say that it is. `Ok(Err(_))` says why this is none: a
/// pod of a cluster has some of the variables and no token.
pub(super) fn look(environment: &Environment) -> Result<Result<Parts, String>, Error> {
    let Some(version) = environment.get(VERSION).map(str::trim) else {
        return Ok(Err(format!("{VERSION} is not set")));
    };
    let place = |name: &str| environment.get(name).map(|value| place(name, value));
    match version {
        "2.2" => {}
        // OKE has this version with nothing else.
        "1.1" if environment.get(RPT_ENDPOINT).is_none() => {
            return Ok(Err(format!("{RPT_ENDPOINT} is not set")));
        }
        other => {
            return Err(Error::ResourcePrincipalVersion {
                version: other.to_owned(),
            });
        }
    }
    let Some(token) = place(TOKEN) else {
        return Ok(Err(format!("{TOKEN} is not set")));
    };
    let Some(key) = place(KEY) else {
        return Err(Error::Missing {
            how: Some("as a resource principal"),
            values: vec![MissingValue {
                what: "private key",
                looked_at: vec![KEY.to_owned()],
            }],
            note: format!("{TOKEN} is set, and the two belong together"),
        });
    };
    Ok(Ok(Parts {
        token,
        key,
        passphrase: place(PASSPHRASE),
    }))
}

/// The resource. What is wrong with the files is found now.
pub(super) fn source(parts: Parts) -> Result<Arc<dyn CredentialSource>, Error> {
    let principal = ResourcePrincipal::new(parts);
    principal.pair.load(SystemTime::now())?;
    Ok(Arc::new(Renewing::new(principal)))
}

struct ResourcePrincipal {
    pair: TokenPair,
}

impl ResourcePrincipal {
    fn new(parts: Parts) -> Self {
        let remedy = match &parts.token {
            Place::File { .. } => {
                "whoever runs this program keeps that file up to date, and has to write a new one"
            }
            Place::Here { .. } => {
                "a variable cannot be renewed while a program runs, so it has to be started again"
            }
        };
        Self {
            pair: TokenPair {
                what: "the token of the resource principal",
                whose: String::new(),
                token: parts.token,
                key: parts.key,
                passphrase: parts.passphrase,
                passphrase_places: PASSPHRASE.to_owned(),
                remedy: remedy.to_owned(),
                state: State::default(),
            },
        }
    }

    fn session(&self, now: SystemTime, instant: Instant) -> Result<Session, Error> {
        let (loaded, retry) = self.pair.load(now)?;
        let (renew_at, expires_at) = loaded.span(now, instant, retry);
        Ok(Session {
            credential: loaded.credential.clone(),
            renew_at,
            expires_at,
            principal: principal(Some(&loaded)),
        })
    }
}

impl Exchange for ResourcePrincipal {
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
        ready(self.session(SystemTime::now(), Instant::now())).boxed()
    }

    fn unnamed(&self) -> Principal {
        principal(self.pair.loaded().as_ref())
    }

    fn is_outdated(&self, _session: &Session) -> bool {
        self.pair.is_outdated()
    }
}

fn principal(loaded: Option<&Loaded>) -> Principal {
    let claim = |name: &str| Some(loaded?.claims.name(name)?.to_owned());
    let resource = match claim("res_id").or_else(|| claim("sub")) {
        Some(id) => format!("resource {id}"),
        None => "a resource".to_owned(),
    };
    let mut details = vec!["resource principal".to_owned()];
    details.extend(claim("res_type"));
    details.extend(claim("res_compartment").map(|id| format!("in compartment {id}")));
    Principal {
        description: format!("{resource} ({})", details.join(", ")),
        tenancy_id: claim("res_tenant"),
        user_id: None,
        grantee: Grantee::DynamicGroup,
    }
}

fn place(name: &str, value: &str) -> Place {
    let named_by = format!("the environment variable {name}");
    let path = Path::new(value.trim());
    if path.is_absolute() {
        Place::File {
            path: path.to_owned(),
            named_by,
        }
    } else {
        Place::Here {
            text: value.to_owned(),
            named_by,
        }
    }
}

const VERSION: &str = "OCI_RESOURCE_PRINCIPAL_VERSION";
const TOKEN: &str = "OCI_RESOURCE_PRINCIPAL_RPST";
const KEY: &str = "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM";
const PASSPHRASE: &str = "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE";
const RPT_ENDPOINT: &str = "OCI_RESOURCE_PRINCIPAL_RPT_ENDPOINT";

/// The region of a resource, and of a pod.
pub(super) const REGION: &str = "OCI_RESOURCE_PRINCIPAL_REGION";

#[cfg(test)]
mod tests {
    use std::{
        fs,
        time::{Duration, UNIX_EPOCH},
    };

    use expect_test::expect;
    use serde_json::json;

    use super::*;
    use crate::credentials::jwt::token;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            home: None,
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn claims() -> serde_json::Value {
        json!({
            "exp": 1767323045,
            "sub": "ocid1.fnfunc.oc1..a",
            "res_tenant": "ocid1.tenancy.oc1..a",
            "res_compartment": "ocid1.compartment.oc1..a",
            "res_type": "fnfunc",
            "res_id": "ocid1.fnfunc.oc1..a",
        })
    }

    const PEM: &str = include_str!("../../tests/fixtures/keys/other-rsa-2048.pem");

    /// What makes a resource principal of an environment, and what does not.
    #[test]
    fn looks_at_the_environment() {
        let looked = |variables: &[(&str, &str)]| match look(&environment(variables)) {
            Ok(Ok(Parts {
                token,
                key,
                passphrase,
            })) => {
                let shape = |place: &Place| match place {
                    Place::Here { .. } => "here",
                    Place::File { .. } => "file",
                };
                format!(
                    "token {}, key {}, passphrase {}",
                    shape(&token),
                    shape(&key),
                    passphrase.as_ref().map_or("none", shape)
                )
            }
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        let lines = [
            looked(&[]),
            looked(&[(VERSION, "2.2")]),
            // As a pod of a cluster has them.
            looked(&[(VERSION, "1.1"), (REGION, "us-ashburn-1")]),
            looked(&[
                (VERSION, "2.2"),
                (TOKEN, "/run/rpst"),
                (KEY, "/run/key.pem"),
            ]),
            looked(&[
                (VERSION, " 2.2 "),
                (TOKEN, "e30.e30.c2ln"),
                (KEY, PEM),
                (PASSPHRASE, "/run/passphrase"),
            ]),
            looked(&[
                (VERSION, "2.2"),
                (TOKEN, "e30.e30.c2ln"),
                (KEY, PEM),
                (PASSPHRASE, "secret"),
            ]),
            looked(&[(VERSION, "2.2"), (TOKEN, "/run/rpst")]),
            looked(&[(VERSION, "1.1"), (RPT_ENDPOINT, "https://example.com")]),
            looked(&[(VERSION, "2.1")]),
            looked(&[(VERSION, "2.1.1")]),
            looked(&[(VERSION, "2.1.2")]),
            looked(&[(VERSION, "3.0")]),
        ];
        expect![[r#"
            OCI_RESOURCE_PRINCIPAL_VERSION is not set
            OCI_RESOURCE_PRINCIPAL_RPST is not set
            OCI_RESOURCE_PRINCIPAL_RPT_ENDPOINT is not set
            token file, key file, passphrase none
            token here, key here, passphrase file
            token here, key here, passphrase here
            cannot sign in as a resource principal: there is no private key. Looked at, in this order:
                private key: OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM
            OCI_RESOURCE_PRINCIPAL_RPST is set, and the two belong together
            OCI_RESOURCE_PRINCIPAL_VERSION is "1.1", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in
            OCI_RESOURCE_PRINCIPAL_VERSION is "2.1", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in
            OCI_RESOURCE_PRINCIPAL_VERSION is "2.1.1", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in
            OCI_RESOURCE_PRINCIPAL_VERSION is "2.1.2", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in
            OCI_RESOURCE_PRINCIPAL_VERSION is "3.0", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in"#]].assert_eq(&lines.join("\n"));
    }

    /// Who it is, by value: variables cannot be renewed.
    #[test]
    fn by_value() -> anyhow::Result<()> {
        let variables = [(VERSION, "2.2"), (TOKEN, &*token(&claims())), (KEY, PEM)];
        let parts = look(&environment(&variables))?.map_err(anyhow::Error::msg)?;
        let principal = ResourcePrincipal::new(parts);
        expect!["a resource (resource principal)"].assert_eq(&principal.unnamed().description);
        let session = principal.session(at(1767320000), Instant::now())?;
        expect![[r#"
            Principal {
                description: "resource ocid1.fnfunc.oc1..a (resource principal, fnfunc, in compartment ocid1.compartment.oc1..a)",
                tenancy_id: Some(
                    "ocid1.tenancy.oc1..a",
                ),
                user_id: None,
                grantee: DynamicGroup,
            }
        "#]].assert_debug_eq(&session.principal);
        assert_eq!(principal.unnamed(), session.principal);
        assert!(!principal.is_outdated(&session));
        let ended = principal.session(at(1767323045), Instant::now()).err();
        expect!["the token of the resource principal in the environment variable OCI_RESOURCE_PRINCIPAL_RPST ended at 2026-01-02 03:04:05 UTC; a variable cannot be renewed while a program runs, so it has to be started again"].assert_eq(&ended.map(|error| error.to_string()).unwrap_or_default());
        Ok(())
    }

    /// By file: what is written there while the program runs is used, from the
    /// end of the token before at the latest.
    #[test]
    fn by_file() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let file = |name: &str| directory.path().join(name).display().to_string();
        fs::write(file("rpst"), token(&claims()))?;
        fs::write(file("key.pem"), PEM)?;
        let variables = [
            (VERSION, "2.2"),
            (TOKEN, &*file("rpst")),
            (KEY, &*file("key.pem")),
        ];
        let parts = look(&environment(&variables))?.map_err(anyhow::Error::msg)?;
        let principal = ResourcePrincipal::new(parts);
        let first = principal.session(at(1767320000), Instant::now())?;
        assert!(!principal.is_outdated(&first));
        let ended = principal.session(at(1767323045), Instant::now()).err();
        let ended = ended.map(|error| error.to_string()).unwrap_or_default();
        expect!["the token of the resource principal in DIR/rpst ended at 2026-01-02 03:04:05 UTC; whoever runs this program keeps that file up to date, and has to write a new one"].assert_eq(&ended.replace(&*directory.path().to_string_lossy(), "DIR"));
        let mut renewed = claims();
        renewed["exp"] = json!(2_000_000_000);
        fs::write(file("rpst"), token(&renewed))?;
        // The clock of the file system may be coarse.
        fs::File::open(file("rpst"))?.set_modified(at(1))?;
        assert!(principal.is_outdated(&first));
        let second = principal.session(at(1767323045), Instant::now())?;
        assert_ne!(second.credential.key_id, first.credential.key_id);
        Ok(())
    }

    proptest::proptest! {
        // Reading a key takes a while.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever the variables of a resource say: there is a resource that can be shown, none,
        /// or an error that shows neither token nor key.
        #[test]
        fn any_variables(
            version in proptest::prop_oneof![
                3 => proptest::prelude::Just(Some("2.2".to_owned())),
                1 => proptest::option::of(crate::spoilt::text(&["2.2", "1.1", " 2.2\n"])),
            ],
            claims in crate::spoilt::json([claims(), json!({"sub": "a'b\n", "res_type": "x\u{1b}"})]),
            token in proptest::option::of(crate::spoilt::text(&["/rpst", "e30.e30.hunter2hunter2"])),
            key in proptest::option::weighted(0.9, proptest::prelude::Just(PEM)),
            others in proptest::collection::btree_map(
                proptest::sample::select(vec![PASSPHRASE, RPT_ENDPOINT, REGION, KEY]),
                crate::spoilt::text(&["hunter2hunter2", "/pass", "https://rpt.example", "gru"]),
                0..3,
            ),
        ) {
            let token = token.unwrap_or_else(|| token_of(&claims));
            // A path is shown, a token is not.
            let path = if token.starts_with('/') { token.len() } else { 0 };
            let mut variables = others.clone();
            variables.insert(TOKEN, token);
            variables.extend(version.clone().map(|version| (VERSION, version)));
            variables.extend(key.map(|key| (KEY, key.to_owned())));
            let environment = Environment {
                variables: variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
                home: None,
            };
            let error = match look(&environment) {
                Ok(Ok(parts)) => match ResourcePrincipal::new(parts).session(at(1000), Instant::now()) {
                    Ok(session) => {
                        proptest::prop_assert!(session.principal.can_be_shown(), "{:?}", session.principal);
                        return Ok(());
                    }
                    Err(error) => error.to_string(),
                },
                Ok(Err(reason)) => reason,
                Err(error) => error.to_string(),
            };
            proptest::prop_assert!(!error.contains("hunter2"), "{}", error);
            let quoted = path
                + version.map_or(0, |version| version.len())
                + others.values().map(String::len).sum::<usize>();
            proptest::prop_assert!(error.len() < 2 * quoted + 700, "{}", error);
        }
    }

    fn token_of(claims: &serde_json::Value) -> String {
        token(claims)
    }
}
