//! A session that `oci session authenticate` began: a token in a file.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/API/SDKDocs/clitoken.htm>
//!
//! The file is written anew by `oci session refresh`, perhaps while an apply
//! runs, and is then read anew here.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{
    CredentialSource, Error, Grantee,
    renew::{Exchange, Principal, Renewing, Session},
    token_pair::{Loaded, Place, State, TokenPair},
};

/// Where a session is.
pub(super) struct Parts {
    pub(super) token: Place,
    pub(super) key: Place,
    pub(super) passphrase: Option<Place>,
    /// Where a passphrase may stand, for a message.
    pub(super) passphrase_places: String,
    /// The profile of the session; none when a variable names the token.
    pub(super) profile: Option<String>,
    /// For the command that begins another session.
    pub(super) region: Option<String>,
    /// As configured, for a token that does not say it.
    pub(super) tenancy_id: Option<String>,
}

/// The user of a session. What is wrong with the files is found now.
pub(super) fn source(parts: Parts) -> Result<Arc<dyn CredentialSource>, Error> {
    let session = SessionToken::new(parts);
    session.pair.load(SystemTime::now())?;
    Ok(Arc::new(Renewing::new(session)))
}

struct SessionToken {
    pair: TokenPair,
    origin: String,
    tenancy_id: Option<String>,
}

impl SessionToken {
    fn new(parts: Parts) -> Self {
        let profile = parts.profile.as_deref();
        let option = |option: &str| {
            profile.map_or_else(String::new, |profile| {
                format!(" {option} {}", quoted(profile))
            })
        };
        let region = parts.region.as_deref();
        let region = region.map_or_else(String::new, |region| format!(" --region {region}"));
        let remedy = format!(
            "`oci session refresh{}` renews a session that has not ended yet, and another one begins with:\n    \
             oci session authenticate{region}{}",
            option("--profile"),
            option("--profile-name")
        );
        let origin = match (profile, &parts.token) {
            (Some(profile), _) => format!("profile {profile}"),
            (None, Place::File { named_by, .. } | Place::Here { named_by, .. }) => named_by.clone(),
        };
        Self {
            pair: TokenPair {
                what: "the session token",
                whose: format!(" ({origin})"),
                token: parts.token,
                key: parts.key,
                passphrase: parts.passphrase,
                passphrase_places: parts.passphrase_places,
                remedy,
                state: State::default(),
            },
            origin,
            tenancy_id: parts.tenancy_id,
        }
    }

    fn session(&self, now: SystemTime, instant: Instant) -> Result<Session, Error> {
        let (loaded, retry) = self.pair.load(now)?;
        let (renew_at, expires_at) = loaded.span(now, instant, retry);
        Ok(Session {
            credential: loaded.credential.clone(),
            renew_at,
            expires_at,
            principal: self.principal(Some(&loaded)),
        })
    }

    fn principal(&self, loaded: Option<&Loaded>) -> Principal {
        let claim = |name: &str| {
            let text = loaded?.claims.text(name)?;
            text.starts_with("ocid1.").then(|| text.to_owned())
        };
        let user_id = claim("sub").filter(|subject| subject.starts_with("ocid1.user."));
        let user = match &user_id {
            Some(user) => format!("user {user}"),
            None => "a user".to_owned(),
        };
        Principal {
            description: format!("{user} (session token, {})", self.origin),
            tenancy_id: claim("tenant")
                .or_else(|| claim("opc-tenant"))
                .or_else(|| self.tenancy_id.clone()),
            user_id,
            grantee: Grantee::Group,
        }
    }
}

impl Exchange for SessionToken {
    fn obtain(&self) -> BoxFuture<'_, Result<Session, Error>> {
        ready(self.session(SystemTime::now(), Instant::now())).boxed()
    }

    fn unnamed(&self) -> Principal {
        self.principal(self.pair.loaded().as_ref())
    }

    fn is_outdated(&self, _session: &Session) -> bool {
        self.pair.is_outdated()
    }
}

/// A profile's name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/');
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}
