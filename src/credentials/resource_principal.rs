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
            note: format!("{TOKEN} is set"),
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
    let claim = |name: &str| Some(loaded?.claims.text(name)?.to_owned());
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
