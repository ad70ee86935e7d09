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
    /// For a message: "profile ci", or the variable that names the token.
    pub(super) origin: String,
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
        let region = region.map_or_else(String::new, |region| {
            format!(" --region {}", quoted(region))
        });
        let remedy = format!(
            "`oci session refresh{}` renews a session that has not ended yet, and another one begins with:\n    \
             oci session authenticate{region}{}",
            option("--profile"),
            option("--profile-name")
        );
        Self {
            pair: TokenPair {
                what: "the session token",
                whose: format!(" ({})", parts.origin),
                token: parts.token,
                key: parts.key,
                passphrase: parts.passphrase,
                passphrase_places: parts.passphrase_places,
                remedy,
                state: State::default(),
            },
            origin: parts.origin,
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
            let text = loaded?.claims.name(name)?;
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

/// A name as a shell takes it.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '/');
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use expect_test::expect;
    use serde_json::{Value, json};

    use super::*;
    use crate::credentials::jwt::token;

    fn session(claims: &Value, profile: Option<&str>) -> SessionToken {
        let here = |text: &str| Place::Here {
            text: text.to_owned(),
            named_by: "TOKEN".to_owned(),
        };
        SessionToken::new(Parts {
            token: here(&token(claims)),
            key: here(include_str!("../../tests/fixtures/keys/other-rsa-2048.pem")),
            passphrase: None,
            passphrase_places: String::new(),
            origin: profile.map_or_else(
                || "OCI_CLI_SECURITY_TOKEN_FILE".to_owned(),
                |profile| format!("profile {profile}"),
            ),
            profile: profile.map(str::to_owned),
            region: profile.map(|_| "sa-saopaulo-1".to_owned()),
            tenancy_id: Some("ocid1.tenancy.oc1..configured".to_owned()),
        })
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// Who it is, from the token, and where the token leaves it out from the
    /// configuration.
    #[test]
    fn principals() -> anyhow::Result<()> {
        let principal = |claims: Value| -> anyhow::Result<Principal> {
            let session = session(&claims, Some("ci"));
            Ok(session.session(at(1000), Instant::now())?.principal)
        };
        expect![[r#"
            Principal {
                description: "user ocid1.user.oc1..a (session token, profile ci)",
                tenancy_id: Some(
                    "ocid1.tenancy.oc1..a",
                ),
                user_id: Some(
                    "ocid1.user.oc1..a",
                ),
                grantee: Group,
            }
        "#]]
        .assert_debug_eq(&principal(
            json!({"exp": 2000, "sub": "ocid1.user.oc1..a", "tenant": "ocid1.tenancy.oc1..a"}),
        )?);
        expect![[r#"
            Principal {
                description: "a user (session token, profile ci)",
                tenancy_id: Some(
                    "ocid1.tenancy.oc1..b",
                ),
                user_id: None,
                grantee: Group,
            }
        "#]]
        .assert_debug_eq(&principal(
            json!({"exp": 2000, "sub": "somebody", "opc-tenant": "ocid1.tenancy.oc1..b"}),
        )?);
        let unread = session(&json!({"exp": 2000, "sub": "ocid1.user.oc1..a"}), None);
        expect!["a user (session token, OCI_CLI_SECURITY_TOKEN_FILE)"]
            .assert_eq(&unread.unnamed().description);
        unread.session(at(1000), Instant::now())?;
        expect!["user ocid1.user.oc1..a (session token, OCI_CLI_SECURITY_TOKEN_FILE)"]
            .assert_eq(&unread.unnamed().description);
        assert_eq!(
            unread.unnamed().tenancy_id.as_deref(),
            Some("ocid1.tenancy.oc1..configured")
        );
        Ok(())
    }

    /// What to do when it has ended: in a profile, in one with an odd name, and
    /// without one.
    #[test]
    fn ended() {
        let message = |profile| match session(&json!({"exp": 1767323045}), profile)
            .session(at(1767323045), Instant::now())
        {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        };
        expect![[r#"
            the session token in TOKEN (profile ci) ended at 2026-01-02 03:04:05 UTC; `oci session refresh --profile ci` renews a session that has not ended yet, and another one begins with:
                oci session authenticate --region sa-saopaulo-1 --profile-name ci"#]].assert_eq(&message(Some("ci")));
        expect![[r#"
            the session token in TOKEN (profile team a's) ended at 2026-01-02 03:04:05 UTC; `oci session refresh --profile 'team a'\''s'` renews a session that has not ended yet, and another one begins with:
                oci session authenticate --region sa-saopaulo-1 --profile-name 'team a'\''s'"#]].assert_eq(&message(Some("team a's")));
        expect![[r#"
            the session token in TOKEN (OCI_CLI_SECURITY_TOKEN_FILE) ended at 2026-01-02 03:04:05 UTC; `oci session refresh` renews a session that has not ended yet, and another one begins with:
                oci session authenticate"#]].assert_eq(&message(None));
    }

    /// An exchange is a look at the files, and gives a session for as long as
    /// the token says.
    #[tokio::test]
    async fn obtains() -> anyhow::Result<()> {
        let ends = SystemTime::now() + Duration::from_secs(3600);
        let exp = ends.duration_since(UNIX_EPOCH)?.as_secs();
        let session = session(&json!({ "exp": exp }), Some("ci"));
        let obtained = session.obtain().await?;
        let left = obtained.expires_at - Instant::now();
        assert!((3590..=3600).contains(&left.as_secs()), "{left:?}");
        assert!(obtained.renew_at < obtained.expires_at);
        assert!(!session.is_outdated(&obtained));
        Ok(())
    }

    proptest::proptest! {
        // Reading a key takes a while.
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: proptest::prelude::ProptestConfig::default().cases.div_ceil(4),
            ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever a token says about its user, and whatever the profile is called: it can be
        /// shown, and the commands that an error names are on lines of their own.
        #[test]
        fn any_claims(
            claims in crate::spoilt::json([
                json!({"exp": 2000, "sub": "ocid1.user.oc1..a", "tenant": "ocid1.tenancy.oc1..a"}),
                json!({"sub": "ocid1.user.oc1..a\nb", "opc-tenant": "ocid1.tenancy.oc1..\u{1b}[2J"}),
            ]),
            profile in "[^\\p{Cc}]{0,20}",
        ) {
            let session = session(&claims, Some(&profile));
            match session.session(at(1000), Instant::now()) {
                Ok(session) => proptest::prop_assert!(session.principal.can_be_shown(), "{:?}", session.principal),
                Err(error) => {
                    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
                    proptest::prop_assert_eq!(lines.len(), 2, "{:?}", lines);
                    proptest::prop_assert!(lines[1].starts_with("    oci session authenticate "), "{:?}", lines);
                }
            }
            proptest::prop_assert!(session.unnamed().can_be_shown());
        }
    }
}
