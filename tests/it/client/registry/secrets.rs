//! No secret is in an error, a warning or the log, whatever a server repeats.

use std::{
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use ocir::{
    registry::{Client, Config, Credentials, Error, Push, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};

use super::{Act, Fake, SignIn, image, log::Log};

const PASSWORD: &str = "CANARY(pass)word;1";
const TOKEN: &str = "CANARY.bearer-token_1";
const REFRESH: &str = "CANARY refresh";
const QUERY: &str = "CANARY-query";

/// What must not be seen: the canaries, and the password's other spellings.
fn leaks(text: &str) -> bool {
    let basic = STANDARD.encode(format!("user:{PASSWORD}"));
    text.contains("CANARY") || text.contains("%28pass%29") || text.contains(&basic)
}

/// An error as a user, a developer and a log see it.
fn shown(error: &Error) -> String {
    let mut text = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("\n{cause}\n{cause:?}"));
        source = cause.source();
    }
    text
}

struct Given;

impl TokenSource for Given {
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            Ok(Token {
                token: TOKEN.into(),
                expires_at: Instant::now() + Duration::from_secs(3600),
            })
        })
    }
}

/// Bodies that repeat what they got, and tokens of others, in ways that have been seen.
fn bodies(secret: &str) -> Vec<&'static str> {
    let basic = STANDARD.encode(format!("user:{PASSWORD}"));
    let padding = "x".repeat(290);
    [
        format!(
            r#"{{"errors":[{{"code":"{secret}","message":"refused: Authorization: Bearer {secret}, Basic {basic}","detail":{{"password":"{secret}","header":["Basic {basic}"],"refresh_token":"{REFRESH}"}}}}]}}"#
        ),
        format!(
            r#"{{"error":"invalid_grant","access_token":"{secret}","refresh_token":"{REFRESH}"}}"#
        ),
        format!(
            "<html><p>{padding}</p><p>Authorization: Basic {basic}</p><p>{secret} {secret}</p></html>"
        ),
        format!("cannot GET /token?password=CANARY%28pass%29word%3B1&token={secret}"),
        format!("token={secret}&x=1, and eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.CANARY"),
        format!("{{\"refresh_token\": \"{REFRESH}\", \"cut"),
    ]
    .into_iter()
    .map(|text| &*text.leak())
    .collect()
}

fn client(fake: &Fake, credentials: Credentials) -> anyhow::Result<Client> {
    Ok(Client::new(Config {
        http: http_client(&Options::default())?,
        host: fake.host.clone(),
        plain_http: true,
        credentials,
        max_concurrent_uploads: 4,
        retry: RetryPolicy {
            max_attempts: 2,
            ..RetryPolicy::without_waiting()
        },
    }))
}

fn passwords() -> Credentials {
    Credentials::Basic {
        username: "user".into(),
        password: PASSWORD.into(),
    }
}

/// Every call, against a registry that repeats secrets in the bodies and headers of
/// its answers, with both ways to sign in; and everything that is logged
/// meanwhile, by us and by the libraries.
#[tokio::test]
async fn nothing_shows_a_secret() -> anyhow::Result<()> {
    let (log, _guard) = Log::start();
    let mut texts = Vec::new();
    let image = image(&[]);
    let push = Push::new("ns/web", "1.0", &image);
    let digest = image.root().digest.clone();
    let basic = STANDARD.encode(format!("user:{PASSWORD}"));
    for credentials in [passwords(), Credentials::Token(Arc::new(Given))] {
        let mut faults: Vec<(&str, &str, Act)> = Vec::new();
        let secret = match &credentials {
            Credentials::Token(_) => TOKEN,
            _ => PASSWORD,
        };
        for body in bodies(secret) {
            for status in [400, 401, 403, 500] {
                for (method, path) in [
                    ("HEAD", "/manifests/"),
                    ("GET", "/manifests/"),
                    ("GET", "/tags/"),
                    ("POST", "/blobs/uploads/"),
                    ("PUT", "/blobs/uploads/"),
                    ("PUT", "/manifests/"),
                    ("DELETE", "/manifests/"),
                    ("GET", "/token"),
                ] {
                    faults.push((method, path, Act::Answer(status, body)));
                }
            }
        }
        let signed = format!("https://user:{PASSWORD}@127.0.0.1/{secret}?sig={QUERY}");
        let elsewhere = format!("ftp://127.0.0.1/{secret}?X-Amz-Signature={QUERY}");
        let nowhere = format!("http://127.0.0.1:1/x/{secret}?sig={QUERY}");
        let realm = |url: &str| format!("Bearer realm=\"{url}\",service=\"{secret}\"");
        let header = |method, path, status, name, value: String| {
            (method, path, Act::AnswerWith(status, name, value, ""))
        };
        for url in [&signed, &elsewhere, &nowhere] {
            faults.extend([
                header("GET", "/tags/", 307, "location", url.clone()),
                header("POST", "/blobs/uploads/", 202, "location", url.clone()),
                header("POST", "/blobs/uploads/", 302, "location", url.clone()),
                header("PUT", "/blobs/uploads/", 307, "location", url.clone()),
                header("PUT", "/manifests/", 307, "location", url.clone()),
                header("GET", "/token", 307, "location", url.clone()),
                header("HEAD", "/manifests/", 401, "www-authenticate", realm(url)),
            ]);
        }
        let echo = format!("Bearer {secret} Basic {basic}");
        faults.extend([
            header("HEAD", "/manifests/", 401, "www-authenticate", realm(&echo)),
            header("GET", "/tags/", 400, "opc-request-id", echo.clone()),
            (
                "PUT",
                "/manifests/",
                Act::Header("docker-content-digest", echo.clone()),
            ),
            (
                "PUT",
                "/blobs/uploads/",
                Act::Header("docker-content-digest", echo.clone()),
            ),
            (
                "PUT",
                "/manifests/",
                Act::Header("warning", format!("299 - \"{echo}\"")),
            ),
        ]);
        for (method, path, act) in faults {
            let sign_in = match &credentials {
                Credentials::Token(_) => SignIn::Token,
                _ => SignIn::Bearer,
            };
            let fake = Fake::start(sign_in).await?;
            fake.accept(TOKEN);
            for _ in 0..4 {
                fake.fault(method, path, act.clone());
            }
            let client = client(&fake, credentials.clone())?;
            texts.push(format!("{client:?}"));
            let what = format!("{method} {path} {act:?}\n");
            match client.push(&push).await {
                Ok(pushed) => texts.push(format!("{pushed:?}")),
                Err(error) => texts.push(shown(&error)),
            }
            let results = [
                client.tags("ns/web").await.map(drop),
                client.head_manifest("ns/web", "1.0").await.map(drop),
                client.get_manifest("ns/web", "1.0").await.map(drop),
                client.delete_manifest("ns/web", &digest).await,
            ];
            texts.extend(
                results
                    .iter()
                    .filter_map(|result| result.as_ref().err().map(shown)),
            );
            for text in texts.drain(..) {
                assert!(!leaks(&text), "{what}{text}");
            }
        }
    }
    let lines = log.lines();
    assert!(lines.len() > 100, "{lines:?}");
    for line in &lines {
        assert!(!leaks(line), "{line}");
    }
    // The libraries were listened to as well.
    assert!(lines.iter().any(|line| line.starts_with("TRACE")));
    Ok(())
}

/// The test above would see a canary: the password in another place is shown.
#[tokio::test]
async fn other_words_are_shown() -> anyhow::Result<()> {
    let fake = Fake::start(SignIn::Open).await?;
    let body = r#"{"errors":[{"code":"DENIED","message":"no CANARY lives here"}]}"#;
    fake.fault("GET", "/tags/", Act::Answer(400, body));
    let error = client(&fake, passwords())?
        .tags("ns/web")
        .await
        .unwrap_err();
    assert!(leaks(&shown(&error)), "{error}");
    Ok(())
}
