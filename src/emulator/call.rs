//! One signed request, as a command: what `curl` would be if it could sign.
//!
//! For people who play with the emulator, and for scripts that change things
//! behind Terraform's back. It signs by its own reading of the documents.

use std::{collections::HashMap, fmt, fs, path::Path, time::SystemTime};

use aws_lc_rs::{rand::SystemRandom, signature::RSA_PKCS1_SHA256};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::key::key_pair;

/// A call that got no answer, or a bad one.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body, as text.
    pub body: String,
}

/// Sends one request, signed with the key of a folder that [`Builder::config`](super::Builder::config) filled.
pub async fn call(
    config: &Path,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, Error> {
    let profile = Profile::read(config)?;
    let method: http::Method = method
        .to_ascii_uppercase()
        .parse()
        .map_err(|_| Error(format!("not a method: {method}")))?;
    // What follows the endpoint is its path, and never the rest of another host's name.
    if !path.starts_with('/') {
        return Err(Error(format!(
            "the path is \"{path}\", which has to begin with a slash, for example /20160918/regions"
        )));
    }
    let address = format!("{}{path}", profile.endpoint);
    let address =
        url::Url::parse(&address).map_err(|error| Error(format!("{address}: {error}")))?;
    let with_body = matches!(
        method,
        http::Method::POST | http::Method::PUT | http::Method::PATCH
    );

    let mut headers = vec![
        ("date", httpdate::fmt_http_date(SystemTime::now())),
        ("(request-target)", {
            let query = address
                .query()
                .map(|query| format!("?{query}"))
                .unwrap_or_default();
            format!(
                "{} {}{query}",
                method.as_str().to_ascii_lowercase(),
                address.path()
            )
        }),
        ("host", address.authority().to_owned()),
    ];
    let body = body.unwrap_or_default();
    if with_body {
        headers.extend([
            ("content-length", body.len().to_string()),
            ("content-type", "application/json".to_owned()),
            ("x-content-sha256", STANDARD.encode(Sha256::digest(body))),
        ]);
    }
    let authorization = profile.sign(&headers)?;

    let mut request = reqwest::Client::builder()
        .no_proxy()
        .build()
        .map_err(|error| Error(chain(&error)))?
        .request(method, address)
        .header("authorization", authorization)
        .header("accept", "application/json");
    for (name, value) in headers {
        // The host is sent by the client itself, the same one.
        if !matches!(name, "(request-target)" | "host" | "content-length") {
            request = request.header(name, value);
        }
    }
    if with_body {
        request = request.body(body.to_owned());
    }
    let response = request.send().await.map_err(|error| Error(chain(&error)))?;
    let status = response.status().as_u16();
    let body = response
        .text()
        .await
        .map_err(|error| Error(chain(&error)))?;
    Ok(Answer { status, body })
}

struct Profile {
    endpoint: String,
    key_id: String,
    key: aws_lc_rs::signature::RsaKeyPair,
}

impl Profile {
    fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|error| Error(format!("{}: {error}", path.display())))
        };
        let config = read("config")?;
        // The first profile, which has the user's own key.
        let values: HashMap<&str, &str> = config
            .lines()
            .skip(1)
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let value = |name: &str| {
            values
                .get(name)
                .copied()
                .ok_or_else(|| Error(format!("{}: no {name}", folder.join("config").display())))
        };
        Ok(Self {
            endpoint: read("endpoint")?.trim().to_owned(),
            key_id: format!(
                "{}/{}/{}",
                value("tenancy")?,
                value("user")?,
                value("fingerprint")?
            ),
            key: key_pair(&read("key.pem")?)
                .map_err(|error| Error(format!("{}: {error}", folder.join("key.pem").display())))?,
        })
    }

    fn sign(&self, headers: &[(&str, String)]) -> Result<String, Error> {
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let lines: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                lines.join("\n").as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error("the key cannot sign".into()))?;
        Ok(format!(
            r#"Signature version="1",keyId="{}",algorithm="rsa-sha256",headers="{}",signature="{}""#,
            self.key_id,
            names.join(" "),
            STANDARD.encode(signature)
        ))
    }
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
