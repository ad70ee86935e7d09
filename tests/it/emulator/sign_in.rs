//! Those who have no API key, and those who pretend to have something.

use std::{collections::BTreeMap, sync::OnceLock};

use aws_lc_rs::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest as hash},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::KeySize,
    signature::KeyPair as _,
};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

const MISSING: &str = "401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.";
const UNVERIFIED: &str = "401 NotAuthenticated: Failed to verify the HTTP(S) Signature";

/// A key of a client, generated once for all tests of this process.
fn session_key() -> Result<RsaKeyPair> {
    static DER: OnceLock<Vec<u8>> = OnceLock::new();
    let der = match DER.get() {
        Some(der) => der,
        None => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
            let der: Pkcs8V1Der = key.as_der()?;
            DER.get_or_init(|| der.as_ref().to_vec())
        }
    };
    Ok(RsaKeyPair::from_pkcs8(der)?)
}

/// A public key as base64 of its DER.
fn public(key: &RsaKeyPair) -> Result<String> {
    let der: PublicKeyX509Der = key.public_key().as_der()?;
    Ok(STANDARD.encode(der.as_ref()))
}

pub(super) fn claims(token: &str) -> Result<Value> {
    let payload = token.split('.').nth(1).context("not a token")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}

/// PEM without its first and last line, in one line.
fn one_line(pem: &str) -> String {
    pem.lines()
        .filter(|line| !line.starts_with("-----"))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

impl Person {
    /// Somebody who signs with a security token.
    fn with_token(emulator: &Emulator, token: &str, key: RsaKeyPair) -> Result<Self> {
        Ok(Self {
            key,
            key_id: format!("ST${token}"),
            ..Self::of(emulator)?
        })
    }

    /// Whoever signs with the files or the values that an environment names.
    fn from_files(emulator: &Emulator, token: &str, key: &str) -> Result<Self> {
        Self::with_token(emulator, token, private_key(key)?)
    }

    fn from_resource(emulator: &Emulator, environment: &BTreeMap<String, String>) -> Result<Self> {
        let value = |name: &str| -> Result<String> {
            let value = environment.get(name).context("no such variable")?;
            Ok(match Path::new(value) {
                path if path.is_absolute() => fs::read_to_string(path)?,
                _ => value.clone(),
            })
        };
        Self::from_files(
            emulator,
            &value("OCI_RESOURCE_PRINCIPAL_RPST")?,
            &value("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM")?,
        )
    }

    /// Who has the profile of a session.
    fn from_profile(emulator: &Emulator, environment: &BTreeMap<String, String>) -> Result<Self> {
        let config = fs::read_to_string(&environment["OCI_CLI_CONFIG_FILE"])?;
        let section = format!("[{}]", environment["OCI_CLI_PROFILE"]);
        let values: BTreeMap<&str, &str> = config
            .lines()
            .skip_while(|line| *line != section)
            .filter_map(|line| line.split_once('='))
            .collect();
        Self::from_files(
            emulator,
            &fs::read_to_string(values["security_token_file"])?,
            &fs::read_to_string(values["key_file"])?,
        )
    }

    /// An instance that asked for its token.
    async fn instance(emulator: &Emulator) -> Result<Self> {
        let token = Instance::boot(emulator)
            .await?
            .federate(|_| {})
            .await?
            .accepted()?
            .text("token");
        Self::with_token(emulator, &token, session_key()?)
    }

    /// Who last got an answer.
    async fn who(&self, emulator: &Emulator) -> Result<String> {
        let got = self.get("/n").await?;
        ensure!(got.status == 200, "{}", got.said());
        let request = emulator.requests().pop().context("no request")?;
        request.caller.context("nobody")
    }
}

async fn metadata(emulator: &Emulator, path: &str) -> Result<String> {
    let url = emulator.instance()["OCI_METADATA_BASE_URL"].clone();
    let response = reqwest::Client::new()
        .get(format!("{url}{path}"))
        .bearer_auth("Oracle")
        .send()
        .await?
        .error_for_status()?;
    Ok(response.text().await?)
}

/// A compute instance, with what its metadata service told it.
struct Instance {
    emulator_url: String,
    seed: Seed,
    certificate: String,
    intermediate: String,
    key: RsaKeyPair,
}

/// A request for a token, for those who change something about it.
struct Federation {
    key_id: String,
    body: Value,
    key: RsaKeyPair,
    leave_out: Vec<&'static str>,
    body_for_digest: Option<&'static str>,
    date: SystemTime,
}

impl Instance {
    async fn boot(emulator: &Emulator) -> Result<Self> {
        Ok(Self {
            emulator_url: emulator.url(),
            seed: emulator.seed().clone(),
            certificate: metadata(emulator, "/identity/cert.pem").await?,
            intermediate: metadata(emulator, "/identity/intermediate.pem").await?,
            key: private_key(&metadata(emulator, "/identity/key.pem").await?)?,
        })
    }

    fn der(&self) -> Result<Vec<u8>> {
        Ok(STANDARD.decode(one_line(&self.certificate))?)
    }

    fn key_id(&self) -> Result<String> {
        Ok(format!(
            "{}/fed-x509-sha256/{}",
            self.seed.tenancy_id,
            hexadecimal(hash(&SHA256, &self.der()?).as_ref())
        ))
    }

    /// As Oracle's Python SDK signs.
    fn old_key_id(&self) -> Result<String> {
        let fingerprint = hash(&SHA1_FOR_LEGACY_USE_ONLY, &self.der()?);
        Ok(format!(
            "{}/fed-x509/{}",
            self.seed.tenancy_id,
            hexadecimal(fingerprint.as_ref()).to_uppercase()
        ))
    }

    /// Asks for a token, after a change of the request.
    async fn federate(&self, change: impl FnOnce(&mut Federation)) -> Result<Got> {
        let mut federation = Federation {
            key_id: self.key_id()?,
            body: json!({
                "certificate": one_line(&self.certificate),
                "publicKey": public(&session_key()?)?,
                "intermediateCertificates": [one_line(&self.intermediate)],
                "fingerprintAlgorithm": "SHA256",
            }),
            key: clone(&self.key)?,
            leave_out: vec!["host"],
            body_for_digest: None,
            date: SystemTime::now(),
        };
        change(&mut federation);
        let person = Person {
            http: reqwest::Client::new(),
            url: self.emulator_url.clone(),
            seed: self.seed.clone(),
            key: federation.key,
            key_id: federation.key_id,
            delegation_token: None,
        };
        let signing = Signing {
            leave_out: &federation.leave_out,
            body_for_digest: federation.body_for_digest,
            date: federation.date,
            ..person.signing()
        };
        let request = person.request(&signing, Method::POST, "/v1/x509", Some(&federation.body))?;
        Got::from(request.send().await?).await
    }
}

fn clone(key: &RsaKeyPair) -> Result<RsaKeyPair> {
    let der: Pkcs8V1Der = key.as_der()?;
    Ok(RsaKeyPair::from_pkcs8(der.as_ref())?)
}

// --------------------------------------------------------------------- metadata

/// The metadata service says where the instance is and what it is, to those who ask as version 2 wants it.
#[tokio::test]
async fn metadata_service() -> Result<()> {
    let emulator = Emulator::builder().region("fra").start().await?;
    assert_eq!(
        metadata(&emulator, "/instance/region").await?,
        "eu-frankfurt-1"
    );
    expect![[r#"{"realmDomainComponent":"oraclecloud.com","realmKey":"oc1","regionIdentifier":"eu-frankfurt-1","regionKey":"FRA"}"#]]
        .assert_eq(&metadata(&emulator, "/instance/regionInfo").await?);
    let instance: Value = serde_json::from_str(&metadata(&emulator, "/instance/").await?)?;
    assert_eq!(instance["id"], json!(emulator.seed().instance_id));
    assert_eq!(instance["tenantId"], json!(emulator.seed().tenancy_id));
    assert_eq!(
        instance["compartmentId"],
        json!(emulator.seed().apps_compartment_id)
    );

    let http = reqwest::Client::new();
    let url = format!("{}/opc/v2/identity/key.pem", emulator.url());
    let mut said = Vec::new();
    for request in [
        http.get(&url),
        http.get(&url).bearer_auth("oracle"),
        http.get(&url)
            .bearer_auth("Oracle")
            .header("x-forwarded-for", "10.0.0.1"),
        http.get(&url)
            .bearer_auth("Oracle")
            .header("forwarded", "for=10.0.0.1"),
        http.post(&url).bearer_auth("Oracle"),
        http.get(format!("{}/opc/v1/instance/", emulator.url()))
            .bearer_auth("Oracle"),
    ] {
        said.push(Got::from(request.send().await?).await?.said());
    }
    expect![[r#"
        403 NotAuthorized: Requests without the header 'Authorization: Bearer Oracle' are rejected
        403 NotAuthorized: Requests without the header 'Authorization: Bearer Oracle' are rejected
        403 NotAuthorized: Requests that were forwarded are rejected
        403 NotAuthorized: Requests that were forwarded are rejected
        405 MethodNotAllowed: The method is not allowed.
        404 NotFound: Not Found
    "#]]
    .assert_eq(&(said.join("\n") + "\n"));

    let elsewhere = http
        .get(format!(
            "{}/~us-phoenix-1/opc/v2/instance/region",
            emulator.url()
        ))
        .bearer_auth("Oracle");
    assert_eq!(elsewhere.send().await?.text().await?, "us-phoenix-1");
    Ok(())
}

/// A throttled metadata service, as many programs on one instance meet it, answers with its fault.
#[tokio::test]
async fn metadata_faults() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    emulator.fail_next("GetInstanceRegion", Fault::status(429));
    let refused = metadata(&emulator, "/instance/region").await;
    assert!(refused.is_err_and(|error| error.to_string().contains("429")));
    assert_eq!(
        metadata(&emulator, "/instance/region").await?,
        "sa-saopaulo-1"
    );

    emulator.fail_always("*", Fault::status(503));
    assert!(metadata(&emulator, "/instance/region").await.is_err());
    emulator.clear_faults();

    let operations: Vec<String> = emulator
        .requests()
        .into_iter()
        .map(|request| format!("{} {}", request.operation, request.status))
        .collect();
    assert_eq!(
        operations,
        [
            "GetInstanceRegion 429",
            "GetInstanceRegion 200",
            "GetInstanceRegion 503"
        ]
    );
    Ok(())
}

// ------------------------------------------------------------------- federation

/// An instance gets a token for its certificate, in both spellings of the fingerprint, and creates what is its own.
#[tokio::test]
async fn instance_principal() -> Result<()> {
    let emulator = Emulator::builder().oracle_tags().start().await?;
    let instance = Instance::boot(&emulator).await?;
    let id = &instance.seed.instance_id;

    let old = instance.old_key_id()?;
    for change in [
        Box::new(|_: &mut Federation| {}) as Box<dyn FnOnce(&mut Federation)>,
        Box::new(|federation| {
            federation.key_id = old;
            if let Some(body) = federation.body.as_object_mut() {
                body.remove("fingerprintAlgorithm");
            }
        }),
        Box::new(|federation| federation.leave_out.clear()),
    ] {
        let got = instance.federate(change).await?.accepted()?;
        let person = Person::with_token(&emulator, &got.text("token"), session_key()?)?;
        assert_eq!(person.who(&emulator).await?, format!("instance {id}"));
    }

    let got = instance.federate(|_| {}).await?;
    let claims = claims(&got.text("token"))?;
    expect!["aud exp iat iss jti jwk opc-certtype opc-compartment opc-instance opc-tenant ptype sub tenant ttype"]
        .assert_eq(&keys(&claims));
    assert_eq!(claims["sub"], json!(id));
    assert_eq!(claims["opc-tenant"], json!(instance.seed.tenancy_id));
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(lifetime.map(|(end, start)| end - start), Some(20 * 60));

    let person = Person::with_token(&emulator, &got.text("token"), session_key()?)?;
    person.repository("web").await?;
    let repository = emulator.repositories().remove(0);
    assert_eq!(repository["createdBy"], json!(id));
    assert_eq!(
        repository["definedTags"]["Oracle-Tags"]["CreatedBy"],
        json!(id)
    );

    // The registry knows it too: what it pushes is its own.
    person.tool().await?.push("web", "1.0", "layer").await?;
    assert_eq!(emulator.images()[0]["createdBy"], json!(id));
    Ok(())
}

/// A certificate authority of somebody else, with a certificate for the same names.
fn forged(seed: &Seed, key: &RsaKeyPair) -> Result<(String, String)> {
    let authority_key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(DnType::CommonName, "PKISVC Identity Intermediate");
    let authority = params.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(params, authority_key);

    let mut params = CertificateParams::new(Vec::new())?;
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, seed.instance_id.as_str());
    name.push(
        DnType::OrganizationalUnitName,
        format!("opc-tenant:{}", seed.tenancy_id),
    );
    let der: Pkcs8V1Der = key.as_der()?;
    let pair =
        KeyPair::from_pkcs8_der_and_sign_algo(&der.as_ref().into(), &rcgen::PKCS_RSA_SHA256)?;
    Ok((params.signed_by(&pair, &issuer)?.pem(), authority))
}

/// Whatever is wrong with a request for an instance's token, it is refused.
#[tokio::test]
async fn wrong_federation() -> Result<()> {
    type Change = Box<dyn FnOnce(&mut Federation)>;
    let emulator = Emulator::builder().start().await?;
    let instance = Instance::boot(&emulator).await?;
    let key_id = instance.key_id()?;
    let old_key_id = instance.old_key_id()?;
    let (tenancy, fingerprint) = key_id
        .split_once("/fed-x509-sha256/")
        .context("no key id")?;

    let impostor = session_key()?;
    let (certificate, authority) = forged(&instance.seed, &impostor)?;
    let forged_id = format!(
        "{tenancy}/fed-x509-sha256/{}",
        hexadecimal(hash(&SHA256, &STANDARD.decode(one_line(&certificate))?).as_ref())
    );
    let other_tenancy = format!(
        "{}x/fed-x509-sha256/{fingerprint}",
        instance.seed.tenancy_id
    );
    let upper = format!("{tenancy}/fed-x509-sha256/{}", fingerprint.to_uppercase());
    let lower = old_key_id.to_lowercase();
    let stranger = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let api_key = Person::of(&emulator)?.key_id;
    let other: String = fingerprint.chars().rev().collect();
    let wrong_fingerprint = key_id.replace(fingerprint, &other);

    let cases: Vec<(&str, Change)> = vec![
        (
            "another fingerprint",
            Box::new(move |it| it.key_id = wrong_fingerprint),
        ),
        ("upper case", Box::new(move |it| it.key_id = upper)),
        (
            "lower case of the old form",
            Box::new(move |it| it.key_id = lower),
        ),
        (
            "another tenancy",
            Box::new(move |it| it.key_id = other_tenancy),
        ),
        ("an API key", Box::new(move |it| it.key_id = api_key)),
        (
            "another algorithm",
            Box::new(|it| it.body["fingerprintAlgorithm"] = json!("SHA1")),
        ),
        ("a chain of others", {
            let key = clone(&impostor)?;
            Box::new(move |it| {
                it.body["certificate"] = json!(one_line(&certificate));
                it.body["intermediateCertificates"] = json!([one_line(&authority)]);
                it.key_id = forged_id;
                it.key = key;
            })
        }),
        (
            "no chain",
            Box::new(|it| it.body["intermediateCertificates"] = json!([])),
        ),
        ("the session's key", Box::new(move |it| it.key = impostor)),
        ("another key", Box::new(move |it| it.key = stranger)),
        (
            "an unsigned body",
            Box::new(|it| it.leave_out.push("x-content-sha256")),
        ),
        (
            "another body",
            Box::new(|it| it.body_for_digest = Some("{}")),
        ),
        (
            "no public key",
            Box::new(|it| {
                if let Some(body) = it.body.as_object_mut() {
                    body.remove("publicKey");
                }
            }),
        ),
        (
            "half a public key",
            Box::new(|it| it.body["publicKey"] = json!("MIIBIjAN")),
        ),
        (
            "a certificate with its first line",
            Box::new(|it| {
                it.body["certificate"] = json!("-----BEGIN CERTIFICATE-----");
            }),
        ),
        (
            "a stale date",
            Box::new(|it| it.date -= Duration::from_secs(600)),
        ),
        (
            "an unknown member",
            Box::new(|it| it.body["color"] = json!("red")),
        ),
    ];
    let mut said = String::new();
    for (what, change) in cases {
        let got = instance.federate(change).await?.said();
        // The date in it is another one each time.
        let got = got.split(" '").next().unwrap_or_default();
        said.push_str(&format!("{what}: {got}\n"));
    }
    expect![[r#"
        another fingerprint: 401 NotAuthenticated: The key id does not belong to the certificate.
        upper case: 401 NotAuthenticated: The key id does not belong to the certificate.
        lower case of the old form: 401 NotAuthenticated: The key id does not belong to the certificate.
        another tenancy: 401 NotAuthenticated: The key id does not belong to the certificate.
        an API key: 401 NotAuthenticated: The key id does not belong to the certificate.
        another algorithm: 400 InvalidParameter: fingerprintAlgorithm is not the one of the key id
        a chain of others: 401 NotAuthenticated: The certificate is not trusted or not valid now.
        no chain: 401 NotAuthenticated: The certificate is not trusted or not valid now.
        the session's key: 401 NotAuthenticated: Failed to verify the HTTP(S) Signature
        another key: 401 NotAuthenticated: Failed to verify the HTTP(S) Signature
        an unsigned body: 401 NotAuthenticated: The required information to complete authentication was not provided or was incorrect.
        another body: 401 NotAuthenticated: Failed to verify the HTTP(S) Signature
        no public key: 400 MissingParameter: Missing required parameter: publicKey
        half a public key: 400 InvalidParameter: publicKey is not an RSA key of at least 2048 bits
        a certificate with its first line: 400 InvalidParameter: certificate is not base64 of DER
        a stale date: 401 NotAuthenticated: Date
        an unknown member: 400 InvalidParameter: Unknown member: color
    "#]]
    .assert_eq(&said);

    // A key id of the federation is good for nothing else.
    let person = Person {
        key: clone(&instance.key)?,
        key_id,
        ..Person::of(&emulator)?
    };
    assert_eq!(person.get("/n").await?.said(), MISSING);
    Ok(())
}

/// A certificate is refused once it was rotated away, or a day has passed; the new one is another, with another key.
#[tokio::test]
async fn certificates_end() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let old = Instance::boot(&emulator).await?;
    emulator.rotate_instance_certificate();
    expect!["401 NotAuthenticated: The certificate has been revoked."]
        .assert_eq(&old.federate(|_| {}).await?.said());

    let new = Instance::boot(&emulator).await?;
    assert_ne!(new.certificate, old.certificate);
    assert_ne!(public(&new.key)?, public(&old.key)?);
    new.federate(|_| {}).await?.accepted()?;

    let later = 25 * 60 * 60;
    emulator.skew_clock(later);
    let at_that_time = |federation: &mut Federation| {
        federation.date += Duration::from_secs(25 * 60 * 60);
    };
    expect!["401 NotAuthenticated: The certificate is not trusted or not valid now."]
        .assert_eq(&new.federate(at_that_time).await?.said());
    let newest = Instance::boot(&emulator).await?;
    newest.federate(at_that_time).await?.accepted()?;
    Ok(())
}

// -------------------------------------------------------------- security tokens

/// A token is good with its own key only, until it expires, and for nothing that it was not made for.
#[tokio::test]
async fn security_tokens() -> Result<()> {
    let emulator = Emulator::builder()
        .session_lifetime(Duration::from_secs(90))
        .start()
        .await?;
    let folder = tempfile::tempdir()?;
    let person = Person::from_profile(&emulator, &emulator.session(folder.path())?)?;
    assert_eq!(
        person.who(&emulator).await?,
        format!("session {}", person.seed.user_id)
    );
    let token = person.key_id.trim_start_matches("ST$").to_owned();
    let stranger = Person::with_token(&emulator, &token, session_key()?)?;
    assert_eq!(stranger.get("/n").await?.said(), UNVERIFIED);

    let cloud_shell = emulator.cloud_shell(folder.path())?;
    let delegation = fs::read_to_string(&cloud_shell["OCI_CLI_DELEGATION_TOKEN_FILE"])?;
    let domain = emulator.identity_domain(folder.path())?;
    let job = fs::read_to_string(&domain["OCI_WORKLOAD_IDENTITY_TOKEN_PATH"])?;
    let registry = person.get("/20180419/docker/token").await?.text("token");
    let other = Emulator::builder().start().await?;
    let foreign = other.resource_principal()?["OCI_RESOURCE_PRINCIPAL_RPST"].clone();
    let mut changed = token.clone();
    changed.insert(40, 'A');
    let unsigned = format!("{}.", token.rsplit_once('.').context("no token")?.0);
    for wrong in [
        delegation,
        job,
        registry,
        foreign,
        changed,
        unsigned,
        String::new(),
    ] {
        let person = Person::with_token(&emulator, &wrong, clone(&person.key)?)?;
        assert_eq!(person.get("/n").await?.said(), MISSING, "{wrong}");
    }
    // Nor is it a password or a token of the registry.
    let got = person.tool_with(token).send(Method::GET, "/v2/").await?;
    assert_eq!(got.said(), "401 UNAUTHORIZED: Unauthorized");

    emulator.skew_clock(91);
    assert_eq!(person.get("/n").await?.said(), MISSING);
    Ok(())
}

/// Whoever signed in with a browser has an hour, and a renewed token with the same key afterwards.
#[tokio::test]
async fn sessions() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let folder = tempfile::tempdir()?;
    let environment = emulator.session(folder.path())?;
    expect!["OCI_CLI_CONFIG_FILE OCI_CLI_PROFILE"]
        .assert_eq(&environment.keys().cloned().collect::<Vec<_>>().join(" "));
    let person = Person::from_profile(&emulator, &environment)?;
    let claims = claims(&person.key_id)?;
    assert_eq!(claims["sub"], json!(person.seed.user_id));
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(lifetime.map(|(end, start)| end - start), Some(60 * 60));

    person.who(&emulator).await?;
    emulator.expire_tokens();
    assert_eq!(person.get("/n").await?.said(), MISSING);
    assert_eq!(
        Person::from_profile(&emulator, &environment)?
            .get("/n")
            .await?
            .said(),
        MISSING
    );

    assert_eq!(emulator.session(folder.path())?, environment);
    let renewed = Person::from_profile(&emulator, &environment)?;
    assert_ne!(renewed.key_id, person.key_id);
    assert_eq!(public(&renewed.key)?, public(&person.key)?);
    renewed.who(&emulator).await?;
    Ok(())
}

/// A function has token and key as values or in files, and gets both anew.
#[tokio::test]
async fn resource_principals() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let folder = tempfile::tempdir()?;
    let id = format!("resource {}", emulator.seed().function_id);
    let values = emulator.resource_principal()?;
    let person = Person::from_resource(&emulator, &values)?;
    assert_eq!(person.who(&emulator).await?, id);
    let claims = claims(&person.key_id)?;
    assert_eq!(claims["res_tenant"], json!(person.seed.tenancy_id));
    assert_eq!(
        claims["res_compartment"],
        json!(person.seed.apps_compartment_id)
    );
    assert_eq!(claims["res_type"], json!("fnfunc"));

    let files = emulator.resource_principal_files(folder.path())?;
    assert!(Path::new(&files["OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM"]).is_absolute());
    let before = Person::from_resource(&emulator, &files)?;
    assert_eq!(before.who(&emulator).await?, id);
    emulator.expire_tokens();
    assert_eq!(before.get("/n").await?.said(), MISSING);

    assert_eq!(emulator.resource_principal_files(folder.path())?, files);
    let after = Person::from_resource(&emulator, &files)?;
    assert_eq!(after.who(&emulator).await?, id);
    // Half of what was renewed is of no use.
    let mixed = Person {
        key_id: after.key_id,
        ..before
    };
    assert_eq!(mixed.get("/n").await?.said(), UNVERIFIED);
    Ok(())
}

/// Cloud Shell calls in the name of its user, with a token that has to be signed, and that only an instance may use.
#[tokio::test]
async fn delegation() -> Result<()> {
    let emulator = Emulator::builder().oracle_tags().start().await?;
    let folder = tempfile::tempdir()?;
    let environment = emulator.cloud_shell(folder.path())?;
    expect!["OCI_CLI_AUTH OCI_CLI_CLOUD_SHELL OCI_CLI_CONFIG_FILE OCI_CLI_DELEGATION_TOKEN_FILE OCI_METADATA_BASE_URL OCI_obo_token_path OCI_use_obo_token"]
        .assert_eq(&environment.keys().cloned().collect::<Vec<_>>().join(" "));
    let token = fs::read_to_string(&environment["OCI_obo_token_path"])?;
    let mut person = Person::instance(&emulator).await?;
    person.delegation_token = Some(token.clone());
    assert_eq!(
        person.who(&emulator).await?,
        format!("delegation {}", person.seed.user_id)
    );
    person.repository("web").await?;
    let repository = emulator.repositories().remove(0);
    assert_eq!(repository["createdBy"], json!(person.seed.user_id));
    assert_eq!(
        repository["definedTags"]["Oracle-Tags"]["CreatedBy"],
        json!("default/docker@example.com")
    );

    let signing = Signing {
        leave_out: &["opc-obo-token"],
        ..person.signing()
    };
    let request = person.request(&signing, Method::GET, "/n", None)?;
    assert_eq!(Got::from(request.send().await?).await?.said(), MISSING);

    for wrong in [
        person.key_id.trim_start_matches("ST$"),
        &token[..token.len() - 1],
        "",
    ] {
        person.delegation_token = Some(wrong.to_owned());
        assert_eq!(person.get("/n").await?.said(), MISSING, "{wrong}");
    }
    let user = Person {
        delegation_token: Some(token.clone()),
        ..Person::of(&emulator)?
    };
    assert_eq!(user.get("/n").await?.said(), MISSING);

    // After a day, the delegation has ended, though the instance has a new token.
    emulator.skew_clock(25 * 60 * 60);
    let later = SystemTime::now() + Duration::from_secs(25 * 60 * 60);
    let got = Instance::boot(&emulator)
        .await?
        .federate(|federation| federation.date = later)
        .await?;
    let mut person = Person::with_token(&emulator, &got.text("token"), session_key()?)?;
    for (delegation_token, status) in [(None, 200), (Some(token), 401)] {
        person.delegation_token = delegation_token;
        let signing = Signing {
            date: later,
            ..person.signing()
        };
        let request = person.request(&signing, Method::GET, "/n", None)?;
        assert_eq!(request.send().await?.status(), status);
    }
    Ok(())
}

// --------------------------------------------------------------------- workload

/// Somebody in a pod.
struct Pod {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Pod {
    fn new(environment: &BTreeMap<String, String>) -> Result<Self> {
        let authority = fs::read(&environment["OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"])?;
        Ok(Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only([reqwest::Certificate::from_pem(&authority)?])
                .build()?,
            url: format!(
                "https://{}:12250/resourcePrincipalSessionTokens",
                environment["KUBERNETES_SERVICE_HOST"]
            ),
            token: fs::read_to_string(&environment["OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH"])?,
        })
    }

    async fn ask(&self, token: &str, body: &Value) -> Result<Got> {
        let mut request = self.http.post(&self.url).body(body.to_string());
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        Got::from(request.send().await?).await
    }
}

/// A pod gets a token for its service account, over TLS that only the cluster's authority vouches for.
#[tokio::test]
async fn workload_identity() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let folder = tempfile::tempdir()?;
    let environment = emulator.workload(folder.path())?;
    expect!["KUBERNETES_SERVICE_HOST OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH OCI_KUBERNETES_SERVICE_ACCOUNT_TOKEN_PATH OCI_RESOURCE_PRINCIPAL_REGION OCI_RESOURCE_PRINCIPAL_VERSION"]
        .assert_eq(&environment.keys().cloned().collect::<Vec<_>>().join(" "));
    let pod = Pod::new(&environment)?;

    let key = public(&session_key()?)?;
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
    for pod_key in [&key, &pem] {
        let got = pod
            .ask(&pod.token, &json!({ "podKey": pod_key }))
            .await?
            .accepted()?;
        let inner = STANDARD.decode(got.body.as_str().context("not a string")?)?;
        let inner: Value = serde_json::from_slice(&inner)?;
        let token = inner["token"].as_str().context("no token")?;
        let token = token.strip_prefix("ST$").context("no prefix")?;
        let person = Person::with_token(&emulator, token, session_key()?)?;
        assert_eq!(
            person.who(&emulator).await?,
            format!("workload {}", person.seed.workload_id)
        );
    }

    // A second emulator's cluster is another one, though it has the same port.
    let other = Emulator::builder().start().await?;
    let other = other.workload(&folder.path().join("other"))?;
    assert_ne!(
        other["KUBERNETES_SERVICE_HOST"],
        environment["KUBERNETES_SERVICE_HOST"]
    );
    let theirs = Pod::new(&other)?.token;

    let body = json!({ "podKey": key });
    let mut said = Vec::new();
    for (token, body) in [
        ("", &body),
        ("x.y.z", &body),
        (theirs.as_str(), &body),
        (&pod.token, &json!({ "podKey": "MIIB" })),
        (&pod.token, &json!({ "podKey": 1 })),
        (&pod.token, &json!({})),
        (&pod.token, &json!([])),
    ] {
        said.push(pod.ask(token, body).await?.said());
    }
    emulator.enhanced_cluster(false);
    said.push(pod.ask(&pod.token, &body).await?.said());
    emulator.enhanced_cluster(true);
    emulator.skew_clock(25 * 60 * 60);
    said.push(pod.ask(&pod.token, &body).await?.said());
    emulator.workload(folder.path())?;
    let renewed = Pod::new(&environment)?.token;
    said.push(pod.ask(&renewed, &body).await?.status.to_string());
    expect![[r#"
        401 NotAuthenticated: The service account token is missing, not this cluster's, or has expired.
        401 NotAuthenticated: The service account token is missing, not this cluster's, or has expired.
        401 NotAuthenticated: The service account token is missing, not this cluster's, or has expired.
        400 InvalidParameter: podKey is not an RSA key of at least 2048 bits
        400 InvalidParameter: podKey must be a string
        400 MissingParameter: Missing required parameter: podKey
        400 CannotParseRequest: Incorrectly formatted request: invalid type: sequence, expected a map at line 1 column 0
        403 NotAuthorized: Workload identity is available in enhanced clusters only.
        401 NotAuthenticated: The service account token is missing, not this cluster's, or has expired.
        200
    "#]].assert_eq(&(said.join("\n") + "\n"));

    let trusting_others = reqwest::Client::builder().no_proxy().build()?;
    let refused = trusting_others.post(&pod.url).send().await;
    assert!(refused.is_err_and(|error| error.is_connect()));
    Ok(())
}

// --------------------------------------------------------------- token exchange

/// The form of a CI job.
fn exchange(environment: &BTreeMap<String, String>) -> Result<BTreeMap<&'static str, String>> {
    let value = |name: &str| environment.get(name).cloned().context("no such variable");
    Ok(BTreeMap::from([
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange".to_owned(),
        ),
        ("public_key", public(&session_key()?)?),
        (
            "requested_token_type",
            value("OCI_TOKEN_EXCHANGE_REQUESTED_TOKEN_TYPE")?,
        ),
        (
            "subject_token",
            fs::read_to_string(value("OCI_WORKLOAD_IDENTITY_TOKEN_PATH")?)?,
        ),
        (
            "subject_token_type",
            value("OCI_TOKEN_EXCHANGE_SUBJECT_TOKEN_TYPE")?,
        ),
    ]))
}

fn encoded(form: &BTreeMap<&'static str, String>) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish()
}

async fn post_form(
    environment: &BTreeMap<String, String>,
    secret: &str,
    form: &BTreeMap<&'static str, String>,
) -> Result<Got> {
    let url = &environment["OCI_TOKEN_EXCHANGE_DOMAIN_URL"];
    let request = reqwest::Client::new()
        .post(format!("{url}/oauth2/v1/token"))
        .basic_auth(&environment["OCI_TOKEN_EXCHANGE_CLIENT_ID"], Some(secret))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(encoded(form));
    Got::from(request.send().await?).await
}

/// A CI job exchanges its token for a user's, or for a workload's that lives as long as it is asked to.
#[tokio::test]
async fn token_exchange() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let folder = tempfile::tempdir()?;
    let environment = emulator.identity_domain(folder.path())?;
    expect!["OCI_AUTH OCI_TOKEN_EXCHANGE_AUTH OCI_TOKEN_EXCHANGE_CLIENT_ID OCI_TOKEN_EXCHANGE_CLIENT_SECRET OCI_TOKEN_EXCHANGE_DOMAIN_URL OCI_TOKEN_EXCHANGE_REQUESTED_TOKEN_TYPE OCI_TOKEN_EXCHANGE_SUBJECT_TOKEN_TYPE OCI_WORKLOAD_IDENTITY_TOKEN_PATH"]
        .assert_eq(&environment.keys().cloned().collect::<Vec<_>>().join(" "));
    let secret = &environment["OCI_TOKEN_EXCHANGE_CLIENT_SECRET"];
    let mut form = exchange(&environment)?;

    let got = post_form(&environment, secret, &form).await?.accepted()?;
    let person = Person::with_token(&emulator, &got.text("token"), session_key()?)?;
    assert_eq!(
        person.who(&emulator).await?,
        format!("token_exchange {}", person.seed.user_id)
    );

    form.insert("requested_token_type", "urn:oci:token-type:oci-rpst".into());
    form.insert("res_type", "githubworkflow".into());
    form.insert("rpst_exp", "300".into());
    let got = post_form(&environment, secret, &form).await?.accepted()?;
    let person = Person::with_token(&emulator, &got.text("token"), session_key()?)?;
    assert_eq!(
        person.who(&emulator).await?,
        format!("token_exchange {}", person.seed.workload_id)
    );
    let claims = claims(&person.key_id)?;
    let lifetime = claims["exp"].as_i64().zip(claims["iat"].as_i64());
    assert_eq!(lifetime.map(|(end, start)| end - start), Some(300));
    assert_eq!(claims["res_tenant"], json!(person.seed.tenancy_id));

    // An instance needs no secret. Others do.
    let form = encoded(&exchange(&environment)?);
    let mut statuses = Vec::new();
    for person in [Person::instance(&emulator).await?, Person::of(&emulator)?] {
        let request = signed_form(&person, &form)?;
        statuses.push(request.send().await?.status().as_u16());
    }
    assert_eq!(statuses, [200, 401]);
    Ok(())
}

/// A form with a signature.
fn signed_form(person: &Person, form: &str) -> Result<RequestBuilder> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let authority = person.url.split("://").nth(1).context("no authority")?;
    let digest = STANDARD.encode(Sha256::digest(form));
    let media_type = "application/x-www-form-urlencoded";
    let text = format!(
        "date: {date}\n(request-target): post /oauth2/v1/token\nhost: {authority}\ncontent-length: {}\ncontent-type: {media_type}\nx-content-sha256: {digest}",
        form.len()
    );
    let mut signature = vec![0; person.key.public_modulus_len()];
    person.key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )?;
    let authorization = format!(
        r#"Signature version="1",headers="date (request-target) host content-length content-type x-content-sha256",keyId="{}",algorithm="rsa-sha256",signature="{}""#,
        person.key_id,
        STANDARD.encode(signature)
    );
    Ok(person
        .http
        .post(format!("{}/oauth2/v1/token", person.url))
        .header("date", date)
        .header("content-type", media_type)
        .header("x-content-sha256", digest)
        .header("authorization", authorization)
        .body(form.to_owned()))
}

/// Whatever is wrong with an exchange, OAuth has a word for it.
#[tokio::test]
async fn wrong_exchange() -> Result<()> {
    let emulator = Emulator::builder().start().await?;
    let folder = tempfile::tempdir()?;
    let environment = emulator.identity_domain(folder.path())?;
    let secret = environment["OCI_TOKEN_EXCHANGE_CLIENT_SECRET"].clone();
    let other = Emulator::builder().start().await?;
    let other = other.identity_domain(&folder.path().join("other"))?;
    let theirs = fs::read_to_string(&other["OCI_WORKLOAD_IDENTITY_TOKEN_PATH"])?;
    let upst = emulator.session(folder.path())?;
    let upst = Person::from_profile(&emulator, &upst)?
        .key_id
        .replace("ST$", "");

    let mut said = String::new();
    let mut note = |what: &str, got: Got| {
        said.push_str(&format!(
            "{what}: {} {}: {}\n",
            got.status,
            got.text("error"),
            got.text("error_description")
        ));
    };
    let cases: [(&str, &str, &str); 13] = [
        ("grant_type", "client_credentials", "another grant"),
        ("grant_type", "", "no grant"),
        ("public_key", "MIIB", "half a key"),
        ("public_key", "", "no key"),
        ("subject_token", &theirs, "another CI's token"),
        ("subject_token", &upst, "a security token"),
        ("subject_token", "", "no token"),
        ("subject_token_type", "saml", "another type"),
        (
            "requested_token_type",
            "urn:oci:token-type:oci-rpst",
            "no res_type",
        ),
        (
            "requested_token_type",
            "urn:oci:token-type:oci-x",
            "an unknown token",
        ),
        ("res_type", "x", "res_type for a user"),
        ("rpst_exp", "60", "rpst_exp for a user"),
        ("color", "red", "an unknown parameter"),
    ];
    for (name, value, what) in cases {
        let mut form = exchange(&environment)?;
        form.insert(name, value.to_owned());
        note(what, post_form(&environment, &secret, &form).await?);
    }
    let mut form = exchange(&environment)?;
    note(
        "another secret",
        post_form(&environment, "secret", &form).await?,
    );
    let got = reqwest::Client::new()
        .post(format!("{}/oauth2/v1/token", emulator.url()))
        .basic_auth(&environment["OCI_TOKEN_EXCHANGE_CLIENT_ID"], Some(&secret))
        .header("content-type", "application/json")
        .body(json!(form).to_string());
    note("JSON", Got::from(got.send().await?).await?);
    let got = reqwest::Client::new()
        .post(format!("{}/oauth2/v1/token", emulator.url()))
        .form_body(&form);
    note("nobody", Got::from(got.send().await?).await?);
    form.insert("requested_token_type", "urn:oci:token-type:oci-rpst".into());
    form.insert("res_type", "x".into());
    form.insert("rpst_exp", "soon".into());
    note("no number", post_form(&environment, &secret, &form).await?);

    emulator.fail_next("ExchangeToken", Fault::status(503));
    let form = exchange(&environment)?;
    note("a fault", post_form(&environment, &secret, &form).await?);
    emulator.skew_clock(25 * 60 * 60);
    note(
        "an expired token",
        post_form(&environment, &secret, &form).await?,
    );
    expect![[r#"
        another grant: 400 unsupported_grant_type: The grant type is not supported.
        no grant: 400 invalid_request: Missing parameter: grant_type
        half a key: 400 invalid_request: public_key is not base64 of an RSA key's DER
        no key: 400 invalid_request: Missing parameter: public_key
        another CI's token: 400 invalid_grant: The subject token is not trusted or has expired.
        a security token: 400 invalid_grant: The subject token is not trusted or has expired.
        no token: 400 invalid_request: Missing parameter: subject_token
        another type: 400 invalid_request: subject_token_type must be jwt
        no res_type: 400 invalid_request: Missing parameter: res_type
        an unknown token: 400 invalid_request: Unknown requested_token_type: urn:oci:token-type:oci-x
        res_type for a user: 400 invalid_request: res_type and rpst_exp need urn:oci:token-type:oci-rpst
        rpst_exp for a user: 400 invalid_request: res_type and rpst_exp need urn:oci:token-type:oci-rpst
        an unknown parameter: 400 invalid_request: Unknown parameter: color
        another secret: 401 invalid_client: Client authentication failed.
        JSON: 400 invalid_request: Unknown content type: application/json
        nobody: 401 invalid_client: Client authentication failed.
        no number: 400 invalid_request: rpst_exp must be a number of seconds
        a fault: 503 temporarily_unavailable: The service is currently unavailable.
        an expired token: 400 invalid_grant: The subject token is not trusted or has expired.
    "#]].assert_eq(&said);
    Ok(())
}

trait FormBody {
    fn form_body(self, form: &BTreeMap<&'static str, String>) -> RequestBuilder;
}

impl FormBody for RequestBuilder {
    fn form_body(self, form: &BTreeMap<&'static str, String>) -> RequestBuilder {
        self.header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(form))
    }
}
