//! Who calls: users, and what is no user but may sign requests all the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    jwt,
    key::PublicKey,
    refusal::Refusal,
    seed::Tenancy,
    server::Shared,
    signature::{self, HostSigned, Signed, incomplete},
};

/// Somebody whom the cloud knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Principal {
    pub kind: Kind,
    pub id: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Instance,
    Resource,
    User,
    Workload,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Instance, Self::Resource, Self::User, Self::Workload];

    /// Claim `ptype` of tokens.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Resource => "resource",
            Self::User => "user",
            Self::Workload => "workload",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Principal {
    pub(super) fn user(tenancy: &Tenancy) -> Self {
        Self {
            kind: Kind::User,
            id: tenancy.seed.user_id.clone(),
        }
    }

    /// Value of the tag `Oracle-Tags.CreatedBy`.
    pub(super) fn tag(&self, tenancy: &Tenancy) -> String {
        match self.kind {
            Kind::User => format!("default/{}", tenancy.seed.user_name),
            _ => self.id.clone(),
        }
    }
}

/// A caller, and how it proved who it is.
pub(super) struct Authenticated {
    pub principal: Principal,
    pub credential: &'static str,
}

impl Authenticated {
    /// For the log.
    pub(super) fn print(&self) -> String {
        format!("{} {}", self.credential, self.principal.id)
    }
}

/// How somebody came by a security token: claim `ttype`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SignIn {
    Exchange,
    Instance,
    Resource,
    Session,
    Workload,
}

impl SignIn {
    const ALL: [Self; 5] = [
        Self::Exchange,
        Self::Instance,
        Self::Resource,
        Self::Session,
        Self::Workload,
    ];

    fn claim(self) -> &'static str {
        match self {
            Self::Exchange => "token_exchange",
            Self::Instance => "x509",
            Self::Resource => "res_sp",
            Self::Session => "login",
            Self::Workload => "workload",
        }
    }

    /// As the log has it.
    fn credential(self) -> &'static str {
        match self {
            Self::Exchange => "token_exchange",
            Self::Instance => "instance",
            Self::Resource => "resource",
            Self::Session => "session",
            Self::Workload => "workload",
        }
    }

    fn lifetime(self) -> Duration {
        match self {
            Self::Instance => Duration::from_secs(20 * 60),
            _ => Duration::from_secs(60 * 60),
        }
    }
}

const ISSUER: &str = "authService.oracle.com";
/// Who issues tokens to pods.
const CLUSTER: &str = "https://kubernetes.default.svc";
/// Who issues tokens to jobs of a CI service.
const CI: &str = "https://ci.example.com";
/// How long those tokens live that are only shown to get others.
const SHOWN_SECONDS: i64 = 24 * 60 * 60;
const DELEGATION: &str = "obo";

/// A security token: with `ST$` in front of it a `keyId`.
pub(super) fn security_token(
    shared: &Shared,
    sign_in: SignIn,
    principal: &Principal,
    key: &PublicKey,
    at_most: Option<Duration>,
) -> String {
    let lifetime = shared
        .settings
        .session_lifetime
        .unwrap_or(sign_in.lifetime());
    let lifetime = at_most.map_or(lifetime, |most| lifetime.min(most));
    let seed = &shared.tenancy.seed;
    let mut claims = json!({
        "sub": principal.id,
        "ptype": principal.kind.name(),
        "ttype": sign_in.claim(),
        "tenant": seed.tenancy_id,
        "opc-tenant": seed.tenancy_id,
        "jwk": key.jwk(),
    });
    match principal.kind {
        Kind::User => {}
        Kind::Instance => {
            claims["opc-instance"] = json!(principal.id);
            claims["opc-compartment"] = json!(seed.apps_compartment_id);
            claims["opc-certtype"] = json!("instance");
        }
        Kind::Resource | Kind::Workload => {
            claims["res_id"] = json!(principal.id);
            claims["res_type"] = json!(principal.id.split('.').nth(1));
            claims["res_tenant"] = json!(seed.tenancy_id);
            claims["res_compartment"] = json!(seed.apps_compartment_id);
        }
    }
    mint(shared, ISSUER, "oci", claims, seconds(lifetime))
}

/// What Cloud Shell has of its user, to call in the user's name.
pub(super) fn delegation_token(shared: &Shared) -> String {
    let seed = &shared.tenancy.seed;
    let claims = json!({
        "sub": seed.user_id,
        "ptype": Kind::User.name(),
        "ttype": DELEGATION,
        "tenant": seed.tenancy_id,
    });
    mint(shared, ISSUER, "oci", claims, SHOWN_SECONDS)
}

/// What a pod finds in its file system.
pub(super) fn service_account_token(shared: &Shared) -> String {
    let claims = json!({ "sub": "system:serviceaccount:default:terraform" });
    mint(shared, CLUSTER, "api", claims, SHOWN_SECONDS)
}

/// Whether a pod of the cluster shows this.
pub(super) fn is_service_account(shared: &Shared, token: &str) -> bool {
    claims(shared, CLUSTER, token).is_some()
}

/// What a job of a CI service is given to say which job it is.
pub(super) fn job_token(shared: &Shared) -> String {
    let claims = json!({ "sub": "repo:motando/infrastructure:ref:refs/heads/main" });
    mint(
        shared,
        CI,
        "https://cloud.oracle.com",
        claims,
        SHOWN_SECONDS,
    )
}

/// Whether a job that the identity domain trusts shows this.
pub(super) fn is_job(shared: &Shared, token: &str) -> bool {
    claims(shared, CI, token).is_some()
}

/// Finds out who signed a request, and in whose name.
pub(super) fn authenticate(
    shared: &Shared,
    request: &Signed<'_>,
) -> Result<Authenticated, Refusal> {
    let parameters = request.parameters()?;
    let now = shared.clock.now();
    let (signer, credential) = match parameters.key_id.strip_prefix("ST$") {
        Some(token) => {
            let (principal, key, sign_in) = bearer(shared, token).ok_or_else(incomplete)?;
            signature::verify(request, &parameters, &key, HostSigned::Yes, now)?;
            (principal, sign_in.credential())
        }
        None if parameters.key_id == shared.tenancy.key_id() => {
            let key = &shared.tenancy.public_key;
            signature::verify(request, &parameters, key, HostSigned::Yes, now)?;
            (Principal::user(&shared.tenancy), "api_key")
        }
        None => return Err(incomplete()),
    };
    let Some(delegation) = request.headers.get("opc-obo-token") else {
        return Ok(Authenticated {
            principal: signer,
            credential,
        });
    };
    // Only a machine acts for somebody, and it has to sign for whom.
    let claims = delegation
        .to_str()
        .ok()
        .filter(|_| signer.kind == Kind::Instance && parameters.signs("opc-obo-token"))
        .and_then(|token| claims(shared, ISSUER, token))
        .filter(|claims| claims["ttype"] == DELEGATION)
        .ok_or_else(incomplete)?;
    Ok(Authenticated {
        principal: subject(&claims).ok_or_else(incomplete)?,
        credential: "delegation",
    })
}

/// Whose security token this is, and what its requests have to be signed with.
fn bearer(shared: &Shared, token: &str) -> Option<(Principal, PublicKey, SignIn)> {
    let claims = claims(shared, ISSUER, token)?;
    let sign_in = SignIn::ALL
        .into_iter()
        .find(|sign_in| claims["ttype"] == sign_in.claim())?;
    if is_void(shared, &claims) {
        return None;
    }
    let key = PublicKey::from_jwk(claims["jwk"].as_str()?)?;
    Some((subject(&claims)?, key, sign_in))
}

fn subject(claims: &Value) -> Option<Principal> {
    Some(Principal {
        kind: Kind::named(claims["ptype"].as_str()?)?,
        id: claims["sub"].as_str()?.to_owned(),
    })
}

fn mint(shared: &Shared, issuer: &str, audience: &str, mut claims: Value, seconds: i64) -> String {
    let now = shared.clock.now().seconds();
    claims["iss"] = json!(issuer);
    claims["aud"] = json!(audience);
    claims["iat"] = json!(now);
    claims["exp"] = json!(now + seconds);
    shared.store.read(|state| {
        claims["jti"] = json!(state.token_id());
        jwt::sign(&state.token_secret, &claims)
    })
}

/// The claims of a token of ours that has not expired, from the right issuer.
fn claims(shared: &Shared, issuer: &str, token: &str) -> Option<Value> {
    let now = shared.clock.now().seconds();
    shared
        .store
        .read(|state| jwt::claims(&state.token_secret, token))
        .filter(|claims| {
            claims["iss"] == issuer && claims["exp"].as_i64().is_some_and(|end| now < end)
        })
}

/// Whether a token is older than the moment at which all were declared to have expired.
fn is_void(shared: &Shared, claims: &Value) -> bool {
    shared
        .store
        .read(|state| state.is_void(claims["jti"].as_str().unwrap_or_default()))
}

/// Whole seconds, as tokens count, and at least one.
fn seconds(lifetime: Duration) -> i64 {
    i64::try_from(lifetime.as_secs().max(1)).unwrap_or(i64::MAX / 2)
}
