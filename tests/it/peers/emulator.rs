//! Our own emulator, as a registry like the others.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use ocir::{
    emulator::Emulator,
    oci::{self, CreateContainerRepository},
    registry::{self, Client, Credentials, Token, TokenSource},
    transport::{Options, RetryPolicy, http_client},
};

use super::Registry;
use crate::support;

/// An emulator, and its user's way in.
pub struct Oracle {
    emulator: Emulator,
    oci: oci::Client,
    /// What container tools sign in with.
    login: String,
}

impl Oracle {
    pub async fn start() -> anyhow::Result<Self> {
        let emulator = Emulator::builder().start().await?;
        let seed = emulator.seed().clone();
        let oci = support::client::oci(&emulator).await?;
        let password = oci
            .create_auth_token(&seed.user_id, "for container tools")
            .await?
            .token
            .context("the answer has no token")?;
        let login = format!("{}/{}:{password}", seed.namespace, seed.user_name);
        Ok(Self {
            emulator,
            oci,
            login,
        })
    }
}

impl Registry for Oracle {
    fn authority(&self) -> String {
        self.emulator.authority()
    }

    fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(registry::Config {
            http: http_client(&Options::default())?,
            host: self.emulator.authority(),
            plain_http: true,
            credentials: Credentials::Token(Arc::new(Identity {
                oci: self.oci.clone(),
                base: self.emulator.url(),
            })),
            max_concurrent_uploads: 4,
            retry: RetryPolicy::without_waiting(),
        }))
    }

    async fn repository(&self, name: &str) -> anyhow::Result<String> {
        let seed = self.emulator.seed();
        let display_name = format!("peers/{name}");
        self.oci
            .create_container_repository(&CreateContainerRepository {
                compartment_id: seed.apps_compartment_id.clone(),
                display_name: display_name.clone(),
                ..CreateContainerRepository::default()
            })
            .await?;
        Ok(format!("{}/{display_name}", seed.namespace))
    }

    fn skopeo(&self, side: &str) -> String {
        format!("--{side}tls-verify=false --{side}creds {}", self.login)
    }

    fn changes(&self, repository: &str) -> anyhow::Result<Vec<String>> {
        let path = format!("/v2/{repository}/");
        Ok(self
            .emulator
            .requests()
            .into_iter()
            .filter(|request| !["GET", "HEAD"].contains(&request.method.as_str()))
            .filter(|request| request.path.contains(&path))
            .map(|request| format!("{} {}", request.method, request.path))
            .collect())
    }
}

/// The provider's own identity as a login to the registry.
struct Identity {
    oci: oci::Client,
    base: String,
}

impl TokenSource for Identity {
    fn token(&self) -> BoxFuture<'_, Result<Token, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async {
            let asked = Instant::now();
            let token = self.oci.get_registry_token(&self.base).await?;
            Ok(Token {
                token: token.token,
                expires_at: asked + token.expires_in,
            })
        })
    }
}
