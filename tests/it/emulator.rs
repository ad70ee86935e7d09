//! The emulator, seen by a client that shares no code with ours.

mod policy;
mod sign_in;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use expect_test::expect;
use ocir::emulator::{Emulator, Fault, Seed};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Somebody with an API key.
struct Person {
    http: reqwest::Client,
    url: String,
    seed: Seed,
    key: RsaKeyPair,
    key_id: String,
    /// Sent along, and signed.
    delegation_token: Option<String>,
}

/// What a request is signed with, for tests that sign it wrong.
struct Signing<'a> {
    key_id: String,
    date: SystemTime,
    leave_out: &'a [&'a str],
    body_for_digest: Option<&'a str>,
}

/// A status, headers and a body that is JSON or nothing.
struct Got {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Got {
    async fn from(response: Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| text.clone())?
        };
        Ok(Self {
            status,
            headers,
            body,
        })
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn text(&self, member: &str) -> String {
        self.body[member].as_str().unwrap_or_default().to_owned()
    }

    /// Status, code and message in a line, of both kinds of services.
    fn said(&self) -> String {
        let error = match &self.body["errors"][0] {
            Value::Null => &self.body,
            error => error,
        };
        match (error["code"].as_str(), error["message"].as_str()) {
            (Some(code), Some(message)) => format!("{} {code}: {message}", self.status),
            _ => self.status.to_string(),
        }
    }

    fn accepted(self) -> Result<Self> {
        ensure!((200..300).contains(&self.status), "{}", self.said());
        Ok(self)
    }
}

impl Person {
    fn of(emulator: &Emulator) -> Result<Self> {
        Self::new(
            emulator.url(),
            emulator.seed().clone(),
            reqwest::Client::new(),
        )
    }

    fn new(url: String, seed: Seed, http: reqwest::Client) -> Result<Self> {
        let Seed {
            tenancy_id,
            user_id,
            fingerprint,
            ..
        } = &seed;
        Ok(Self {
            key: private_key(&seed.private_key_pem)?,
            key_id: format!("{tenancy_id}/{user_id}/{fingerprint}"),
            delegation_token: None,
            http,
            url,
            seed,
        })
    }

    fn signing(&self) -> Signing<'static> {
        Signing {
            key_id: self.key_id.clone(),
            date: SystemTime::now(),
            leave_out: &[],
            body_for_digest: None,
        }
    }

    /// A signed request that was not sent yet.
    fn request(
        &self,
        signing: &Signing<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<RequestBuilder> {
        let authority = self.url.split("://").nth(1).context("no authority")?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let with_body = method == Method::POST || method == Method::PUT;
        let mut headers = vec![
            ("date", httpdate::fmt_http_date(signing.date)),
            (
                "(request-target)",
                format!("{} {path}", method.as_str().to_lowercase()),
            ),
            ("host", authority.to_owned()),
        ];
        if let Some(token) = &self.delegation_token {
            headers.push(("opc-obo-token", token.clone()));
        }
        if with_body {
            let hashed = signing.body_for_digest.unwrap_or(&body);
            headers.push(("content-length", body.len().to_string()));
            headers.push(("content-type", "application/json".into()));
            headers.push(("x-content-sha256", STANDARD.encode(Sha256::digest(hashed))));
        }
        let signed: Vec<_> = headers
            .iter()
            .filter(|(name, _)| !signing.leave_out.contains(name))
            .collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let lines: Vec<String> = signed
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            lines.join("\n").as_bytes(),
            &mut signature,
        )?;
        let mut request = self.http.request(method, format!("{}{path}", self.url)).header(
            "authorization",
            format!(
                r#"Signature algorithm="rsa-sha256",headers="{}",keyId="{}",signature="{}",version="1""#,
                names.join(" "),
                signing.key_id,
                STANDARD.encode(signature)
            ),
        );
        for (name, value) in headers {
            if !name.starts_with('(') && name != "host" && name != "content-length" {
                request = request.header(name, value);
            }
        }
        if with_body {
            request = request.body(body);
        }
        Ok(request)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Got> {
        let request = self.request(&self.signing(), method, path, body.as_ref())?;
        Got::from(request.send().await?).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        header: (&str, &str),
    ) -> Result<Got> {
        let request = self.request(&self.signing(), method, path, body.as_ref())?;
        Got::from(request.header(header.0, header.1).send().await?).await
    }

    async fn get(&self, path: &str) -> Result<Got> {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Got> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: Value) -> Result<Got> {
        self.send(Method::PUT, path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> Result<Got> {
        self.send(Method::DELETE, path, None).await
    }

    /// Creates a repository in `apps`, and says its OCID.
    async fn repository(&self, name: &str) -> Result<String> {
        let body = json!({ "compartmentId": self.seed.apps_compartment_id, "displayName": name });
        Ok(self.post(REPOSITORIES, body).await?.accepted()?.text("id"))
    }

    fn tokens(&self) -> String {
        format!("/20160918/users/{}/authTokens", self.seed.user_id)
    }

    /// A container tool that signed in with this person's key.
    async fn tool(&self) -> Result<Tool> {
        let token = self
            .get("/20180419/docker/token")
            .await?
            .accepted()?
            .text("token");
        Ok(self.tool_with(token))
    }

    fn tool_with(&self, token: String) -> Tool {
        Tool {
            http: self.http.clone(),
            url: self.url.clone(),
            namespace: self.seed.namespace.clone(),
            token,
        }
    }
}

const REPOSITORIES: &str = "/20160918/container/repositories";
const IMAGES: &str = "/20160918/container/images";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Something that pushes and pulls.
struct Tool {
    http: reqwest::Client,
    url: String,
    namespace: String,
    token: String,
}

impl Tool {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// Path of something in a repository.
    fn path(&self, repository: &str, rest: &str) -> String {
        format!("/v2/{}/{repository}/{rest}", self.namespace)
    }

    async fn send(&self, method: Method, path: &str) -> Result<Got> {
        Got::from(self.request(method, path).send().await?).await
    }

    /// Starts an upload and says where it goes on.
    async fn start(&self, repository: &str) -> Result<String> {
        let got = self
            .send(Method::POST, &self.path(repository, "blobs/uploads/"))
            .await?;
        ensure!(got.status == 202, "{}", got.said());
        Ok(got.header("location").to_owned())
    }

    async fn blob(&self, repository: &str, content: &[u8]) -> Result<Value> {
        let digest = digest(content);
        let location = self.start(repository).await?;
        let request = self.request(Method::PUT, &format!("{location}&digest={digest}"));
        let got = Got::from(request.body(content.to_vec()).send().await?).await?;
        ensure!(got.status == 201, "{}", got.said());
        Ok(
            json!({ "mediaType": "application/octet-stream", "digest": digest, "size": content.len() }),
        )
    }

    async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        manifest: &Value,
    ) -> Result<Got> {
        let request = self
            .request(
                Method::PUT,
                &self.path(repository, &format!("manifests/{reference}")),
            )
            .header("content-type", media_type)
            .body(manifest.to_string());
        Got::from(request.send().await?).await
    }

    /// Pushes an image of one layer, and says its digest.
    async fn push(&self, repository: &str, tag: &str, layer: &str) -> Result<String> {
        let manifest = image(
            self.blob(repository, b"{}").await?,
            vec![self.blob(repository, layer.as_bytes()).await?],
        );
        let got = self
            .put_manifest(repository, tag, OCI_MANIFEST, &manifest)
            .await?
            .accepted()?;
        let digest = digest(manifest.to_string().as_bytes());
        ensure!(got.header("docker-content-digest") == digest);
        Ok(digest)
    }
}

/// The key in a PKCS#8 file.
fn private_key(pem: &str) -> Result<RsaKeyPair> {
    let base64: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    Ok(RsaKeyPair::from_pkcs8(&STANDARD.decode(base64)?)?)
}

fn image(config: Value, layers: Vec<Value>) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers })
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

/// Keys of an object, in a line.
fn keys(value: &Value) -> String {
    let keys: Vec<&str> = value
        .as_object()
        .map(|members| members.keys().map(String::as_str).collect())
        .unwrap_or_default();
    keys.join(" ")
}

// ---------------------------------------------------------------- control plane

/// A repository goes through its life as the recorded calls of Oracle's CLI have it.
#[tokio::test]
async fn repository_life() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let seed = &person.seed;
    let created = person
        .post(
            REPOSITORIES,
            json!({
                "compartmentId": seed.apps_compartment_id, "displayName": "team/app",
                "isImmutable": false, "isPublic": true,
                "readme": { "content": "# hi", "format": "TEXT_MARKDOWN" },
                "freeformTags": { "Department": "Finance" },
                "definedTags": { "Ops": { "CostCenter": "42" } },
            }),
        )
        .await?;
    assert_eq!(created.status, 200);
    assert!(!created.header("etag").is_empty());
    expect!["billableSizeInGBs compartmentId createdBy definedTags displayName freeformTags id imageCount isImmutable isPublic layerCount layersSizeInBytes lifecycleState namespace readme systemTags timeCreated"]
        .assert_eq(&keys(&created.body));
    let id = created.text("id");
    assert!(id.starts_with(&format!(
        "ocid1.containerrepo.oc1.sa-saopaulo-1.0.{}.aaaaaaaa",
        seed.namespace
    )));
    let path = format!("{REPOSITORIES}/{id}");
    assert_eq!(person.get(&path).await?.body, created.body);

    let updated = person
        .put(&path, json!({ "isPublic": false, "freeformTags": {} }))
        .await?;
    assert_eq!(updated.body["isPublic"], json!(false));
    assert_eq!(updated.body["freeformTags"], json!({}));
    assert_eq!(updated.body["readme"], created.body["readme"]);
    assert_ne!(updated.header("etag"), created.header("etag"));

    let moved = person
        .post(
            &format!("{path}/actions/changeCompartment"),
            json!({ "compartmentId": seed.ops_compartment_id }),
        )
        .await?;
    assert_eq!((moved.status, moved.body), (204, Value::Null));
    let listed = person
        .get(&format!(
            "{REPOSITORIES}?compartmentId={}",
            seed.ops_compartment_id
        ))
        .await?;
    expect!["imageCount items layerCount layersSizeInBytes remainingItemsCount repositoryCount"]
        .assert_eq(&keys(&listed.body));
    expect!["billableSizeInGBs compartmentId definedTags displayName freeformTags id imageCount isPublic layerCount layersSizeInBytes lifecycleState namespace systemTags timeCreated"]
        .assert_eq(&keys(&listed.body["items"][0]));

    assert_eq!(person.delete(&path).await?.status, 204);
    expect!["404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found."]
        .assert_eq(&person.get(&path).await?.said());
    Ok(())
}

/// The namespace is a bare string, with and without a slash at the path's end.
#[tokio::test]
async fn namespace() -> Result<()> {
    let emulator = Emulator::builder().namespace("mine").start().await?;
    let person = Person::of(&emulator)?;
    for path in [
        "/n",
        "/n/",
        &format!("/n?compartmentId={}", person.seed.apps_compartment_id),
    ] {
        assert_eq!(person.get(path).await?.body, json!("mine"), "{path}");
    }
    assert_eq!(person.get("/n/mine").await?.text("namespace"), "mine");
    assert_eq!(person.get("/n?compartmentId=nobody").await?.status, 404);
    Ok(())
}

/// Whatever is wrong with a signature, the answer is 401, and nothing happens.
#[tokio::test]
async fn signatures() -> Result<()> {
    const MISSING: &str = "401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.";
    const UNVERIFIED: &str = "401 NotAuthenticated: Failed to verify the HTTP(S) Signature";
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let body = json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": "web" });
    let cases: [(&str, Signing<'_>); 6] = [
        (
            MISSING,
            Signing {
                key_id: "a/b/c".into(),
                ..person.signing()
            },
        ),
        (
            MISSING,
            Signing {
                leave_out: &["host"],
                ..person.signing()
            },
        ),
        (
            MISSING,
            Signing {
                leave_out: &["(request-target)"],
                ..person.signing()
            },
        ),
        (
            MISSING,
            Signing {
                leave_out: &["x-content-sha256"],
                ..person.signing()
            },
        ),
        (
            MISSING,
            Signing {
                leave_out: &["content-length"],
                ..person.signing()
            },
        ),
        (
            UNVERIFIED,
            Signing {
                body_for_digest: Some("another body"),
                ..person.signing()
            },
        ),
    ];
    for (expected, signing) in cases {
        let request = person.request(&signing, Method::POST, REPOSITORIES, Some(&body))?;
        assert_eq!(
            Got::from(request.send().await?).await?.said(),
            expected,
            "{:?}",
            signing.leave_out
        );
    }

    // Signed for one path, sent to another.
    let request = person
        .request(&person.signing(), Method::GET, "/n", None)?
        .build()?;
    let moved = person
        .http
        .get(format!("{}/n/", person.url))
        .headers(request.headers().clone());
    assert_eq!(Got::from(moved.send().await?).await?.said(), UNVERIFIED);

    let unsigned = person.http.get(format!("{}/n", person.url)).send().await?;
    assert_eq!(Got::from(unsigned).await?.said(), MISSING);

    for seconds in [-600i64, 600] {
        emulator.skew_clock(seconds);
        let got = person.post(REPOSITORIES, body.clone()).await?;
        assert_eq!(got.status, 401);
        assert!(
            got.said().contains("is not within allowed clock skew"),
            "{}",
            got.said()
        );
    }
    emulator.skew_clock(200);
    assert_eq!(person.get("/n").await?.status, 200);
    assert!(emulator.repositories().is_empty());
    Ok(())
}

/// What the API does not know is refused instead of ignored.
#[tokio::test]
async fn strictness() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let compartment = person.seed.apps_compartment_id.clone();
    let list = format!("{REPOSITORIES}?compartmentId={compartment}");
    let mut said = String::new();
    for path in [
        REPOSITORIES.to_owned(),
        format!("{list}&colour=red"),
        format!("{list}&limit=0"),
        format!("{list}&limit=1001"),
        format!("{list}&isPublic=yes"),
        format!("{list}&sortBy=SIZE"),
        format!("{list}&sortOrder=UP"),
        format!("{list}&page=2"),
        format!("{list}&compartmentIdInSubtree=true"),
        format!("{REPOSITORIES}?compartmentId=nobody"),
        "/20160918/container/nothing".to_owned(),
    ] {
        said.push_str(&person.get(&path).await?.said());
        said.push('\n');
    }
    expect![[r#"
        400 MissingParameter: Missing required parameter: compartmentId
        400 InvalidParameter: Unknown query parameter: colour
        400 InvalidParameter: limit must be between 1 and 1000, not '0'
        400 InvalidParameter: limit must be between 1 and 1000, not '1001'
        400 InvalidParameter: isPublic must be true or false, not 'yes'
        400 InvalidParameter: Unknown sortBy: SIZE
        400 InvalidParameter: Unknown sortOrder: UP
        400 InvalidParameter: The page token does not belong to this request
        400 InvalidParameter: compartmentIdInSubtree may be true only when compartmentId is the tenancy
        404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.
        404 NotFound: No such operation: GET /20160918/container/nothing
    "#]]
    .assert_eq(&said);

    let mut said = String::new();
    for body in [
        json!([]),
        json!({ "displayName": "a" }),
        json!({ "compartmentId": compartment }),
        json!({ "compartmentId": "nobody", "displayName": "a" }),
        json!({ "compartmentId": compartment, "displayName": "A b" }),
        json!({ "compartmentId": compartment, "displayName": 7 }),
        json!({ "compartmentId": compartment, "displayName": "a", "color": "red" }),
        json!({ "compartmentId": compartment, "displayName": "a", "isPublic": "true" }),
        json!({ "compartmentId": compartment, "displayName": "a", "isImmutable": true }),
        json!({ "compartmentId": compartment, "displayName": "a", "readme": { "content": "x" } }),
        json!({ "compartmentId": compartment, "displayName": "a", "readme": { "content": "x", "format": "HTML" } }),
        json!({ "compartmentId": compartment, "displayName": "a", "freeformTags": { "a.b": "c" } }),
        json!({ "compartmentId": compartment, "displayName": "a", "definedTags": { "a": "b" } }),
    ] {
        said.push_str(&person.post(REPOSITORIES, body).await?.said());
        said.push('\n');
    }
    expect![[r#"
        400 CannotParseRequest: The request's body must be a JSON object
        400 MissingParameter: Missing required parameter: compartmentId
        400 MissingParameter: Missing required parameter: displayName
        404 NotAuthorizedOrNotFound: Authorization failed or requested resource not found.
        400 InvalidParameter: Invalid repository name: 'A b'
        400 InvalidParameter: displayName must be a string
        400 InvalidParameter: Unknown member: color
        400 InvalidParameter: isPublic must be true or false
        400 BAD_REQUEST: Setting isImmutable is not currently supported
        400 MissingParameter: Missing required parameter: format
        400 InvalidParameter: Unknown readme format: HTML
        400 InvalidParameter: Invalid tag key: 'a.b'
        400 InvalidParameter: definedTags must be a map of maps
    "#]]
    .assert_eq(&said);

    let id = person.repository("web").await?;
    let renamed = person
        .put(
            &format!("{REPOSITORIES}/{id}"),
            json!({ "displayName": "new" }),
        )
        .await?;
    expect!["400 InvalidParameter: Unknown member: displayName"].assert_eq(&renamed.said());
    expect!["409 NAMESPACE_CONFLICT: Repository already exists"].assert_eq(
        &person
            .post(
                REPOSITORIES,
                json!({ "compartmentId": person.seed.ops_compartment_id, "displayName": "web" }),
            )
            .await?
            .said(),
    );
    expect!["405 MethodNotAllowed: DELETE is not allowed for /n"]
        .assert_eq(&person.delete("/n").await?.said());
    assert_eq!(emulator.repositories().len(), 1);
    Ok(())
}

/// A retry token repeats the first answer, but not for another body, and not after the object is gone.
#[tokio::test]
async fn retry_tokens() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let body = |name: &str| json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": name });
    let header = ("opc-retry-token", "once");
    let create = |name| person.send_with(Method::POST, REPOSITORIES, Some(body(name)), header);

    let first = create("web").await?;
    let second = create("web").await?;
    assert_eq!((second.status, &second.body), (200, &first.body));
    assert_eq!(second.header("etag"), first.header("etag"));
    assert_eq!(emulator.repositories().len(), 1);

    expect!["409 InvalidatedRetryToken: The provided retry token was used in an earlier request that was not the same."]
        .assert_eq(&create("other").await?.said());

    person
        .delete(&format!("{REPOSITORIES}/{}", first.text("id")))
        .await?
        .accepted()?;
    expect!["409 InvalidatedRetryToken: The provided retry token was used in an earlier request that resulted in a system update, but a subsequent operation invalidated the token."]
        .assert_eq(&create("web").await?.said());

    // A day later it is a token like any other.
    emulator.skew_clock(24 * 60 * 60);
    let later = Signing {
        date: SystemTime::now() + Duration::from_secs(24 * 60 * 60),
        ..person.signing()
    };
    let request = person.request(&later, Method::POST, REPOSITORIES, Some(&body("web")))?;
    let got = Got::from(request.header(header.0, header.1).send().await?).await?;
    assert_eq!(got.status, 200);

    let tokens: Vec<_> = emulator
        .requests()
        .into_iter()
        .map(|request| request.retry_token)
        .collect();
    assert_eq!(tokens.iter().flatten().count(), 5);
    Ok(())
}

/// A stale entity tag changes nothing, the current one does.
#[tokio::test]
async fn entity_tags() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let path = format!("{REPOSITORIES}/{}", person.repository("web").await?);
    let etag = person.get(&path).await?.header("etag").to_owned();
    let change = Some(json!({ "isPublic": true }));

    let stale = person
        .send_with(Method::PUT, &path, change.clone(), ("if-match", "old"))
        .await?;
    expect![
        "412 NoEtagMatch: The provided If-Match did not match the current etag of the resource."
    ]
    .assert_eq(&stale.said());
    assert_eq!(
        person
            .send_with(Method::PUT, &path, change, ("if-match", &etag))
            .await?
            .status,
        200
    );
    assert_eq!(
        person
            .send_with(Method::DELETE, &path, None, ("if-match", &etag))
            .await?
            .status,
        412
    );

    let etag = person.get(&path).await?.header("etag").to_owned();
    emulator.edit_repository("web", json!({ "isPublic": false }));
    assert_ne!(person.get(&path).await?.header("etag"), etag);
    Ok(())
}

/// Lists come in pages, sorted as asked, also when something vanishes between two pages.
#[tokio::test]
async fn pages() -> Result<()> {
    let emulator = Emulator::builder().page_size(2).start().await?;
    let person = Person::of(&emulator)?;
    for name in ["c", "a", "e", "b", "d"] {
        person.repository(name).await?;
    }
    let all = async |query: &str, between: &dyn Fn()| {
        let mut names = Vec::new();
        let mut page = String::new();
        loop {
            let got = person
                .get(&format!(
                    "{REPOSITORIES}?compartmentId={}{query}{page}",
                    person.seed.tenancy_id
                ))
                .await?
                .accepted()?;
            let items = got.body["items"].as_array().context("no items")?;
            ensure!(items.len() <= 2);
            names.extend(
                items
                    .iter()
                    .filter_map(|item| item["displayName"].as_str())
                    .map(str::to_owned),
            );
            match got.header("opc-next-page") {
                "" => return Ok(names.concat()),
                next => page = format!("&page={next}"),
            }
            between();
        }
    };
    let subtree = "&compartmentIdInSubtree=true";
    assert_eq!(all("", &|| ()).await?, "", "nothing is in the root itself");
    assert_eq!(all(subtree, &|| ()).await?, "dbeac");
    assert_eq!(
        all(
            &format!("{subtree}&sortBy=TIMECREATED&sortOrder=ASC"),
            &|| ()
        )
        .await?,
        "caebd"
    );
    assert_eq!(
        all(&format!("{subtree}&sortBy=DISPLAYNAME"), &|| ()).await?,
        "abcde"
    );
    assert_eq!(
        all(
            &format!("{subtree}&sortBy=DISPLAYNAME&sortOrder=DESC"),
            &|| ()
        )
        .await?,
        "edcba"
    );
    assert_eq!(all(&format!("{subtree}&displayName=b"), &|| ()).await?, "b");
    let remove_first = || {
        if emulator.repositories().len() == 5 {
            emulator.remove_repository("a");
        }
    };
    assert_eq!(
        all(&format!("{subtree}&sortBy=DISPLAYNAME"), &remove_first).await?,
        "abcde"
    );

    // A page of one question is no page of another.
    let got = person
        .get(&format!(
            "{REPOSITORIES}?compartmentId={}{subtree}",
            person.seed.tenancy_id
        ))
        .await?;
    assert_eq!(got.body["repositoryCount"], json!(4));
    assert_eq!(got.body["remainingItemsCount"], json!(2));
    let other = format!(
        "{REPOSITORIES}?compartmentId={}&page={}",
        person.seed.tenancy_id,
        got.header("opc-next-page")
    );
    assert_eq!(person.get(&other).await?.status, 400);
    Ok(())
}

/// Two tokens and no third; the password is told once; another region sends the caller home.
#[tokio::test]
async fn auth_tokens() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let tokens = person.tokens();
    let first = person.post(&tokens, json!({ "description": "ci" })).await?;
    expect!["description id inactiveStatus lifecycleState timeCreated timeExpires token userId"]
        .assert_eq(&keys(&first.body));
    assert!(first.text("token").contains(['(', ')', ';', '<', '>', '&']));
    person
        .post(&tokens, json!({ "description": "" }))
        .await?
        .accepted()?;
    expect!["409 UserCapacityExceeded: The user already has the maximum number of 2 auth tokens"]
        .assert_eq(
            &person
                .post(&tokens, json!({ "description": "third" }))
                .await?
                .said(),
        );
    expect!["400 MissingParameter: Missing required parameter: description"]
        .assert_eq(&person.post(&tokens, json!({})).await?.said());

    let listed = person.get(&tokens).await?;
    assert_eq!(listed.body.as_array().map(Vec::len), Some(2));
    assert_eq!(listed.body[0]["token"], Value::Null);
    assert_eq!(listed.body[0]["id"], first.body["id"]);

    let path = format!("{tokens}/{}", first.text("id"));
    let updated = person.put(&path, json!({ "description": "new" })).await?;
    assert_eq!(
        (updated.text("description"), &updated.body["token"]),
        ("new".into(), &Value::Null)
    );

    let elsewhere = format!("/~us-ashburn-1{tokens}");
    assert_eq!(
        person.get(&elsewhere).await?.body.as_array().map(Vec::len),
        Some(2)
    );
    expect!["403 NotAllowed: Please go to your home region GRU to execute CREATE, UPDATE and DELETE operations."]
        .assert_eq(&person.post(&elsewhere, json!({ "description": "x" })).await?.said());
    assert_eq!(person.delete(&format!("/~iad{path}")).await?.status, 403);

    assert_eq!(person.delete(&path).await?.status, 204);
    assert_eq!(person.delete(&path).await?.status, 404);
    assert_eq!(
        person
            .get("/20160918/users/nobody/authTokens")
            .await?
            .status,
        404
    );
    assert_eq!(emulator.auth_tokens().len(), 1);
    Ok(())
}

/// Reading the user, the tenancy and its regions: the home region is found in two ways.
#[tokio::test]
async fn identity() -> Result<()> {
    let emulator = Emulator::builder().region("eu-frankfurt-1").start().await?;
    let person = Person::of(&emulator)?;
    let Seed {
        user_id,
        tenancy_id,
        ..
    } = &person.seed;
    let user = person.get(&format!("/20160918/users/{user_id}")).await?;
    assert_eq!(user.text("name"), "docker@example.com");
    let users = person
        .get(&format!(
            "/20160918/users?compartmentId={tenancy_id}&name=docker%40example.com"
        ))
        .await?;
    assert_eq!(users.body[0], user.body);
    let keys = person
        .get(&format!("/20160918/users/{user_id}/apiKeys"))
        .await?;
    assert_eq!(keys.body[0]["fingerprint"], person.seed.fingerprint);
    let others = person.get("/20160918/users/nobody/apiKeys").await?;
    assert_eq!(others.status, 404);
    let tenancy = person
        .get(&format!("/20160918/tenancies/{tenancy_id}"))
        .await?;
    assert_eq!(tenancy.text("homeRegionKey"), "FRA");
    let regions = person
        .get(&format!(
            "/20160918/tenancies/{tenancy_id}/regionSubscriptions"
        ))
        .await?;
    let home: Vec<&Value> = regions
        .body
        .as_array()
        .context("no list")?
        .iter()
        .filter(|region| region["isHomeRegion"] == json!(true))
        .collect();
    assert_eq!(
        home,
        [
            &json!({ "regionKey": "FRA", "regionName": "eu-frankfurt-1", "status": "READY", "isHomeRegion": true })
        ]
    );
    let compartments = person
        .get(&format!(
            "/20160918/compartments?compartmentId={tenancy_id}&sortBy=NAME"
        ))
        .await?;
    let names: Vec<_> = compartments
        .body
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| item["name"].clone())
        .collect();
    assert_eq!(names, ["apps", "ops"]);
    Ok(())
}

/// Each region has repositories of its own; the configuration too.
#[tokio::test]
async fn regions_are_apart() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let body = json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": "web" });
    let home = person.repository("web").await?;
    let away = person
        .post(&format!("/~us-phoenix-1{REPOSITORIES}"), body)
        .await?
        .accepted()?;
    assert!(
        away.text("id").contains(".us-phoenix-1."),
        "{}",
        away.text("id")
    );
    assert_eq!(
        person
            .get(&format!("/~us-phoenix-1{REPOSITORIES}/{home}"))
            .await?
            .status,
        404
    );

    let configuration = format!(
        "/20160918/container/configuration?compartmentId={}",
        person.seed.tenancy_id
    );
    let on = json!({ "isRepositoryCreatedOnFirstPush": true });
    person
        .put(&format!("/~us-phoenix-1{configuration}"), on)
        .await?
        .accepted()?;
    assert_eq!(
        person.get(&configuration).await?.body,
        json!({ "isRepositoryCreatedOnFirstPush": false, "namespace": person.seed.namespace })
    );
    Ok(())
}

/// A request id of the client comes back as the first part of the answer's.
#[tokio::test]
async fn request_ids() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let got = person
        .send_with(Method::GET, "/n", None, ("opc-request-id", "ABC"))
        .await?;
    let id = got.header("opc-request-id");
    assert!(id.starts_with("ABC/") && id.split('/').count() == 3, "{id}");
    assert!(!person.get("/n").await?.header("opc-request-id").is_empty());
    Ok(())
}

/// Tag defaults of a tenancy show up in what was created, when switched on.
#[tokio::test]
async fn oracle_tags() -> Result<()> {
    let emulator = Emulator::builder().oracle_tags().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let repository = emulator.repositories().remove(0);
    assert_eq!(
        repository["definedTags"]["Oracle-Tags"]["CreatedBy"],
        json!("default/docker@example.com")
    );
    Ok(())
}

/// A tag default adds its tag to what is created without it, and to nothing else.
#[tokio::test]
async fn tag_defaults() -> Result<()> {
    let emulator = Emulator::builder()
        .tag_default("Finance", "Cost", "none")
        .start()
        .await?;
    let person = Person::of(&emulator)?;
    let id = person.repository("web").await?;
    let path = format!("{REPOSITORIES}/{id}");
    let made = person.get(&path).await?.body;
    assert_eq!(
        made["definedTags"],
        json!({ "Finance": { "Cost": "none" } })
    );
    let cleared = person.put(&path, json!({ "definedTags": {} })).await?;
    assert_eq!(cleared.body["definedTags"], json!({}));

    let own = json!({ "Finance": { "Cost": "42" }, "Ops": { "Owner": "ana" } });
    let body = json!({
        "compartmentId": person.seed.apps_compartment_id,
        "displayName": "api",
        "definedTags": own,
    });
    let made = person.post(REPOSITORIES, body).await?.accepted()?;
    assert_eq!(made.body["definedTags"], own);
    Ok(())
}

/// A deletion that takes its time: the repository is seen as `DELETING`, holds nothing,
/// keeps its name, and is gone when the time is over.
#[tokio::test]
async fn slow_deletion() -> Result<()> {
    let emulator = Emulator::builder()
        .deletion_delay(Duration::from_secs(60))
        .start()
        .await?;
    let person = Person::of(&emulator)?;
    let id = person.repository("web").await?;
    let tool = person.tool().await?;
    tool.push("web", "1.0", "layer").await?;
    let path = format!("{REPOSITORIES}/{id}");
    assert_eq!(person.delete(&path).await?.status, 204);

    let leaving = person.get(&path).await?.body;
    assert_eq!(leaving["lifecycleState"], json!("DELETING"));
    assert_eq!(leaving["imageCount"], json!(0));
    let manifest = tool.path("web", "manifests/1.0");
    assert_eq!(tool.send(Method::GET, &manifest).await?.status, 404);
    for refused in [
        person.delete(&path).await?,
        person.put(&path, json!({ "isPublic": true })).await?,
    ] {
        assert_eq!(refused.status, 404);
    }
    let body = json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": "web" });
    let taken = person.post(REPOSITORIES, body).await?;
    assert_eq!(taken.text("code"), "NAMESPACE_CONFLICT");
    let list = format!(
        "{REPOSITORIES}?compartmentId={}",
        person.seed.apps_compartment_id
    );
    let listed = person.get(&list).await?;
    assert_eq!(listed.body["items"][0]["lifecycleState"], json!("DELETING"));

    emulator.skew_clock(61);
    assert_eq!(person.get(&list).await?.body["items"], json!([]));
    assert_eq!(person.get(&path).await?.status, 404);
    assert!(emulator.repositories().is_empty());
    let again = person.repository("web").await?;
    assert_ne!(again, id);
    Ok(())
}

// ---------------------------------------------------------------- token endpoint

/// A signature that fails gives an anonymous token, not a refusal; a password that fails is refused.
#[tokio::test]
async fn registry_tokens() -> Result<()> {
    let emulator = Emulator::builder()
        .token_delay(Duration::from_secs(60))
        .start()
        .await?;
    let person = Person::of(&emulator)?;
    let owner = |got: &Got| -> Result<String> {
        let token = got.text("token");
        let payload = token.split('.').nth(1).context("no payload")?;
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload)?;
        let payload: Value = serde_json::from_slice(&payload)?;
        let subject: Value = serde_json::from_str(payload["sub"].as_str().context("no subject")?)?;
        Ok(subject["userId"].as_str().context("no user")?.to_owned())
    };
    let path = "/20180419/docker/token?service=x&scope=repository%3Ans%2Fweb%3Apull%2Cpush";
    let signed = person.get(path).await?;
    expect!["access_token expires_in scope token"].assert_eq(&keys(&signed.body));
    assert_eq!(signed.body["expires_in"], json!(3600));
    assert_eq!(owner(&signed)?, person.seed.user_id);

    let wrong = Signing {
        key_id: "a/b/c".into(),
        ..person.signing()
    };
    let got = Got::from(
        person
            .request(&wrong, Method::GET, path, None)?
            .send()
            .await?,
    )
    .await?;
    assert_eq!(got.status, 200);
    assert!(owner(&got)?.starts_with("anon-"));
    let got = Got::from(
        person
            .http
            .get(format!("{}{path}", person.url))
            .send()
            .await?,
    )
    .await?;
    assert!(owner(&got)?.starts_with("anon-"));

    let log_in = async |user: String, password: &str| {
        let request = person
            .http
            .get(format!("{}{path}", person.url))
            .basic_auth(user, Some(password));
        Got::from(request.send().await?).await
    };
    let user = format!("{}/docker@example.com", person.seed.namespace);
    let created = person
        .post(&person.tokens(), json!({ "description": "docker" }))
        .await?
        .accepted()?;
    let password = created.text("token");
    expect!["401 UNAUTHORIZED: Unauthorized"]
        .assert_eq(&log_in(user.clone(), "wrong").await?.said());
    expect!["401 UNAUTHORIZED: Unauthorized"]
        .assert_eq(&log_in(user.clone(), &password).await?.said());
    emulator.skew_clock(61);
    assert_eq!(
        owner(&log_in(user.clone(), &password).await?)?,
        person.seed.user_id
    );
    emulator.edit_auth_token(&created.text("id"), json!({ "lifecycleState": "INACTIVE" }));
    assert_eq!(log_in(user.clone(), &password).await?.status, 401);
    assert_eq!(
        log_in("nobody/docker@example.com".into(), &password)
            .await?
            .said(),
        "401 NAME_UNKNOWN: Tenant with name nobody not found"
    );
    assert_eq!(
        owner(&log_in("BEARER_TOKEN".into(), &signed.text("token")).await?)?,
        person.seed.user_id
    );
    emulator.skew_clock(3601);
    assert_eq!(
        log_in("BEARER_TOKEN".into(), &signed.text("token"))
            .await?
            .status,
        401
    );
    emulator.skew_clock(0);

    expect!["400 UNSUPPORTED: Unsupported action in scope: repository:ns/web:pull,delete"]
        .assert_eq(
            &person
                .get("/20180419/docker/token?scope=repository%3Ans%2Fweb%3Apull%2Cdelete")
                .await?
                .said(),
        );
    expect!["400 UNSUPPORTED: Unsupported scope: registry:catalog:*"].assert_eq(
        &person
            .get("/20180419/docker/token?scope=registry%3Acatalog%3A%2A")
            .await?
            .said(),
    );
    expect!["403 DENIED: Forbidden"].assert_eq(
        &person
            .post("/20180419/docker/token", json!({}))
            .await?
            .said(),
    );
    Ok(())
}

/// Without a token the registry says where to get one; an expired one is no token.
#[tokio::test]
async fn challenge() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let tool = person.tool().await?;
    assert_eq!(tool.send(Method::GET, "/v2/").await?.status, 200);

    emulator.skew_clock(3601);
    let got = tool.send(Method::GET, "/v2/").await?;
    let (url, authority) = (emulator.url(), emulator.authority());
    assert_eq!(got.status, 401);
    assert_eq!(
        got.header("www-authenticate"),
        format!(r#"Bearer realm="{url}/20180419/docker/token",service="{authority}",scope="""#)
    );
    let got = tool.send(Method::GET, "/~us-phoenix-1/v2/").await?;
    assert!(
        got.header("www-authenticate")
            .contains("/~us-phoenix-1/20180419/docker/token")
    );
    Ok(())
}

// ---------------------------------------------------------------- registry

/// A push shows in the control plane, a pull gets the same bytes, a deleted repository takes its images along.
#[tokio::test]
async fn push_and_pull() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let id = person.repository("team/web").await?;
    let tool = person.tool().await?;
    let digest = tool.push("team/web", "1.0", "layer").await?;

    let repository = person.get(&format!("{REPOSITORIES}/{id}")).await?;
    assert_eq!(
        [
            "imageCount",
            "layerCount",
            "layersSizeInBytes",
            "billableSizeInGBs"
        ]
        .map(|member| repository.body[member].clone()),
        [json!(1), json!(1), json!(5), json!(1)]
    );
    assert!(repository.body["timeLastPushed"].is_string());

    let images = person
        .get(&format!(
            "{IMAGES}?compartmentId={}",
            person.seed.apps_compartment_id
        ))
        .await?;
    expect!["compartmentId definedTags digest displayName freeformTags id lifecycleState repositoryId repositoryName systemTags timeCreated version"]
        .assert_eq(&keys(&images.body["items"][0]));
    let image_id = images.body["items"][0]["id"]
        .as_str()
        .context("no id")?
        .to_owned();

    let pulled = tool
        .request(Method::GET, &tool.path("team/web", "manifests/1.0"))
        .send()
        .await?;
    assert_eq!(pulled.headers()["docker-content-digest"], digest.as_str());
    assert_eq!(pulled.headers()["content-type"], OCI_MANIFEST);
    assert_eq!(self::digest(&pulled.bytes().await?), digest);
    let head = tool
        .send(
            Method::HEAD,
            &tool.path("team/web", &format!("manifests/{digest}")),
        )
        .await?;
    assert_eq!(
        (head.status, head.header("docker-content-digest")),
        (200, digest.as_str())
    );
    assert_ne!(head.header("content-length"), "0");

    let image = person.get(&format!("{IMAGES}/{image_id}")).await?;
    expect!["compartmentId createdBy definedTags digest displayName freeformTags id layers layersSizeInBytes lifecycleState manifestSizeInBytes pullCount repositoryId repositoryName systemTags timeCreated timeLastPulled version versions"]
        .assert_eq(&keys(&image.body));
    assert_eq!(image.text("displayName"), "team/web:1.0");
    assert_eq!(image.body["pullCount"], json!(1));
    assert_eq!(image.body["layers"][0]["sizeInBytes"], json!(5));
    assert_eq!(image.body["versions"][0]["version"], json!("1.0"));

    let layer = self::digest(b"layer");
    let blob = tool.path("team/web", &format!("blobs/{layer}"));
    let part = tool
        .request(Method::GET, &blob)
        .header("range", "bytes=1-3")
        .send()
        .await?;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 1-3/5");
    assert_eq!(part.text().await?, "aye");
    assert_eq!(
        tool.request(Method::GET, &blob)
            .header("range", "bytes=9-")
            .send()
            .await?
            .status(),
        416
    );
    assert_eq!(
        tool.send(Method::HEAD, &blob)
            .await?
            .header("content-length"),
        "5"
    );
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("team/web", &format!("blobs/{}", self::digest(b"?")))
        )
        .await?
        .status,
        404
    );

    person
        .delete(&format!("{REPOSITORIES}/{id}"))
        .await?
        .accepted()?;
    assert_eq!(
        person.get(&format!("{IMAGES}/{image_id}")).await?.status,
        404
    );
    expect![[r#"404 NAME_UNKNOWN"#]].assert_eq(
        tool.send(Method::GET, &tool.path("team/web", "manifests/1.0"))
            .await?
            .said()
            .split(':')
            .next()
            .unwrap_or_default(),
    );
    Ok(())
}

/// Chunks come in order; one that does not, or that breaks off, leaves the upload as it was.
#[tokio::test]
async fn chunks() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let location = tool.start("web").await?;
    let chunk = async |range: &str, content: &str| {
        let request = tool
            .request(Method::PATCH, &location)
            .header("content-range", range)
            .body(content.to_owned());
        Got::from(request.send().await?).await
    };
    let first = chunk("0-4", "abcde").await?;
    assert_eq!((first.status, first.header("range")), (202, "0-4"));
    let gap = chunk("6-7", "gh").await?;
    assert_eq!((gap.status, gap.header("range")), (416, "0-4"));
    assert_eq!(chunk("5-9", "f").await?.status, 400);

    emulator.fail_next("PatchBlobUpload", Fault::cut(2));
    assert!(chunk("5-9", "xxxxx").await.is_err());
    let status = tool.send(Method::GET, &location).await?;
    assert_eq!((status.status, status.header("range")), (204, "0-4"));

    assert_eq!(chunk("5-6", "fg").await?.status, 202);
    let whole = digest(b"abcdefghi");
    let request = tool
        .request(Method::PUT, &format!("{location}&digest={whole}"))
        .header("content-range", "7-8")
        .body("hi");
    let done = Got::from(request.send().await?).await?;
    assert_eq!(
        (done.status, done.header("docker-content-digest")),
        (201, whole.as_str())
    );
    let blob = tool
        .request(Method::GET, done.header("location"))
        .send()
        .await?;
    assert_eq!(blob.text().await?, "abcdefghi");
    assert_eq!(tool.send(Method::GET, &location).await?.status, 404);

    let location = tool.start("web").await?;
    assert_eq!(tool.send(Method::DELETE, &location).await?.status, 204);
    assert_eq!(
        tool.send(Method::GET, &location).await?.said(),
        "404 BLOB_UPLOAD_UNKNOWN: Blob upload unknown to registry"
    );
    Ok(())
}

/// An upload whose client vanished in the middle goes on with another request, from where it was.
#[tokio::test]
async fn vanished_client() -> Result<()> {
    use tokio::io::AsyncWriteExt as _;

    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let location = tool.start("web").await?;
    let content = vec![7u8; 3 << 20];
    let digest = digest(&content);
    let mut socket = tokio::net::TcpStream::connect(emulator.authority()).await?;
    let head = format!(
        "PUT {location}&digest={digest} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        emulator.authority(),
        tool.token,
        content.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(&content[..1 << 20]).await?;
    drop(socket);

    let request = tool
        .request(Method::PUT, &format!("{location}&digest={digest}"))
        .body(content);
    assert_eq!(Got::from(request.send().await?).await?.status, 201);
    Ok(())
}

/// One request may carry a whole blob; a wrong digest is refused in every form of an upload.
#[tokio::test]
async fn one_request() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let right = tool.path("web", &format!("blobs/uploads/?digest={}", digest(b"x")));
    let put = async |path: &str| {
        Got::from(tool.request(Method::POST, path).body("x").send().await?).await
    };
    assert_eq!(put(&right).await?.status, 201);
    let wrong = tool.path("web", &format!("blobs/uploads/?digest={}", digest(b"y")));
    assert!(
        put(&wrong)
            .await?
            .said()
            .starts_with("400 DIGEST_INVALID: Provided digest sha256:")
    );
    let other = tool.path("web", "blobs/uploads/?digest=sha512:00");
    expect!["400 DIGEST_INVALID: Invalid digest: sha512:00"].assert_eq(&put(&other).await?.said());
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("web", &format!("blobs/{}", digest(b"y")))
        )
        .await?
        .status,
        404
    );
    Ok(())
}

/// A blob of another repository is mounted; one that is nowhere becomes an upload.
#[tokio::test]
async fn mounts() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("a").await?;
    person.repository("b").await?;
    let tool = person.tool().await?;
    tool.blob("a", b"x").await?;
    let mount = async |digest: String, from: &str| {
        let path = tool.path("b", &format!("blobs/uploads/?mount={digest}&from={from}"));
        tool.send(Method::POST, &path).await
    };
    let source = format!("{}/a", tool.namespace);
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("b", &format!("blobs/{}", digest(b"x")))
        )
        .await?
        .status,
        404
    );
    assert_eq!(mount(digest(b"x"), &source).await?.status, 201);
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("b", &format!("blobs/{}", digest(b"x")))
        )
        .await?
        .status,
        200
    );
    assert_eq!(mount(digest(b"y"), &source).await?.status, 202);
    let elsewhere = mount(digest(b"x"), "other/a").await?;
    assert_eq!(elsewhere.status, 202);
    assert!(elsewhere.header("location").contains("/blobs/uploads/"));
    Ok(())
}

/// A manifest is refused when something it names is missing or another size, or when it is not what it says.
#[tokio::test]
async fn manifests_are_checked() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let config = tool.blob("web", b"{}").await?;
    let layer = tool.blob("web", b"layer").await?;
    let good = image(config.clone(), vec![layer.clone()]);
    let absent = json!({ "digest": digest(b"?"), "size": 1 });
    let mut longer = layer.clone();
    longer["size"] = json!(6);
    let mut said = String::new();
    for (reference, media_type, manifest) in [
        (
            "1",
            OCI_MANIFEST,
            image(config.clone(), vec![absent.clone()]),
        ),
        ("1", OCI_MANIFEST, image(config.clone(), vec![longer])),
        ("1", OCI_INDEX, good.clone()),
        ("1", OCI_MANIFEST, json!({ "schemaVersion": 1 })),
        (
            "1",
            OCI_MANIFEST,
            json!({ "schemaVersion": 2, "config": config }),
        ),
        (
            "1",
            OCI_INDEX,
            json!({ "schemaVersion": 2, "manifests": [absent] }),
        ),
        (&digest(b"?"), OCI_MANIFEST, good.clone()),
        ("-1", OCI_MANIFEST, good.clone()),
    ] {
        let got = tool
            .put_manifest("web", reference, media_type, &manifest)
            .await?;
        said.push_str(&got.said());
        said.push('\n');
    }
    expect![[r#"
        400 MANIFEST_BLOB_UNKNOWN: Manifest references a manifest or blob unknown to registry: sha256:8a8de823d5ed3e12746a62ef169bcf372be0ca44f0a1236abc35df05d96928e1
        400 MANIFEST_INVALID: Manifest invalid: sha256:dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85 has 5 bytes, not 6
        400 MANIFEST_INVALID: Manifest invalid: Content-Type is application/vnd.oci.image.index.v1+json, but mediaType is "application/vnd.oci.image.manifest.v1+json"
        400 MANIFEST_INVALID: Manifest invalid: schemaVersion must be 2
        400 MANIFEST_INVALID: Manifest invalid: a list of descriptors is missing
        404 MANIFEST_UNKNOWN: Manifest sha256:8a8de823d5ed3e12746a62ef169bcf372be0ca44f0a1236abc35df05d96928e1 unknown to registry
        400 DIGEST_INVALID: Provided digest sha256:8a8de823d5ed3e12746a62ef169bcf372be0ca44f0a1236abc35df05d96928e1 did not match uploaded content, which has sha256:03245ae90c366df3d1939ae7e02ce95fab1a4d74a0ed7d6124366794f2e2032c
        400 TAG_INVALID: Invalid tag: -1
    "#]]
    .assert_eq(&said);

    let mut large = good.clone();
    large["annotations"] = json!({ "filler": "x".repeat(4 << 20) });
    let got = tool.put_manifest("web", "1", OCI_MANIFEST, &large).await?;
    expect!["413 MANIFEST_INVALID: The manifest is larger than 4194304 bytes"]
        .assert_eq(&got.said());
    assert!(emulator.images().is_empty());
    tool.put_manifest("web", "1", OCI_MANIFEST, &good)
        .await?
        .accepted()?;
    Ok(())
}

/// An index lists its children as images without a version; the same digest pushed again stays the image it was.
#[tokio::test]
async fn index_and_children() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let child = image(
        tool.blob("web", b"{}").await?,
        vec![tool.blob("web", b"layer").await?],
    );
    let child_digest = digest(child.to_string().as_bytes());
    tool.put_manifest("web", &child_digest, OCI_MANIFEST, &child)
        .await?
        .accepted()?;
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [{ "mediaType": OCI_MANIFEST, "digest": child_digest, "size": child.to_string().len() }],
    });
    tool.put_manifest("web", "1", OCI_INDEX, &index)
        .await?
        .accepted()?;
    let before = emulator.images();
    let names: Vec<_> = before
        .iter()
        .filter_map(|image| image["displayName"].as_str())
        .collect();
    assert_eq!(
        names,
        [format!("web:unknown@{child_digest}"), "web:1".into()]
    );

    tool.put_manifest("web", "1", OCI_INDEX, &index)
        .await?
        .accepted()?;
    tool.put_manifest("web", "latest", OCI_INDEX, &index)
        .await?
        .accepted()?;
    let after = emulator.images();
    assert_eq!(after.len(), 2);
    assert_eq!(after[1]["timeCreated"], before[1]["timeCreated"]);
    assert_eq!(after[1]["id"], before[1]["id"]);
    assert_eq!(after[1]["version"], json!("latest"));

    let list = format!("{IMAGES}?compartmentId={}", person.seed.apps_compartment_id);
    let count = async |query: &str| {
        let got = person.get(&format!("{list}{query}")).await?.accepted()?;
        anyhow::Ok(got.body["items"].as_array().map_or(0, Vec::len))
    };
    for (query, expected) in [
        ("", 2),
        ("&isVersioned=true", 1),
        ("&isVersioned=false", 1),
        ("&repositoryName=w%2A", 2),
        ("&repositoryName=w", 0),
        ("&version=lat%2A", 1),
        ("&version=1", 1),
        ("&version=2", 0),
        ("&lifecycleState=DELETED", 0),
        (
            &format!("&imageDigest={}", child_digest.replace(':', "%3A")),
            1,
        ),
        ("&displayName=web%3Alatest", 1),
    ] {
        assert_eq!(count(query).await?, expected, "{query}");
    }
    Ok(())
}

/// Tags move, are removed, and are listed in pages; a removed image can be restored.
#[tokio::test]
async fn tags() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let first = tool.push("web", "a", "1").await?;
    tool.push("web", "b", "1").await?;
    let second = tool.push("web", "a", "2").await?;
    assert_ne!(first, second);
    assert_eq!(
        emulator.tags("web").into_iter().collect::<Vec<_>>(),
        [
            ("a".to_owned(), second.clone()),
            ("b".to_owned(), first.clone())
        ]
    );

    let page = tool
        .send(Method::GET, &tool.path("web", "tags/list?n=1"))
        .await?;
    assert_eq!(page.body["tags"], json!(["a"]));
    let link = page.header("link").to_owned();
    let next = link
        .strip_prefix('<')
        .and_then(|link| link.split_once('>'))
        .context("no link")?
        .0;
    let page = tool.send(Method::GET, next).await?;
    assert_eq!(
        (&page.body["tags"], page.header("link")),
        (&json!(["b"]), "")
    );

    let images = emulator.images();
    let path = format!("{IMAGES}/{}", images[0]["id"].as_str().context("no id")?);
    let removed = person
        .post(
            &format!("{path}/actions/removeVersion"),
            json!({ "version": "b" }),
        )
        .await?;
    assert_eq!(removed.text("displayName"), format!("web:b@{first}"));
    assert_eq!(
        person
            .post(
                &format!("{path}/actions/removeVersion"),
                json!({ "version": "b" })
            )
            .await?
            .status,
        404
    );
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("web", &format!("manifests/{first}"))
        )
        .await?
        .status,
        200
    );

    let uri = json!({ "imageUri": format!("{}/web:a", tool.namespace) });
    let found = person
        .post(&format!("{IMAGES}/actions/lookupImageByUri"), uri)
        .await?;
    assert_eq!(found.text("digest"), second);

    assert_eq!(
        tool.send(Method::DELETE, &tool.path("web", "manifests/a"))
            .await?
            .status,
        202
    );
    assert!(emulator.tags("web").is_empty());
    assert_eq!(
        tool.send(
            Method::DELETE,
            &tool.path("web", &format!("manifests/{first}"))
        )
        .await?
        .status,
        202
    );
    assert_eq!(
        tool.send(
            Method::DELETE,
            &tool.path("web", &format!("manifests/{first}"))
        )
        .await?
        .status,
        404
    );
    assert_eq!(person.get(&path).await?.text("lifecycleState"), "DELETED");
    person
        .post(
            &format!("{path}/actions/restore"),
            json!({ "version": "again" }),
        )
        .await?
        .accepted()?;
    assert_eq!(emulator.tags("web").get("again"), Some(&first));
    assert_eq!(person.delete(&path).await?.status, 204);
    assert!(emulator.tags("web").is_empty());
    Ok(())
}

/// Without signing in, public repositories can be pulled from and nothing else.
#[tokio::test]
async fn anonymous() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    person.tool().await?.push("web", "1", "layer").await?;
    let got = Got::from(
        person
            .http
            .get(format!("{}/20180419/docker/token", person.url))
            .send()
            .await?,
    )
    .await?;
    let nobody = person.tool_with(got.text("token"));
    let denied = "403 DENIED: Anonymous users are only allowed read access on public repos";
    let manifest = nobody.path("web", "manifests/1");

    assert_eq!(nobody.send(Method::GET, &manifest).await?.said(), denied);
    assert_eq!(
        nobody
            .send(Method::GET, &nobody.path("none", "manifests/1"))
            .await?
            .said(),
        denied
    );
    emulator.edit_repository("web", json!({ "isPublic": true }));
    assert_eq!(nobody.send(Method::GET, &manifest).await?.status, 200);
    for (method, path) in [
        (Method::POST, nobody.path("web", "blobs/uploads/")),
        (Method::PUT, manifest.clone()),
        (Method::DELETE, manifest),
    ] {
        assert_eq!(nobody.send(method, &path).await?.said(), denied, "{path}");
    }
    Ok(())
}

/// A push to a repository that is not there fails, unless first pushes create one: private, in the root.
#[tokio::test]
async fn first_push() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let tool = person.tool().await?;
    let uploads = tool.path("new/app", "blobs/uploads/");
    let name = format!("{}/new/app", tool.namespace);
    assert_eq!(
        tool.send(Method::POST, &uploads).await?.said(),
        format!("404 NAME_UNKNOWN: Repository {name} not known to registry")
    );
    expect!["404 NAME_UNKNOWN: Tenant with name nobody not found"].assert_eq(
        &tool
            .send(Method::POST, "/v2/nobody/app/blobs/uploads/")
            .await?
            .said(),
    );
    expect!["403 DENIED: Listing repositories is not supported"]
        .assert_eq(&tool.send(Method::GET, "/v2/_catalog").await?.said());

    let configuration = format!(
        "/20160918/container/configuration?compartmentId={}",
        person.seed.tenancy_id
    );
    person
        .put(
            &configuration,
            json!({ "isRepositoryCreatedOnFirstPush": true }),
        )
        .await?
        .accepted()?;
    tool.push("new/app", "1", "layer").await?;
    let repository = emulator.repositories().remove(0);
    assert_eq!(repository["isPublic"], json!(false));
    assert_eq!(repository["compartmentId"], json!(person.seed.tenancy_id));
    assert_eq!(repository["imageCount"], json!(1));
    Ok(())
}

/// Where immutability is accepted, a tag cannot move; the same image may be pushed again.
#[tokio::test]
async fn immutable() -> Result<()> {
    let emulator = Emulator::builder().accept_immutable().start().await?;
    let person = Person::of(&emulator)?;
    let id = person.repository("web").await?;
    person
        .put(
            &format!("{REPOSITORIES}/{id}"),
            json!({ "isImmutable": true }),
        )
        .await?
        .accepted()?;
    let tool = person.tool().await?;
    let digest = tool.push("web", "1", "layer").await?;
    assert_eq!(tool.push("web", "1", "layer").await?, digest);
    let Err(error) = tool.push("web", "1", "other").await else {
        bail!("the tag moved");
    };
    assert_eq!(
        error.to_string(),
        format!(
            "403 DENIED: Repository {}/web is immutable, and tag 1 exists",
            tool.namespace
        )
    );
    Ok(())
}

/// Whoever refers to a manifest is listed below it, filtered by type.
#[tokio::test]
async fn referrers() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let subject = tool.push("web", "1", "layer").await?;
    let mut signature = image(tool.blob("web", b"{}").await?, vec![]);
    signature["artifactType"] = json!("application/x.signature");
    signature["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
    let got = tool
        .put_manifest("web", "sig", OCI_MANIFEST, &signature)
        .await?
        .accepted()?;
    assert_eq!(got.header("oci-subject"), subject);
    let listed = tool
        .send(
            Method::GET,
            &tool.path("web", &format!("referrers/{subject}")),
        )
        .await?;
    assert_eq!(
        listed.body["manifests"][0]["artifactType"],
        json!("application/x.signature")
    );
    let path = tool.path("web", &format!("referrers/{subject}?artifactType=other"));
    assert_eq!(
        tool.send(Method::GET, &path).await?.body["manifests"],
        json!([])
    );
    Ok(())
}

// ---------------------------------------------------------------- faults, log, edits

/// Faults come in order, each for one call, and the log tells what became of it.
#[tokio::test]
async fn faults() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    for fault in [
        Fault::status(429).retry_after(3),
        Fault::error(400, "FREE_TIER_NOT_SUPPORTED", "No."),
        Fault::status(500),
    ] {
        emulator.fail_next("GetNamespace", fault);
    }
    let throttled = person.get("/n").await?;
    expect!["429 TooManyRequests: Too many requests for the user."].assert_eq(&throttled.said());
    assert_eq!(throttled.header("retry-after"), "3");
    expect!["400 FREE_TIER_NOT_SUPPORTED: No."].assert_eq(&person.get("/n").await?.said());
    assert_eq!(person.get("/n").await?.status, 500);
    assert_eq!(person.get("/n").await?.status, 200);

    emulator.fail_next("GetNamespace", Fault::body(502, "<html>"));
    let page = person
        .request(&person.signing(), Method::GET, "/n", None)?
        .send()
        .await?;
    assert_eq!(
        (page.status().as_u16(), page.text().await?.as_str()),
        (502, "<html>")
    );

    emulator.fail_always("GetNamespace", Fault::status(503));
    assert_eq!(person.get("/n").await?.status, 503);
    assert_eq!(person.get("/n").await?.status, 503);
    emulator.clear_faults();
    emulator.fail_next("GetNamespace", Fault::delay(Duration::from_millis(50)));
    let start = std::time::Instant::now();
    assert_eq!(person.get("/n").await?.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(50));

    let statuses: Vec<u16> = emulator
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert_eq!(statuses, [429, 400, 500, 200, 502, 503, 503, 200]);
    emulator.clear_requests();
    assert!(emulator.requests().is_empty());
    Ok(())
}

/// A cut answer hides a call that was carried out; a retry with the same token finds its result.
#[tokio::test]
async fn cut_answer() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let body = json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": "web" });
    emulator.fail_next("CreateContainerRepository", Fault::cut_answer());
    let create = || {
        person.send_with(
            Method::POST,
            REPOSITORIES,
            Some(body.clone()),
            ("opc-retry-token", "1"),
        )
    };
    assert!(create().await.is_err());
    assert_eq!(emulator.repositories().len(), 1);
    assert_eq!(create().await?.body["id"], emulator.repositories()[0]["id"]);

    emulator.fail_next("CreateContainerRepository", Fault::cut(10));
    let other = json!({ "compartmentId": person.seed.apps_compartment_id, "displayName": "other" });
    assert!(person.post(REPOSITORIES, other).await.is_err());
    assert_eq!(emulator.repositories().len(), 1);
    Ok(())
}

/// A blob that is cut in its middle is not there, is logged with what arrived, and can be sent again.
#[tokio::test]
async fn cut_blob() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    let content = vec![1u8; 8 << 20];
    emulator.clear_requests();
    emulator.fail_next("PutBlobUpload", Fault::cut(1 << 20));
    assert!(tool.blob("web", &content).await.is_err());
    let cut = emulator.requests().pop().context("nothing was logged")?;
    assert_eq!((cut.operation.as_str(), cut.status), ("PutBlobUpload", 0));
    assert!(
        (1 << 20..8 << 20).contains(&cut.body_bytes),
        "{}",
        cut.body_bytes
    );

    emulator.fail_next("PutBlobUpload", Fault::status(503));
    let Err(error) = tool.blob("web", &content).await else {
        bail!("it was accepted");
    };
    expect!["503 UNKNOWN: Unknown error"].assert_eq(&error.to_string());
    tool.blob("web", &content).await?;
    let put = emulator.requests().pop().context("nothing was logged")?;
    assert_eq!(
        (put.method.as_str(), put.status, put.body_bytes),
        ("PUT", 201, 8 << 20)
    );
    Ok(())
}

/// Changes behind everybody's back show in the next answer.
#[tokio::test]
async fn edits() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let id = person.repository("web").await?;
    let tool = person.tool().await?;
    let first = tool.push("web", "a", "1").await?;
    let second = tool.push("web", "b", "2").await?;
    emulator.move_tag("web", "a", &second);
    assert_eq!(
        emulator.tags("web").values().collect::<Vec<_>>(),
        [&second, &second]
    );
    emulator.remove_tag("web", "b");
    assert_eq!(
        tool.send(Method::HEAD, &tool.path("web", "manifests/b"))
            .await?
            .status,
        404
    );
    assert_eq!(
        tool.send(
            Method::HEAD,
            &tool.path("web", &format!("manifests/{first}"))
        )
        .await?
        .status,
        200
    );

    let path = format!("{REPOSITORIES}/{id}");
    emulator.edit_repository(
        "web",
        json!({ "isPublic": true, "readme": { "content": "x", "format": "TEXT_PLAIN" } }),
    );
    let got = person.get(&path).await?;
    assert_eq!(
        (&got.body["isPublic"], &got.body["readme"]["content"]),
        (&json!(true), &json!("x"))
    );
    emulator.remove_repository("web");
    assert_eq!(person.get(&path).await?.status, 404);

    let token = person
        .post(&person.tokens(), json!({ "description": "x" }))
        .await?
        .text("id");
    emulator.edit_auth_token(&token, json!({ "description": "y" }));
    assert_eq!(emulator.auth_tokens()[0]["description"], json!("y"));
    emulator.remove_auth_token(&token);
    assert!(emulator.auth_tokens().is_empty());
    Ok(())
}

// ---------------------------------------------------------------- data, TLS, the program

/// What is in a data folder is there again after a restart, key and all; nobody else may use it meanwhile.
#[tokio::test]
async fn data_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let start = || Emulator::builder().data(folder.path()).start();
    let emulator = start().await?;
    let person = Person::of(&emulator)?;
    person.repository("web").await?;
    person.repository("gone").await?;
    let tool = person.tool().await?;
    let digest = tool.push("web", "1", "layer").await?;
    tool.blob("gone", b"big").await?;
    let password = person
        .post(&person.tokens(), json!({ "description": "x" }))
        .await?
        .text("token");
    emulator.remove_repository("gone");
    let before = emulator.repositories();

    let error = start()
        .await
        .err()
        .context("two emulators share a folder")?;
    assert!(
        error.to_string().contains("in use by another emulator"),
        "{error}"
    );
    emulator.stop().await;

    let emulator = start().await?;
    let again = Person::of(&emulator)?;
    assert_eq!(emulator.repositories(), before);
    assert_eq!(emulator.tags("web").get("1"), Some(&digest));
    assert_eq!(again.seed.fingerprint, person.seed.fingerprint);
    assert_eq!(emulator.auth_tokens().len(), 1);
    // A registry token from before is still good, and blobs are still there.
    let tool = again.tool_with(tool.token);
    let manifest = tool
        .request(Method::GET, &tool.path("web", "manifests/1"))
        .send()
        .await?;
    assert_eq!(self::digest(&manifest.bytes().await?), digest);
    let user = format!("{}/docker@example.com", again.seed.namespace);
    let log_in = again
        .http
        .get(format!("{}/20180419/docker/token", again.url))
        .basic_auth(user, Some(password));
    assert_eq!(log_in.send().await?.status(), 200);

    // One manifest, its config and its layer; what nobody needs is gone.
    assert_eq!(fs::read_dir(folder.path().join("blobs/sha256"))?.count(), 3);
    Ok(())
}

/// A state file that is not one stops the start, with its path in the message.
#[tokio::test]
async fn broken_data() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("state.json"), "{")?;
    let error = Emulator::builder()
        .data(folder.path())
        .start()
        .await
        .err()
        .context("it started")?;
    assert!(
        error.to_string().contains("state.json: EOF while parsing"),
        "{error}"
    );
    Ok(())
}

/// The configuration folder has what Oracle's CLI reads and what a shell sources, and the key is private.
#[tokio::test]
async fn config_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let emulator = Emulator::builder()
        .config(folder.path())
        .region("fra")
        .start()
        .await?;
    let seed = emulator.seed();
    let config = fs::read_to_string(folder.path().join("config"))?;
    let Seed {
        user_id,
        fingerprint,
        tenancy_id,
        ..
    } = seed;
    let key = fs::canonicalize(folder.path())?.join("key.pem");
    // Its second half is what a session is told by.
    let session = config
        .find("[SESSION]")
        .map(|start| &config[start..])
        .context("no session")?;
    assert_eq!(
        config,
        format!(
            "[DEFAULT]\nuser={user_id}\nfingerprint={fingerprint}\ntenancy={tenancy_id}\nregion=eu-frankfurt-1\nkey_file={}\n\n{session}",
            key.display()
        )
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&key)?.permissions().mode() & 0o777, 0o600);
    }
    let script = format!(
        ". '{}/env.sh' && printf %s \"$TF_VAR_endpoint $TF_VAR_compartment_id\"",
        folder.path().display()
    );
    let output = Command::new("sh").args(["-c", &script]).output()?;
    assert_eq!(
        String::from_utf8(output.stdout)?,
        format!("{} {}", emulator.url(), seed.apps_compartment_id)
    );
    Ok(())
}

/// The same over TLS, with a certificate of one's own.
#[tokio::test]
async fn tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    let emulator = Emulator::builder().tls(&certificate, &key).start().await?;
    assert!(emulator.url().starts_with("https://127.0.0.1:"));
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(made.cert.pem().as_bytes())?])
        .build()?;
    let person = Person::new(emulator.url(), emulator.seed().clone(), http)?;
    person.repository("web").await?;
    let tool = person.tool().await?;
    tool.push("web", "1", "layer").await?;
    let got = Got::from(
        person
            .http
            .get(format!("{}/v2/", person.url))
            .send()
            .await?,
    )
    .await?;
    assert!(
        got.header("www-authenticate")
            .starts_with("Bearer realm=\"https://")
    );

    fs::write(&certificate, "")?;
    let error = Emulator::builder()
        .tls(&certificate, &key)
        .start()
        .await
        .err()
        .context("it started")?;
    let said = error.to_string();
    assert!(
        said.contains("cert.pem") && said.contains("there is no certificate in it"),
        "{said}"
    );
    Ok(())
}

/// The program, as a script sees it.
struct Program {
    child: Child,
    url: String,
}

impl Program {
    fn start(folder: &Path) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ocir-emulator"))
            .arg("--config")
            .arg(folder.join("config"))
            .arg("--data")
            .arg(folder.join("data"))
            .args(["--session-lifetime", "90"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().context("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let url = line
            .trim_end()
            .strip_prefix("listening on ")
            .context("another line")?
            .to_owned();
        Ok(Self { child, url })
    }

    /// Prints the answer to one signed request.
    fn call(folder: &Path, words: &[&str]) -> Result<(bool, Value)> {
        let output = Command::new(env!("CARGO_BIN_EXE_ocir-emulator"))
            .args(["call", "--config"])
            .arg(folder.join("config"))
            .args(words)
            .output()?;
        Ok((
            output.status.success(),
            serde_json::from_slice(&output.stdout)?,
        ))
    }

    fn signal(&mut self, signal: &str) -> Result<Option<i32>> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").args([signal, &id]).status()?.success());
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program says where it listens, answers signed calls, ends at a signal with 0, and keeps its data even over a kill.
#[test]
fn program() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut program = Program::start(folder.path())?;
    assert!(
        program.url.starts_with("http://127.0.0.1:"),
        "{}",
        program.url
    );
    let session = fs::read_to_string(folder.path().join("config/session/token"))?;
    let claims = sign_in::claims(&session)?;
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(lifetime.map(|(end, start)| end - start), Some(90));
    let env = fs::read_to_string(folder.path().join("config/env.sh"))?;
    let compartment = env
        .lines()
        .find_map(|line| {
            line.strip_prefix("export TF_VAR_compartment_id='")?
                .strip_suffix('\'')
        })
        .context("no compartment")?;
    let body = json!({ "compartmentId": compartment, "displayName": "web" }).to_string();
    let (ok, created) = Program::call(folder.path(), &["POST", REPOSITORIES, &body])?;
    assert!(ok, "{created}");
    let (ok, conflict) = Program::call(folder.path(), &["POST", REPOSITORIES, &body])?;
    assert!(!ok);
    assert_eq!(conflict["code"], json!("NAMESPACE_CONFLICT"));
    // A path without its slash would sign for whatever host the two make together.
    let output = Command::new(env!("CARGO_BIN_EXE_ocir-emulator"))
        .args(["call", "--config"])
        .arg(folder.path().join("config"))
        .args(["GET", "@127.0.0.1:9/n"])
        .output()?;
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "ocir-emulator: the path is \"@127.0.0.1:9/n\", which has to begin with a slash, for example /20160918/regions\n"
    );
    assert_eq!(program.signal("-KILL")?, None);

    for signal in ["-TERM", "-INT"] {
        let mut program = Program::start(folder.path())?;
        let path = format!(
            "{REPOSITORIES}/{}",
            created["id"].as_str().context("no id")?
        );
        assert_eq!(
            Program::call(folder.path(), &["GET", &path])?,
            (true, created.clone())
        );
        assert_eq!(program.signal(signal)?, Some(0), "{signal}");
    }
    Ok(())
}

/// What Oracle's CLI sends, as it was recorded, with the OCIDs and the signature
/// of this tenancy: each request gets the status and the members that the CLI
/// was seen to work with.
#[tokio::test]
async fn recorded_requests_of_oracles_cli() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let person = Person::of(&emulator)?;
    let mut names = vec![
        (
            "ocid1.compartment.oc1..aaaaaaaatestcompartment",
            person.seed.apps_compartment_id.clone(),
        ),
        (
            "ocid1.tenancy.oc1..aaaaaaaatesttenancy",
            person.seed.tenancy_id.clone(),
        ),
        (
            "ocid1.user.oc1..aaaaaaaatestuser",
            person.seed.user_id.clone(),
        ),
        ("testnamespace", person.seed.namespace.clone()),
    ];
    let order = [
        "os-ns-get",
        "os-ns-get-compartment",
        "artifacts-container-repository-create",
        "repo-get",
        "repo-list",
        "repo-update",
        "repo-change-compartment",
        "repo-404",
        "config-get",
        "config-update",
        "iam-auth-token-create",
        "auth-token-list",
        "auth-token-delete",
        "container-registry-access-token-get",
        "raw-request-docker-token",
        "repo-delete",
        "repo-create-full",
    ];
    for name in order {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/captures/{name}.txt"));
        let capture = fs::read_to_string(&file).with_context(|| name.to_owned())?;
        let capture = names
            .iter()
            .fold(capture, |text, (theirs, ours)| text.replace(theirs, ours));
        let (request, answer) = recorded(&capture).with_context(|| name.to_owned())?;
        let builder = person.request(
            &person.signing(),
            request.method,
            &request.path,
            request.body.as_ref(),
        )?;
        let builder = request
            .headers
            .iter()
            .fold(builder, |builder, (name, value)| {
                builder.header(name, value)
            });
        let got = Got::from(builder.send().await?).await?;
        ensure!(
            got.status == answer.0,
            "{name}: {} instead of {}",
            got.said(),
            answer.0
        );
        let mut expected = answer.1;
        // The recording's server gave whole repositories; Oracle's lists leave these out.
        let items = expected.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            for member in ["createdBy", "isImmutable", "readme", "timeLastPushed"] {
                item.as_object_mut().map(|item| item.remove(member));
            }
        }
        same_members(name, &expected, &got.body)?;
        let id = got.text("id");
        match name {
            "artifacts-container-repository-create" => names.insert(
                0,
                (
                    "ocid1.containerrepo.oc1.eu-frankfurt-1.0.testnamespace.aaaaaaaatestrepo",
                    id,
                ),
            ),
            "iam-auth-token-create" => {
                names.insert(0, ("ocid1.credential.oc1..aaaaaaaatesttoken", id))
            }
            _ => {}
        }
    }
    Ok(())
}

/// A request as it was recorded.
struct Recorded {
    method: Method,
    path: String,
    /// Those that tell more than who sends how.
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

/// The request of a capture, and the status and body of its answer.
fn recorded(capture: &str) -> Result<(Recorded, (u16, Value))> {
    let after = |title: &str| {
        capture
            .split(title)
            .nth(1)
            .with_context(|| format!("no {title}"))
    };
    let request = after("### request 1\n")?
        .split("### verification")
        .next()
        .unwrap_or_default();
    let (head, body) = request.split_once("\n\n").context("no end of the head")?;
    let mut lines = head.lines();
    let mut words = lines.next().context("no request line")?.split(' ');
    let method = words.next().context("no method")?.parse()?;
    let path = words.next().context("no path")?.to_owned();
    // Not the recorded `if-match`: that etag was of another object.
    let kept = [
        "accept",
        "opc-request-id",
        "opc-retry-token",
        "opc-client-retries",
        "opc-client-info",
    ];
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .filter(|(name, _)| kept.contains(&name.as_str()))
        .collect();
    let body = match body.trim() {
        "" => None,
        text => Some(serde_json::from_str(text)?),
    };
    let answer = after("### response\n")?;
    let (status, content) = answer.split_once('\n').context("no status line")?;
    let status = status.split(' ').nth(1).context("no status")?.parse()?;
    let content = match content.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text)?,
    };
    Ok((
        Recorded {
            method,
            path,
            headers,
            body,
        },
        (status, content),
    ))
}

/// Every member that the recorded answer has, ours has too, with a value of the same kind.
fn same_members(at: &str, theirs: &Value, ours: &Value) -> Result<()> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs.iter().filter(|(_, value)| !value.is_null()) {
                let found = ours
                    .get(name)
                    .with_context(|| format!("{at}: no member {name}"))?;
                same_members(&format!("{at}.{name}"), value, found)?;
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            ensure!(theirs.is_empty() || !ours.is_empty(), "{at}: an empty list");
            for (theirs, ours) in theirs.iter().zip(ours) {
                same_members(at, theirs, ours)?;
            }
        }
        _ => ensure!(
            std::mem::discriminant(theirs) == std::mem::discriminant(ours),
            "{at}: {ours} where {theirs} was recorded"
        ),
    }
    Ok(())
}
