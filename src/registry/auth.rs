//! Signing in: challenges, tokens, and one exchange at a time.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use reqwest::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use url::Url;

use super::{
    Cause, Error,
    client::{ANSWER_TIMEOUT, lock, read_body, say_waiting, send_within},
    error::{About, excerpt},
};
use crate::transport::{Secrets, authority};

/// How a client signs in. Its `Debug` shows no secret.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    Anonymous,
    /// With a user name and a password, directly or for a token at the realm
    /// that the registry's challenge names.
    Basic {
        /// User name.
        username: String,
        /// Password. A secret.
        password: String,
    },
    /// With a token that a former sign-in gave, for a token at the realm that the
    /// registry's challenge names. A secret.
    Refresh(String),
    /// With a bearer token from somewhere else.
    Token(Arc<dyn TokenSource>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => f
                .debug_struct("Basic")
                .field("username", username)
                .field("password", &"[redacted]")
                .finish(),
            Self::Refresh(_) => f.write_str("Refresh([redacted])"),
            Self::Token(_) => f.write_str("Token([redacted])"),
        }
    }
}

/// A bearer token. Its `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    /// The token. A secret.
    pub token: String,
    /// When it ends.
    pub expires_at: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("token", &"[redacted]")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Gives bearer tokens. The client caches what it gets, asks for a new one
/// some time before the old one ends, and asks once for many waiters.
pub trait TokenSource: Send + Sync {
    /// A fresh token.
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>>;
}

/// What a call is allowed to do with its token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Access {
    repository: String,
    actions: &'static str,
    /// A second repository, to mount a blob from.
    from: Option<String>,
}

impl Access {
    pub(super) fn pull(repository: &str) -> Self {
        Self {
            repository: repository.into(),
            actions: "pull",
            from: None,
        }
    }
    pub(super) fn push(repository: &str) -> Self {
        Self {
            actions: "pull,push",
            ..Self::pull(repository)
        }
    }
    pub(super) fn mount(repository: &str, from: &str) -> Self {
        Self {
            from: Some(from.into()),
            ..Self::push(repository)
        }
    }
    /// OCIR refuses a scope with `delete`, and lets a token without it delete;
    /// other registries want it.
    pub(super) fn delete(repository: &str) -> Self {
        Self {
            actions: "pull,push,delete",
            ..Self::pull(repository)
        }
    }
    pub(super) fn repository(&self) -> &str {
        &self.repository
    }

    /// One `scope` parameter each. Ours come first: some registries look only
    /// at the first one.
    fn scopes(&self) -> Vec<String> {
        let mut scopes = vec![format!("repository:{}:{}", self.repository, self.actions)];
        scopes.extend(
            self.from
                .iter()
                .map(|from| format!("repository:{from}:pull")),
        );
        scopes
    }
}

/// Nobody minds if an attempt to sign in that takes less is made once more.
const LONG: Duration = Duration::from_secs(1);

/// A header that lets a call pass.
#[derive(Clone)]
pub(super) struct Pass {
    header: HeaderValue,
    obtained: Instant,
    /// Basic authorization has no end.
    expires: Option<Instant>,
}

impl Pass {
    fn new(text: &str, expires: Option<Instant>) -> Option<Self> {
        let mut header = HeaderValue::from_str(text).ok()?;
        header.set_sensitive(true);
        Some(Self {
            header,
            obtained: Instant::now(),
            expires,
        })
    }
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }
    /// Whether it is worth asking for another: what changed since, a policy for
    /// instance, is not in it.
    pub(super) fn is_old(&self) -> bool {
        self.expires.is_some() && self.obtained.elapsed() > Duration::from_secs(60)
            || self.has_ended()
    }
    fn has_ended(&self) -> bool {
        self.expires.is_some_and(|end| end <= Instant::now())
    }
    /// Whether it will do for a call that takes about `need`. A token that
    /// lives shorter than that is renewed when a tenth of its life is over: a
    /// newer one would hardly be better.
    fn is_fresh(&self, need: Duration, now: Instant) -> bool {
        let Some(expires) = self.expires else {
            return true;
        };
        let life = expires.saturating_duration_since(self.obtained);
        let left = expires.saturating_duration_since(now);
        // Five minutes, unless the whole life is of that order.
        let margin = RENEW_AHEAD.min(life / 2).max(need.min(life / 10 * 9));
        left > margin
    }
}

/// How often one call comes back with another pass.
#[derive(Default)]
pub(super) struct Renewals {
    /// Sent without any, and told how to sign in.
    introduced: bool,
    /// Refused with one that should have been good.
    doubted: bool,
    /// Refused with one that had come to its end on the way.
    ended: u32,
}

impl Renewals {
    /// Whether a call that was refused with this pass may come back. A pass
    /// that should be good is doubted once, or a source whose tokens are never
    /// accepted would be asked for ever.
    pub(super) fn allow(&mut self, pass: Option<&Pass>) -> bool {
        match pass {
            None => !std::mem::replace(&mut self.introduced, true),
            Some(pass) if pass.has_ended() => {
                self.ended += 1;
                self.ended <= MOST_ENDED
            }
            Some(_) => !std::mem::replace(&mut self.doubted, true),
        }
    }
}

/// A call that takes longer than a token lives has no better luck the next time.
const MOST_ENDED: u32 = 4;

/// Tokens are renewed this long before they end.
const RENEW_AHEAD: Duration = Duration::from_secs(300);

/// The sign-in of one client, with everything it has learned.
pub(super) struct Auth {
    http: reqwest::Client,
    host: String,
    plain_http: bool,
    credentials: Credentials,
    /// How the registry asked the last time.
    challenge: Mutex<Option<Challenge>>,
    /// One desk per access. Its lock is held during an exchange, so that many
    /// waiters cause one.
    desks: Mutex<HashMap<Option<Access>, Arc<tokio::sync::Mutex<Desk>>>>,
    secrets: Secrets,
}

/// Where passes for one access are given out.
#[derive(Default)]
struct Desk {
    pass: Option<Pass>,
    /// How the last attempt to get one failed.
    failed: Option<Failed>,
}

struct Failed {
    cause: Cause,
    /// Until when it is the answer for everybody who asks.
    until: Instant,
}

impl Desk {
    fn fresh(&self, need: Duration) -> Option<Pass> {
        let pass = self.pass.as_ref();
        let fresh = pass.filter(|pass| pass.is_fresh(need, Instant::now()));
        fresh.cloned()
    }

    /// Why there is no pass for somebody who asked at this time: two hundred who wait
    /// for a token endpoint that is down do not wait two hundred times as long as one.
    fn failure(&self, asked: Instant) -> Option<Cause> {
        let failed = self.failed.as_ref()?;
        (asked < failed.until).then(|| failed.cause.clone())
    }

    /// What an attempt that began then came to. Who waited for it is told the same;
    /// and when it took long, so is who comes within as much time again.
    fn fail(&mut self, began: Instant, cause: impl Into<Cause>) -> Cause {
        let cause = cause.into();
        let took = began.elapsed();
        let took = Some(took).filter(|took| *took >= LONG).unwrap_or_default();
        self.failed = Some(Failed {
            cause: cause.clone(),
            until: Instant::now() + took,
        });
        cause
    }
}

impl Auth {
    pub(super) fn new(
        http: reqwest::Client,
        host: String,
        plain_http: bool,
        credentials: Credentials,
    ) -> Self {
        let (password, encoded) = match &credentials {
            Credentials::Basic { username, password } => {
                (password.as_str(), encoded(username, password))
            }
            Credentials::Refresh(token) => (token.as_str(), String::new()),
            _ => ("", String::new()),
        };
        Self {
            http,
            host,
            plain_http,
            secrets: Secrets::new([password, encoded.as_str()]),
            credentials,
            challenge: Mutex::default(),
            desks: Mutex::default(),
        }
    }

    /// What has been sent to sign in, and must not be shown.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// What to send along with a call that takes about `need`; `None` while
    /// the registry has not said how it wants to be asked.
    pub(super) async fn pass(
        &self,
        access: &Access,
        need: Duration,
    ) -> Result<Option<Pass>, Error> {
        let asked = Instant::now();
        if let Credentials::Token(source) = &self.credentials {
            let desk = self.desk(None);
            let mut desk = desk.lock().await;
            if let Some(pass) = desk.fresh(need) {
                return Ok(Some(pass));
            }
            if let Some(failure) = desk.failure(asked) {
                return Err(self.sign_in(failure));
            }
            let began = Instant::now();
            let token = say_waiting(&self.host, "a token to sign in with", source.token()).await;
            let token = token.map_err(|error| self.sign_in(desk.fail(began, error)))?;
            self.secrets.add(&token.token);
            let pass = Pass::new(&format!("Bearer {}", token.token), Some(token.expires_at))
                .ok_or_else(|| {
                    let cause: Box<dyn std::error::Error + Send + Sync> =
                        "the token has characters that no header may have".into();
                    self.sign_in(cause)
                })?;
            desk.pass = Some(pass.clone());
            return Ok(Some(pass));
        }
        let challenge = lock(&self.challenge).clone();
        let (realm, service) = match challenge {
            None => return Ok(None),
            Some(Challenge::Basic) => return Ok(self.basic()),
            Some(Challenge::Bearer { realm, service, .. }) => (realm, service),
        };
        let desk = self.desk(Some(access));
        let mut desk = desk.lock().await;
        if let Some(pass) = desk.fresh(need) {
            return Ok(Some(pass));
        }
        let pass = self.exchange(&realm, service.as_deref(), access).await?;
        desk.pass = Some(pass.clone());
        Ok(Some(pass))
    }

    /// Learns from a refusal. Says whether the call is worth repeating.
    pub(super) async fn refused(
        &self,
        access: &Access,
        used: Option<&Pass>,
        headers: &HeaderMap,
    ) -> Refusal {
        let challenge = Challenge::choose(headers);
        let wants_delete = matches!(&challenge, Some(Challenge::Bearer { scope: Some(scope), .. })
            if scope.rsplit(':').next().is_some_and(|actions| actions.split([',', ' ']).any(|action| action == "delete" || action == "*")));
        let again = match (&self.credentials, &challenge) {
            (Credentials::Token(_), _) | (_, Some(Challenge::Bearer { .. })) => true,
            (Credentials::Basic { .. }, Some(Challenge::Basic)) => {
                // The same header again gets the same answer.
                used.map(Pass::header) != self.basic().as_ref().map(Pass::header)
            }
            // A 403 asks for nothing: another token of the same kind may do.
            (_, None) => used.is_some_and(|pass| pass.expires.is_some()),
            (Credentials::Anonymous | Credentials::Refresh(_), Some(Challenge::Basic)) => false,
        };
        if challenge.is_some() {
            *lock(&self.challenge) = challenge;
        }
        if let Some(used) = used {
            let key = match self.credentials {
                Credentials::Token(_) => None,
                _ => Some(access),
            };
            let desk = self.desk(key);
            let mut desk = desk.lock().await;
            // Unless somebody else has renewed it in the meantime.
            let pass = desk.pass.as_ref();
            if pass.is_some_and(|pass| pass.header == used.header) {
                desk.pass = None;
            }
        }
        Refusal {
            again,
            wants_delete,
        }
    }

    /// Whether tokens are made from an identity, whose policies are somebody else's.
    pub(super) fn is_identity(&self) -> bool {
        matches!(self.credentials, Credentials::Token(_))
    }

    /// What was obtained before then is not used any more.
    pub(super) async fn renew(&self, then: Instant) {
        let desk = self.desk(None);
        let mut desk = desk.lock().await;
        // Unless somebody else has renewed it in the meantime.
        if desk.pass.as_ref().is_some_and(|pass| pass.obtained < then) {
            desk.pass = None;
        }
    }

    fn desk(&self, access: Option<&Access>) -> Arc<tokio::sync::Mutex<Desk>> {
        let mut desks = lock(&self.desks);
        if desks.len() >= MOST_PASSES {
            // Those that nobody stands at just now; passes can be had again.
            desks.retain(|_, desk| Arc::strong_count(desk) > 1);
        }
        desks.entry(access.cloned()).or_default().clone()
    }

    fn sign_in(&self, cause: impl Into<Cause>) -> Error {
        Error::SignIn {
            host: self.host.clone(),
            source: cause.into(),
        }
    }

    fn basic(&self) -> Option<Pass> {
        let Credentials::Basic { username, password } = &self.credentials else {
            return None;
        };
        Pass::new(&format!("Basic {}", encoded(username, password)), None)
    }

    /// Gets a token at the realm.
    /// <https://distribution.github.io/distribution/spec/auth/token/>
    async fn exchange(
        &self,
        realm: &str,
        service: Option<&str>,
        access: &Access,
    ) -> Result<Pass, Error> {
        let mut url = self.realm(realm)?;
        // Not the challenge's scope: OCIR's is empty, and others name only
        // what the refused call needed, while a push needs more.
        let scopes = access.scopes();
        let mut form = None;
        if let Credentials::Refresh(token) = &self.credentials {
            // <https://distribution.github.io/distribution/spec/auth/oauth/>
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            body.append_pair("grant_type", "refresh_token")
                .append_pair("client_id", "terraform-provider-ocir")
                .append_pair("service", service.unwrap_or_default())
                .append_pair("scope", &scopes.join(" "))
                .append_pair("refresh_token", token);
            form = Some(body.finish());
        } else {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", &scope);
            }
        }
        let realm_host = authority(&url);
        let about = About {
            operation: "sign-in",
            host: &realm_host,
            repository: access.repository(),
            secrets: &self.secrets,
        };
        let mut request = match form {
            Some(form) => self
                .http
                .post(url)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form),
            None => self.http.get(url),
        };
        if let Some(basic) = self.basic() {
            request = request.header(AUTHORIZATION, basic.header);
        }
        let obtained = Instant::now();
        let response = send_within(&about, request, ANSWER_TIMEOUT).await?;
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            // Credentials are for this realm, not for wherever it points to.
            return Err(about.redirect("to another place, where credentials are not sent"));
        }
        let body = read_body(&about, response, 1 << 20).await?;
        if status != StatusCode::OK {
            return Err(about.answer(status, &headers, &body));
        }
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| about.protocol("the answer is not the JSON of a token"))?;
        let token = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .ok_or_else(|| about.protocol("the answer holds no token"))?;
        self.secrets.add(&token);
        // The specification's default, also for a life of zero.
        let life = Duration::from_secs(answer.expires_in.filter(|life| *life > 0).unwrap_or(60));
        let expires = obtained.checked_add(life.min(Duration::from_secs(7 * 24 * 3600)));
        Pass::new(&format!("Bearer {token}"), expires)
            .ok_or_else(|| about.protocol("the token has characters that no header may have"))
    }

    /// Whether the registry is on this machine.
    fn is_local(&self) -> bool {
        address(&self.host).is_some_and(|own| is_loopback(&own))
    }

    /// The realm's address, if credentials may go there.
    fn realm(&self, realm: &str) -> Result<Url, Error> {
        let refuse = |url: Option<&Url>, problem| Error::Realm {
            host: self.host.clone(),
            realm: excerpt(&self.secrets.scrub(&match url {
                Some(url) => format!("{}://{}{}", url.scheme(), authority(url), url.path()),
                None => realm.to_owned(),
            })),
            problem,
        };
        let url = Url::parse(realm).map_err(|_| refuse(None, "it is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(Some(&url), "it has a user name in it"));
        }
        match url.scheme() {
            "https" => Ok(url),
            // A registry elsewhere must not have its password sent to whatever
            // listens on this machine.
            "http" if is_loopback(&url) && (self.plain_http || self.is_local()) => Ok(url),
            "http" if self.plain_http && same_host(&url, &self.host) => Ok(url),
            "http" => Err(refuse(Some(&url), "it is not HTTPS")),
            _ => Err(refuse(Some(&url), "it is neither HTTPS nor HTTP")),
        }
    }
}

/// What the scheme Basic sends.
fn encoded(username: &str, password: &str) -> String {
    STANDARD.encode(format!("{username}:{password}"))
}

/// Passes of one client; a process that pushes to this many repositories has
/// time to sign in again.
const MOST_PASSES: usize = 1_000;

/// What a refusal taught.
pub(super) struct Refusal {
    /// Whether another attempt would send something else.
    pub(super) again: bool,
    /// Whether the registry wants a token that may delete.
    pub(super) wants_delete: bool,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn same_host(url: &Url, host: &str) -> bool {
    address(host).is_some_and(|own| own.host() == url.host())
}

fn address(host: &str) -> Option<Url> {
    Url::parse(&format!("http://{host}/")).ok()
}

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The one we answer: Bearer before Basic, since a registry that offers
    /// both may accept Basic only for reading.
    fn choose(headers: &HeaderMap) -> Option<Self> {
        let mut basic = None;
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            for (scheme, parameters) in parse_challenges(&text) {
                let parameter = |name: &str| {
                    parameters
                        .iter()
                        .find(|(key, _)| key.eq_ignore_ascii_case(name))
                        .map(|(_, value)| value.clone())
                };
                if scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                } else if scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = parameter("realm")
                {
                    return Some(Self::Bearer {
                        realm,
                        service: parameter("service").filter(|service| !service.is_empty()),
                        scope: parameter("scope"),
                    });
                }
            }
        }
        basic
    }
}

/// The challenges of one header: schemes with their parameters. Commas separate
/// both parameters and challenges, so a word begins a challenge unless an
/// equals sign follows it.
/// <https://www.rfc-editor.org/rfc/rfc9110#name-www-authenticate>
fn parse_challenges(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut challenges: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        if rest.is_empty() {
            return challenges;
        }
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '"'))
            .unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let after_space = after.trim_start();
        if let Some(value) = after_space.strip_prefix('=')
            && !word.is_empty()
        {
            let (value, remainder) = parse_value(value.trim_start());
            if let Some((_, parameters)) = challenges.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = remainder;
            continue;
        }
        if word.is_empty() {
            // A stray sign; whatever it belongs to ends at the next comma.
            rest = &rest[rest.find(',').unwrap_or(rest.len())..];
            continue;
        }
        challenges.push((word.to_owned(), Vec::new()));
        rest = after_space;
        // Instead of parameters a scheme may have a single word, `Negotiate abc==`.
        let single = rest
            .find(|c: char| c.is_whitespace() || matches!(c, ',' | '"'))
            .unwrap_or(rest.len());
        let candidate = rest[..single].trim_end_matches('=');
        let ends = rest[single..].trim_start();
        if after.len() != after_space.len()
            && !candidate.is_empty()
            && !candidate.contains('=')
            && (ends.is_empty() || ends.starts_with(','))
        {
            rest = ends;
        }
    }
}

/// A token or a quoted string, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c.is_whitespace() || c == ',')
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        headers
    }

    /// Several challenges, quoted commas, escapes, spaces and single words.
    #[test]
    fn challenges_are_parsed() {
        let parsed: Vec<_> = [
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            r#"Basic realm="Registry, \"ours\"", bearer Realm = "https://x/t" , service=y"#,
            r#"Negotiate, Negotiate abc==, Basic realm=x"#,
            r#"Bearer realm="https://h/t",service="h",scope="""#,
            r#"Bearer realm="unterminated"#,
            r#"=,"" , Basic"#,
            "",
        ]
        .iter()
        .map(|text| format!("{:?}", parse_challenges(text)))
        .collect();
        expect![[r#"
            [("Bearer", [("realm", "https://auth.docker.io/token"), ("service", "registry.docker.io"), ("scope", "repository:a/b:pull,push")])]
            [("Basic", [("realm", "Registry, \"ours\"")]), ("bearer", [("Realm", "https://x/t"), ("service", "y")])]
            [("Negotiate", []), ("Negotiate", []), ("Basic", [("realm", "x")])]
            [("Bearer", [("realm", "https://h/t"), ("service", "h"), ("scope", "")])]
            [("Bearer", [("realm", "unterminated")])]
            [("Basic", [])]
            []"#]]
        .assert_eq(&parsed.join("\n"));
    }

    /// Bearer wins wherever it stands; a Bearer without realm cannot be answered.
    #[test]
    fn bearer_is_preferred() {
        let bearer = Some(Challenge::Bearer {
            realm: "https://x/t".into(),
            service: None,
            scope: None,
        });
        assert_eq!(
            Challenge::choose(&headers(&[
                "Basic realm=x",
                "BEARER realm=\"https://x/t\", service=\"\""
            ])),
            bearer
        );
        assert_eq!(
            Challenge::choose(&headers(&["Bearer service=x, Basic realm=x"])),
            Some(Challenge::Basic)
        );
        assert_eq!(Challenge::choose(&headers(&["Digest realm=x"])), None);
        assert_eq!(Challenge::choose(&headers(&[])), None);
    }

    /// Credentials go to HTTPS; without it, to loopback from a registry that is
    /// there too or that the user chose plain HTTP for, and to such a registry's
    /// own host; nowhere else.
    #[test]
    fn realms_are_checked() {
        let auth_of = |host: &str, plain_http| {
            let http = reqwest::Client::new();
            Auth::new(http, host.into(), plain_http, Credentials::Anonymous)
        };
        let auth = |plain_http| auth_of("registry.example:5000", plain_http);
        auth(false)
            .realm("https://elsewhere.example/token")
            .unwrap();
        for realm in [
            "http://127.0.0.1:9/token",
            "http://[::1]/token",
            "http://localhost/token",
        ] {
            auth(true).realm(realm).unwrap();
            auth(false).realm(realm).unwrap_err();
            auth_of("127.0.0.1:5000", false).realm(realm).unwrap();
            auth_of("localhost", false).realm(realm).unwrap();
        }
        auth(true).realm("http://registry.example/token").unwrap();
        let problems: Vec<String> = [
            (false, "http://registry.example/token?secret=1"),
            (false, "http://127.0.0.1/token"),
            (true, "http://169.254.169.254/token"),
            (false, "https://user:password@x.example/t"),
            (false, "file:///etc/passwd"),
            (false, "token"),
        ]
        .iter()
        .map(|(plain, realm)| auth(*plain).realm(realm).unwrap_err().to_string())
        .collect();
        expect![[r#"
            registry.example:5000 asks to sign in at http://registry.example/token, where credentials are not sent: it is not HTTPS
            registry.example:5000 asks to sign in at http://127.0.0.1/token, where credentials are not sent: it is not HTTPS
            registry.example:5000 asks to sign in at http://169.254.169.254/token, where credentials are not sent: it is not HTTPS
            registry.example:5000 asks to sign in at https://x.example/t, where credentials are not sent: it has a user name in it
            registry.example:5000 asks to sign in at file:///etc/passwd, where credentials are not sent: it is neither HTTPS nor HTTP
            registry.example:5000 asks to sign in at token, where credentials are not sent: it is not a URL"#]]
        .assert_eq(&problems.join("\n"));
    }

    /// An hour's token is renewed five minutes ahead, a short one at half its
    /// life, and a long upload wants more.
    #[test]
    fn tokens_are_renewed_ahead() {
        let start = Instant::now();
        let fresh = |life: u64, age: u64, need: u64| {
            let pass = Pass {
                header: HeaderValue::from_static("x"),
                obtained: start,
                expires: Some(start + Duration::from_secs(life)),
            };
            pass.is_fresh(Duration::from_secs(need), start + Duration::from_secs(age))
        };
        assert!(fresh(3600, 3299, 0) && !fresh(3600, 3300, 0));
        assert!(fresh(60, 29, 0) && !fresh(60, 30, 0));
        assert!(fresh(3600, 1799, 1800) && !fresh(3600, 1800, 1800));
        assert!(fresh(60, 5, 1800) && !fresh(60, 6, 1800));
        assert!(!fresh(60, 61, 0));
    }

    /// A pass that should be good is doubted once; one that came to its end on
    /// the way explains a refusal, a few times.
    #[test]
    fn renewals_end() {
        let now = Instant::now();
        let pass = |expires| Pass {
            header: HeaderValue::from_static("x"),
            obtained: now,
            expires,
        };
        let good = pass(Some(now + Duration::from_secs(60)));
        let ended = pass(Some(now));
        let basic = pass(None);
        for lasting in [&good, &basic] {
            let mut renewals = Renewals::default();
            assert!(renewals.allow(None) && !renewals.allow(None));
            assert!(renewals.allow(Some(lasting)) && !renewals.allow(Some(lasting)));
        }
        let mut renewals = Renewals::default();
        let allowed = (0..100).filter(|_| renewals.allow(Some(&ended))).count();
        assert_eq!(allowed, 4);
        assert!(
            renewals.allow(Some(&good)),
            "the end of another is no doubt"
        );
        assert!(ended.is_old() && !good.is_old() && !basic.is_old());
    }

    /// A process that pushes to many repositories does not keep all their passes.
    #[test]
    fn passes_are_bounded() {
        let auth = Auth::new(
            reqwest::Client::new(),
            "x".into(),
            false,
            Credentials::Anonymous,
        );
        let held = auth.desk(Some(&Access::pull("held")));
        for number in 0..3 * MOST_PASSES {
            auth.desk(Some(&Access::pull(&number.to_string())));
        }
        assert!(lock(&auth.desks).len() <= MOST_PASSES);
        assert!(Arc::ptr_eq(&held, &auth.desk(Some(&Access::pull("held")))));
    }

    /// Scopes name what the call needs, our repository first.
    #[test]
    fn scopes_are_named() {
        assert_eq!(Access::pull("a/b").scopes(), ["repository:a/b:pull"]);
        assert_eq!(
            Access::mount("a/b", "c").scopes(),
            ["repository:a/b:pull,push", "repository:c:pull"]
        );
    }

    /// Nothing that is printed holds a secret.
    #[test]
    fn debug_shows_no_secret() {
        struct Source;
        impl TokenSource for Source {
            fn token(
                &self,
            ) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>>
            {
                Box::pin(async { Err("none".into()) })
            }
        }
        let basic = Credentials::Basic {
            username: "ns/user".into(),
            password: "hunter2".into(),
        };
        let token = Token {
            token: "hunter2".into(),
            expires_at: Instant::now(),
        };
        expect![[r#"[Basic { username: "ns/user", password: "[redacted]" }, Token([redacted]), Anonymous]"#]]
            .assert_eq(&format!(
                "{:?}",
                [basic, Credentials::Token(Arc::new(Source)), Credentials::Anonymous]
            ));
        let printed = format!("{token:?}");
        assert!(
            printed.contains("[redacted]") && !printed.contains("hunter2"),
            "{printed}"
        );
    }

    proptest::proptest! {
        /// Whatever a registry asks for, the challenge that is chosen is one of its words; and
        /// credentials go to no realm that is not encrypted.
        #[test]
        fn any_challenge(text in crate::spoilt::text(&[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            r#"Basic realm="Registry, \"ours\"", bearer Realm = "http://x/t" , service=y"#,
            "Negotiate, Negotiate abc==, Basic realm=x",
            r#"Bearer realm="https://user:password@h/t",scope="""#,
        ])) {
            let length: usize = parse_challenges(&text)
                .iter()
                .map(|(scheme, parameters)| {
                    let parameters = parameters.iter().map(|(key, value)| key.len() + value.len());
                    scheme.len() + parameters.sum::<usize>()
                })
                .sum();
            proptest::prop_assert!(length <= text.len());
            let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else {
                return Ok(());
            };
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, value)]);
            if let Some(Challenge::Bearer { realm, .. }) = Challenge::choose(&headers) {
                let auth = Auth::new(reqwest::Client::new(), "registry.example".to_owned(), false, Credentials::Anonymous);
                if let Ok(url) = auth.realm(&realm) {
                    proptest::prop_assert_eq!(url.scheme(), "https");
                    proptest::prop_assert!(url.username().is_empty());
                }
            }
        }

        /// Whatever parameters a challenge has, they are read as they were written.
        #[test]
        fn challenges_are_read_back(
            parameters in proptest::collection::vec(("[a-z]{1,8}", "\\PC{0,20}"), 1..5),
        ) {
            let written: Vec<String> = parameters
                .iter()
                .map(|(key, value)| {
                    format!("{key}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
                })
                .collect();
            let text = format!("Negotiate abc==, Bearer {}, Basic", written.join(" , "));
            let read = parse_challenges(&text);
            proptest::prop_assert_eq!(read.len(), 3, "{}", text);
            proptest::prop_assert_eq!(&read[1].1, &parameters, "{}", text);
        }
    }
}
