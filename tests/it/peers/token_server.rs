//! The server that gives out tokens for a docker-registry, as the registry's
//! documentation describes it: <https://distribution.github.io/distribution/spec/auth/jwt/>.

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::docker_registry::{PASSWORD, USERNAME};

/// Who the registry is to the server.
pub const SERVICE: &str = "peers";
/// Who the server is to the registry.
pub const ISSUER: &str = "a test";

/// A running server; it ends when dropped.
pub struct TokenServer {
    /// Where tokens are to be had.
    pub realm: String,
    /// What the registry trusts, as PEM.
    pub certificate: String,
    _end: DropGuard,
}

struct Signer {
    key: EcdsaKeyPair,
    certificate: String,
}

impl TokenServer {
    pub async fn start() -> anyhow::Result<Self> {
        let pair = rcgen::KeyPair::generate()?;
        let certificate = rcgen::CertificateParams::new(Vec::new())?.self_signed(&pair)?;
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der())?;
        let signer = Arc::new(Signer {
            key,
            certificate: STANDARD.encode(certificate.der()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let realm = format!("http://{}/token", listener.local_addr()?);
        let end = CancellationToken::new();
        let serving = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let signer = signer.clone();
                let service = service_fn(move |request| answer(signer.clone(), request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(serving));
        Ok(Self {
            realm,
            certificate: certificate.pem(),
            _end: end.drop_guard(),
        })
    }
}

async fn answer(
    signer: Arc<Signer>,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let basic = format!(
        "Basic {}",
        STANDARD.encode(format!("{USERNAME}:{PASSWORD}"))
    );
    let is_known = request
        .headers()
        .get(header::AUTHORIZATION)
        .is_some_and(|given| given.as_bytes() == basic.as_bytes());
    let (status, body) = match (
        is_known,
        signer.token(request.uri().query().unwrap_or_default()),
    ) {
        (true, Ok(token)) => (200, json!({ "token": token, "expires_in": 300 })),
        (false, _) => (401, json!({ "details": "incorrect username or password" })),
        (true, Err(error)) => (500, json!({ "details": error.to_string() })),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status.try_into().unwrap_or_default();
    Ok(response)
}

impl Signer {
    /// A token for the scopes that are asked for, and for nothing else.
    fn token(&self, query: &str) -> anyhow::Result<String> {
        let asked = url::form_urlencoded::parse(query.as_bytes());
        let mut access = Vec::new();
        for (_, scope) in asked.filter(|(name, _)| name == "scope") {
            for scope in scope.split(' ') {
                let mut parts = scope.splitn(2, ':');
                let (kind, rest) = (parts.next(), parts.next().context("half a scope")?);
                let (name, actions) = rest.rsplit_once(':').context("half a scope")?;
                let actions: Vec<&str> = actions.split(',').collect();
                access.push(json!({ "type": kind, "name": name, "actions": actions }));
            }
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)?
            .as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": ISSUER, "sub": USERNAME, "aud": SERVICE, "jti": "1",
            "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
        });
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let signed = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
