//! Oracle's request signature, as a pure function of the request, the key and
//! the date.
//!
//! <https://docs.oracle.com/en-us/iaas/Content/API/Concepts/signingrequests.htm>
//!
//! What comes in is what will stand on the wire; what goes out are the headers
//! that have to stand there too. Nothing here sends, reads files or looks at a
//! clock, and a signature that fails leaves the request as it was.

mod key;

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

pub use key::{KeyError, SigningKey};

/// What of a request is signed.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// For example `GET`.
    pub method: &'a str,
    /// Path and query exactly as sent on the wire.
    pub path_and_query: &'a str,
    /// The Host header as sent, with a port when it is not the default one.
    pub host: &'a str,
    /// The body of a POST, PUT or PATCH; `None` there is an empty one, which
    /// is signed like any other.
    pub body: Option<&'a [u8]>,
    /// A delegation token, which is sent and signed as `opc-obo-token`. A secret.
    pub delegation_token: Option<&'a str>,
    /// Which of the usual headers the signature covers.
    pub coverage: Coverage,
}

/// Which headers a signature covers beside the date and the request's target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// The host, and the body of a method that has one.
    #[default]
    Full,
    /// The host only, whatever the method: Object Storage takes the bytes of
    /// PutObject and UploadPart unsigned.
    WithoutBody,
    /// The body but not the host: the federation call to `/v1/x509`.
    WithoutHost,
    /// Host and body, which is a form instead of JSON: an identity domain's
    /// token endpoint.
    Form,
}

/// Why a request could not be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value that no header can carry, such as one with a line break.
    #[error("the value of `{name}` cannot stand in a header")]
    Header {
        /// Name of the header.
        name: &'static str,
    },
    /// The cryptographic library refused.
    #[error("the key could not sign")]
    Key,
}

/// The media type of the bodies that are signed here, but for forms.
pub const CONTENT_TYPE: &str = "application/json";

/// The media type of forms.
pub const FORM_CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// Signs a request: gives the headers that it has to carry beside its own.
///
/// These are `date`, `host` and `authorization`, for a method with a body also
/// `content-length`, `content-type` and `x-content-sha256`, and the delegation
/// token when there is one. A request that is sent again is signed again, for
/// its date is part of the signature.
pub fn sign(
    parts: &Parts<'_>,
    key_id: &str,
    key: &SigningKey,
    date: SystemTime,
) -> Result<HeaderMap, Error> {
    let mut signed = Signed::default();
    signed.header("date", header::DATE, httpdate::fmt_http_date(date))?;
    signed.line(
        "(request-target)",
        &format!(
            "{} {}",
            parts.method.to_ascii_lowercase(),
            parts.path_and_query
        ),
    );
    // The host is sent in any case; in the federation call it is not signed.
    if parts.coverage == Coverage::WithoutHost {
        signed
            .headers
            .insert(header::HOST, value("host", parts.host)?);
    } else {
        signed.header("host", header::HOST, parts.host)?;
    }
    if let Some(token) = parts.delegation_token {
        let name = HeaderName::from_static("opc-obo-token");
        signed.header("opc-obo-token", name.clone(), token)?;
        if let Some(value) = signed.headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    if parts.coverage != Coverage::WithoutBody && has_body(parts.method) {
        let body = parts.body.unwrap_or_default();
        signed.header(
            "content-length",
            header::CONTENT_LENGTH,
            body.len().to_string(),
        )?;
        let content_type = match parts.coverage {
            Coverage::Form => FORM_CONTENT_TYPE,
            _ => CONTENT_TYPE,
        };
        signed.header("content-type", header::CONTENT_TYPE, content_type)?;
        signed.header(
            "x-content-sha256",
            HeaderName::from_static("x-content-sha256"),
            BASE64.encode(Sha256::digest(body)),
        )?;
    }

    let signature = key.sign(signed.string.as_bytes()).ok_or(Error::Key)?;
    // The order of the parameters has no meaning; this is the one of Oracle's
    // Go SDK and of the public documentation.
    let authorization = format!(
        r#"Signature version="1",headers="{}",keyId="{key_id}",algorithm="rsa-sha256",signature="{}""#,
        signed.names.join(" "),
        BASE64.encode(signature),
    );
    let mut authorization = value("authorization", &authorization)?;
    authorization.set_sensitive(true);
    signed.headers.insert(header::AUTHORIZATION, authorization);
    Ok(signed.headers)
}

/// Whether requests of a method carry a body, be it an empty one.
pub fn has_body(method: &str) -> bool {
    ["POST", "PUT", "PATCH"]
        .iter()
        .any(|with_body| with_body.eq_ignore_ascii_case(method))
}

/// What is signed so far: the string, the names in it, and the headers.
#[derive(Default)]
struct Signed {
    string: String,
    names: Vec<&'static str>,
    headers: HeaderMap,
}

impl Signed {
    fn line(&mut self, name: &'static str, value: &str) {
        if !self.string.is_empty() {
            self.string.push('\n');
        }
        self.string.push_str(name);
        self.string.push_str(": ");
        self.string.push_str(value);
        self.names.push(name);
    }

    fn header(
        &mut self,
        name: &'static str,
        header: HeaderName,
        text: impl AsRef<str>,
    ) -> Result<(), Error> {
        self.line(name, text.as_ref());
        self.headers.insert(header, value(name, text.as_ref())?);
        Ok(())
    }
}

fn value(name: &'static str, text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| Error::Header { name })
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("method", &self.method)
            .field("path_and_query", &self.path_and_query)
            .field("host", &self.host)
            .field("body", &self.body.map(<[u8]>::len))
            .field(
                "delegation_token",
                &self.delegation_token.map(|_| "[redacted]"),
            )
            .field("coverage", &self.coverage)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::Value;

    use super::*;

    fn vectors() -> anyhow::Result<Value> {
        Ok(serde_json::from_str(include_str!(
            "../../tests/fixtures/signing-vectors.json"
        ))?)
    }

    fn key(vectors: &Value) -> anyhow::Result<SigningKey> {
        let pem = text(&vectors["key"]["pkcs8_pem"])?;
        Ok(SigningKey::from_pkcs8_der(&der(pem)?)?)
    }

    fn text(value: &Value) -> anyhow::Result<&str> {
        value
            .as_str()
            .ok_or_else(|| anyhow::anyhow!("no text: {value}"))
    }

    fn der(pem: &str) -> anyhow::Result<Vec<u8>> {
        let body: String = pem.lines().filter(|line| !line.contains("-----")).collect();
        Ok(BASE64.decode(body)?)
    }

    /// The parameters of an Authorization header, in their order.
    fn parameters(header: &str) -> anyhow::Result<Vec<&str>> {
        let parameters = header
            .strip_prefix("Signature ")
            .ok_or_else(|| anyhow::anyhow!("not a signature: {header}"))?;
        Ok(parameters.split(',').collect())
    }

    /// Every published vector, none left out: the signed names, each header,
    /// the signature, and the Authorization header in both SDKs' orders.
    #[test]
    fn reproduces_every_vector() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let key = key(&vectors)?;
        let cases = vectors["vectors"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(cases.len(), 16);
        for case in cases {
            let name = text(&case["name"])?;
            let sent = &case["request_headers"];
            let names: Vec<&str> = case["signed_headers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let target = text(&case["request_target"])?;
            let (method, path_and_query) = target
                .split_once(' ')
                .ok_or_else(|| anyhow::anyhow!("{name}: {target}"))?;
            let coverage = match (
                names.contains(&"host"),
                names.contains(&"x-content-sha256") || !has_body(method),
            ) {
                (true, true) => Coverage::Full,
                (true, false) => Coverage::WithoutBody,
                (false, _) => Coverage::WithoutHost,
            };

            let headers = sign(
                &Parts {
                    method: text(&case["method"])?,
                    path_and_query,
                    host: text(&case["host"])?,
                    body: case["body"].as_str().map(str::as_bytes),
                    delegation_token: sent["opc-obo-token"].as_str(),
                    coverage,
                },
                text(&case["key_id"])?,
                &key,
                httpdate::parse_http_date(text(&vectors["date"])?)?,
            )?;

            // Whatever we add stands in the vector's request with the same value.
            for (header, value) in &headers {
                if header != header::AUTHORIZATION {
                    assert_eq!(
                        value.to_str()?,
                        text(&sent[header.as_str()])?,
                        "{name} {header}"
                    );
                }
            }
            // And whatever is signed is there.
            for header in names.iter().filter(|name| **name != "(request-target)") {
                assert!(headers.contains_key(*header), "{name} lacks {header}");
            }
            assert!(headers.contains_key(header::HOST), "{name} lacks the host");
            let authorization = headers[header::AUTHORIZATION].to_str()?;
            assert_eq!(
                authorization,
                text(&case["authorization_go_order"])?,
                "{name}"
            );
            // The Python SDK sorts the parameters by name.
            let mut sorted = parameters(authorization)?;
            sorted.sort_unstable();
            assert_eq!(
                format!("Signature {}", sorted.join(",")),
                text(&case["authorization_python_order"])?,
                "{name}"
            );
            let signature = format!(r#"signature="{}""#, text(&case["signature"])?);
            assert!(authorization.ends_with(&signature), "{name}");
        }
        Ok(())
    }

    /// The string under the signature is the documented one: it is what the
    /// public key verifies, and a changed byte is noticed.
    #[test]
    fn signature_verifies_over_the_documented_string() -> anyhow::Result<()> {
        let vectors = vectors()?;
        let public = aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256,
            der(text(&vectors["key"]["public_key_spki_pem"])?)?,
        );
        let key = key(&vectors)?;
        for case in vectors["vectors"].as_array().into_iter().flatten() {
            let string = text(&case["signing_string"])?;
            let signature = key.sign(string.as_bytes()).unwrap_or_default();
            assert_eq!(BASE64.encode(&signature), text(&case["signature"])?);
            assert!(public.verify(string.as_bytes(), &signature).is_ok());
            assert!(
                public
                    .verify(format!("{string} ").as_bytes(), &signature)
                    .is_err()
            );
        }
        Ok(())
    }

    /// Every request that Oracle's CLI was recorded to send, by whichever
    /// identity: we sign the same string under the same names, byte for byte. (The
    /// keys of the recordings are not known, so that ours signs both.)
    #[test]
    fn signs_the_string_of_every_recorded_request() -> anyhow::Result<()> {
        let key = key(&vectors()?)?;
        let captures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/captures");
        let mut signed = 0;
        for file in std::fs::read_dir(captures)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let capture = std::fs::read_to_string(file.path())?;
            for request in capture.split("### request ").skip(1) {
                let Some((_, string)) = request.split_once("--- signing string ---\n") else {
                    continue;
                };
                let string = string.split("\n--- end ---").next().unwrap_or_default();
                let (head, body) = request
                    .split_once("\n\n")
                    .ok_or_else(|| anyhow::anyhow!("{name}: no end of the head"))?;
                // The recordings end a body with an empty line of their own.
                let body = body
                    .split("\n\n### verification")
                    .next()
                    .unwrap_or_default();
                let header = |wanted: &str| {
                    head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case(wanted).then_some(value)
                    })
                };
                let mut words = head.lines().nth(1).unwrap_or_default().split(' ');
                let method = words.next().unwrap_or_default();
                let headers = sign(
                    &Parts {
                        method,
                        path_and_query: words.next().unwrap_or_default(),
                        host: header("host").unwrap_or_default(),
                        body: has_body(method).then_some(body.as_bytes()),
                        delegation_token: header("opc-obo-token"),
                        coverage: if string.contains("\nhost: ") {
                            Coverage::Full
                        } else {
                            Coverage::WithoutHost
                        },
                    },
                    "key",
                    &key,
                    httpdate::parse_http_date(header("date").unwrap_or_default())?,
                )?;
                let names: Vec<&str> = string
                    .lines()
                    .filter_map(|line| line.split(": ").next())
                    .collect();
                let expected = format!(
                    r#"Signature version="1",headers="{}",keyId="key",algorithm="rsa-sha256",signature="{}""#,
                    names.join(" "),
                    BASE64.encode(key.sign(string.as_bytes()).unwrap_or_default())
                );
                assert_eq!(
                    headers[header::AUTHORIZATION].to_str()?,
                    expected,
                    "{name}: {string}"
                );
                signed += 1;
            }
        }
        // Two of the files have the federation call beside their last request.
        assert_eq!(signed, std::fs::read_dir(captures)?.count() + 2);
        Ok(())
    }

    /// An OCID with a line break, as a careless `file()` gives it, cannot
    /// smuggle a header in.
    #[test]
    fn refuses_values_that_no_header_can_carry() -> anyhow::Result<()> {
        let key = key(&vectors()?)?;
        let parts = Parts {
            method: "GET",
            path_and_query: "/n",
            host: "127.0.0.1:8080",
            body: None,
            delegation_token: None,
            coverage: Coverage::Full,
        };
        let message = |parts: &Parts<'_>, key_id: &str| {
            sign(parts, key_id, &key, SystemTime::UNIX_EPOCH)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(
            message(&parts, "tenancy/user\r\nx: y/fingerprint").as_deref(),
            Some("the value of `authorization` cannot stand in a header")
        );
        let parts = Parts {
            delegation_token: Some("to\nken"),
            ..parts
        };
        assert_eq!(
            message(&parts, "tenancy/user/fingerprint").as_deref(),
            Some("the value of `opc-obo-token` cannot stand in a header")
        );
        Ok(())
    }

    /// Neither the parts nor the headers print the delegation token or the signature.
    #[test]
    fn debug_shows_no_secret() -> anyhow::Result<()> {
        let parts = Parts {
            method: "GET",
            path_and_query: "/n",
            host: "127.0.0.1",
            body: Some(b"a body"),
            delegation_token: Some("delegated"),
            coverage: Coverage::Full,
        };
        let headers = sign(
            &parts,
            "ST$session",
            &key(&vectors()?)?,
            SystemTime::UNIX_EPOCH,
        )?;
        let printed = format!("{parts:?} {headers:?}");
        expect![[r#"Parts { method: "GET", path_and_query: "/n", host: "127.0.0.1", body: Some(6), delegation_token: Some("[redacted]"), coverage: Full } {"date": "Thu, 01 Jan 1970 00:00:00 GMT", "host": "127.0.0.1", "opc-obo-token": Sensitive, "authorization": Sensitive}"#]].assert_eq(&printed);
        Ok(())
    }
}
