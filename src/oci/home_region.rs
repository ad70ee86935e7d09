//! Where IAM is changed: in the tenancy's home region only, whatever region
//! the provider is configured for. Reads stay where they are.

use super::{
    Client, Error,
    call::{Call, Marks},
    client::Answer,
};
use crate::region::{Region, Service};

impl Client {
    /// Sends a change of IAM, to the home region.
    ///
    /// Found out once per client: the tenancy's region subscriptions say it,
    /// else the tenancy itself. A principal that may read neither, or is in no tenancy
    /// that it knows of, asks in the configured region, and the refusal
    /// (403 `NotAllowed`, which did nothing) names the one to go to.
    pub(super) async fn send_home(&self, call: &Call) -> Result<Answer, Error> {
        let region = self.home_region().await?;
        let marks = Marks::new(call);
        let error = match self.send_to(call, &marks, &region).await {
            Err(error) if error.is_wrong_region() => error,
            answer => return answer,
        };
        let named = error
            .home_region_key()
            .and_then(|key| self.region_of_key(key))
            .filter(|named| self.is_elsewhere(named, &region));
        let Some(named) = named else {
            return Err(error);
        };
        tracing::info!(
            operation = call.operation,
            region = region.identifier,
            home_region = named.identifier,
            "The service says where the home region is"
        );
        *self.unless_stopped(self.shared.home.lock()).await? = Some(named.clone());
        self.send_to(call, &marks, &named).await
    }

    /// The home region as far as it can be known beforehand, else the
    /// configured one. Many callers cause one request.
    async fn home_region(&self) -> Result<Region, Error> {
        let configured = self.region();
        if !self.is_regional(Service::Identity) {
            return Ok(configured.clone());
        }
        let mut known = self.unless_stopped(self.shared.home.lock()).await?;
        if let Some(region) = &*known {
            return Ok(region.clone());
        }
        // Some sources learn the tenancy with the first credential, which is
        // needed next in any case.
        self.credential().await?;
        let Some(tenancy_id) = self.credentials().tenancy_id() else {
            return Ok(configured.clone());
        };
        match self.look_up_home(&tenancy_id).await? {
            Lookup::Found(region) => {
                tracing::debug!(home_region = region.identifier, "Found the home region");
                *known = Some(region.clone());
                Ok(region)
            }
            Lookup::NotTold => {
                *known = Some(configured.clone());
                Ok(configured.clone())
            }
            Lookup::Failed => Ok(configured.clone()),
        }
    }

    async fn look_up_home(&self, tenancy_id: &str) -> Result<Lookup, Error> {
        match self.region_subscriptions(tenancy_id).await {
            Ok(regions) => {
                let home = regions.into_iter().find(|region| region.is_home_region);
                if let Some(home) = home {
                    let region = self.region_of(&home.region_name, &home.region_key);
                    return Ok(Lookup::Found(region));
                }
            }
            Err(error) => {
                if let Some(lookup) = passed_over(error)? {
                    return Ok(lookup);
                }
            }
        }
        match self.get_tenancy(tenancy_id).await {
            Ok(tenancy) => Ok(self
                .region_of_key(&tenancy.home_region_key)
                .map_or(Lookup::NotTold, Lookup::Found)),
            Err(error) => Ok(passed_over(error)?.unwrap_or(Lookup::NotTold)),
        }
    }

    /// A region of our realm. One that is newer than all tables has its name
    /// and its key from the service, and its domain from its neighbours.
    fn region_of(&self, name: &str, key: &str) -> Region {
        let configured = self.region();
        match self.config.regions.find(name) {
            Ok(region) if region.realm == configured.realm => region,
            _ => Region {
                identifier: name.to_ascii_lowercase(),
                key: key.to_ascii_lowercase(),
                realm: configured.realm.clone(),
                second_level_domain: configured.second_level_domain.clone(),
            },
        }
    }

    fn region_of_key(&self, key: &str) -> Option<Region> {
        let region = self.config.regions.find(key).ok();
        let region = region.filter(|region| {
            region.key.eq_ignore_ascii_case(key) && region.realm == self.region().realm
        });
        if region.is_none() {
            tracing::debug!(key, "The home region has a key that is not known here");
        }
        region
    }

    /// Whether a region's IAM is asked at another address than the other's.
    fn is_elsewhere(&self, region: &Region, other: &Region) -> bool {
        let address = |region| self.address_in(Service::Identity, region).ok();
        address(region) != address(other)
    }
}

/// What looking for the home region came to.
enum Lookup {
    Found(Region),
    /// Nobody says it; asking again helps nothing.
    NotTold,
    /// Not this time.
    Failed,
}

/// What a failed question means: `None` goes on to the next one. An error
/// that the change itself would meet is its error.
fn passed_over(error: Error) -> Result<Option<Lookup>, Error> {
    if matches!(
        error,
        Error::Stopped | Error::StoppedUnheard | Error::Credentials(_) | Error::Configuration(_)
    ) {
        return Err(error);
    }
    tracing::debug!(%error, "The home region could not be looked up");
    Ok(match error.status() {
        Some(403 | 404) => None,
        _ => Some(Lookup::Failed),
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use expect_test::expect;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::oci::{
        Config,
        testing::{FakeService, Source, answer, config, refusal},
    };

    const USER: &str = "ocid1.user.oc1..a";
    const TENANCY: &str = "ocid1.tenancy.oc1..a";

    /// A client in São Paulo of a service with one address per region.
    fn client(service: &FakeService, tenancy_id: Option<&str>) -> anyhow::Result<Client> {
        let mut source = Source::new()?;
        source.tenancy_id = tenancy_id.map(str::to_owned);
        Ok(Client::new(Config {
            credentials: Arc::new(source),
            ..config(Some(&format!("{}/~{{region}}", service.url)))?
        })?)
    }

    fn auth_token() -> String {
        let body = include_str!("../../tests/fixtures/oci/auth-token-create.json");
        answer(200, "", body)
    }

    fn go_to(key: &str) -> String {
        let message = format!(
            "Please go to your home region {key} to execute CREATE, UPDATE and DELETE operations."
        );
        let body = json!({"code": "NotAllowed", "message": message});
        answer(403, "", &body.to_string())
    }

    fn subscriptions(name: &str, key: &str) -> String {
        let body = json!([
            {"regionKey": "GRU", "regionName": "sa-saopaulo-1", "isHomeRegion": false},
            {"regionKey": key, "regionName": name, "isHomeRegion": true},
        ]);
        answer(200, "", &body.to_string())
    }

    /// A principal that knows of no tenancy asks nobody where its home is:
    /// the refusal tells, once.
    #[tokio::test]
    async fn without_a_tenancy() -> anyhow::Result<()> {
        let service = FakeService::start([go_to("FRA"), auth_token(), auth_token()]).await?;
        let client = client(&service, None)?;
        client.create_auth_token(USER, "").await?;
        client.clone().create_auth_token(USER, "").await?;
        expect![[r#"
            POST /~sa-saopaulo-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1
            POST /~eu-frankfurt-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1
            POST /~eu-frankfurt-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1"#]]
        .assert_eq(&service.lines());
        let mut tokens = service.header("opc-retry-token");
        tokens.dedup();
        assert_eq!(tokens.len(), 2, "one for each call");
        Ok(())
    }

    /// A home region that is newer than every table is believed.
    #[tokio::test]
    async fn region_of_tomorrow() -> anyhow::Result<()> {
        let service =
            FakeService::start([subscriptions("mars-olympus-1", "OLY"), auth_token()]).await?;
        let client = client(&service, Some(TENANCY))?;
        client.create_auth_token(USER, "").await?;
        expect![[r#"
            GET /~sa-saopaulo-1/20160918/tenancies/ocid1.tenancy.oc1..a/regionSubscriptions HTTP/1.1
            POST /~mars-olympus-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1"#]]
        .assert_eq(&service.lines());
        let region = client.region_of("mars-olympus-1", "OLY");
        assert_eq!(
            region.host(Service::Identity),
            "identity.mars-olympus-1.oci.oraclecloud.com"
        );
        Ok(())
    }

    /// A refusal that names a region nobody knows, or the one that was asked,
    /// or none, is the answer; it says where it came from.
    #[tokio::test]
    async fn refusal_without_a_way_out() -> anyhow::Result<()> {
        for key in ["XYZ", "GRU", "far away", "LFI"] {
            let service = FakeService::start([go_to(key), auth_token()]).await?;
            let error = client(&service, None)?.create_auth_token(USER, "").await;
            let error = error
                .err()
                .ok_or_else(|| anyhow::anyhow!("sent on: {key}"))?;
            assert!(error.is_wrong_region(), "{error}");
            assert_eq!(error.region(), Some("sa-saopaulo-1"));
            assert_eq!(service.requests().len(), 1, "{key}");
        }
        Ok(())
    }

    /// A region that sends us on to another one, which sends us on: once is enough.
    #[tokio::test]
    async fn sent_from_one_to_another() -> anyhow::Result<()> {
        let service = FakeService::start([go_to("FRA"), go_to("IAD"), auth_token()]).await?;
        let error = client(&service, None)?.create_auth_token(USER, "").await;
        let error = error.err().ok_or_else(|| anyhow::anyhow!("accepted"))?;
        assert_eq!(error.region(), Some("eu-frankfurt-1"));
        assert_eq!(service.requests().len(), 2);
        Ok(())
    }

    /// A question that fails this time is asked again the next, and does not
    /// stand in the way of the change; one that is not allowed is not.
    #[tokio::test]
    async fn failed_questions() -> anyhow::Result<()> {
        let service = FakeService::start([
            refusal(401, "NotAuthenticated"),
            auth_token(),
            refusal(404, "NotAuthorizedOrNotFound"),
            refusal(403, "NotAuthorized"),
            auth_token(),
            auth_token(),
        ])
        .await?;
        let client = client(&service, Some(TENANCY))?;
        for _ in 0..3 {
            client.create_auth_token(USER, "").await?;
        }
        expect![[r#"
            GET /~sa-saopaulo-1/20160918/tenancies/ocid1.tenancy.oc1..a/regionSubscriptions HTTP/1.1
            POST /~sa-saopaulo-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1
            GET /~sa-saopaulo-1/20160918/tenancies/ocid1.tenancy.oc1..a/regionSubscriptions HTTP/1.1
            GET /~sa-saopaulo-1/20160918/tenancies/ocid1.tenancy.oc1..a HTTP/1.1
            POST /~sa-saopaulo-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1
            POST /~sa-saopaulo-1/20160918/users/ocid1.user.oc1..a/authTokens HTTP/1.1"#]]
        .assert_eq(&service.lines());
        Ok(())
    }

    /// A stop ends the search, and nothing is changed.
    #[tokio::test]
    async fn stop_ends_the_search() -> anyhow::Result<()> {
        // Accepts, and never answers.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let mut source = Source::new()?;
        source.tenancy_id = Some(TENANCY.to_owned());
        let stop = CancellationToken::new();
        let client = Client::new(Config {
            credentials: Arc::new(source),
            ..config(Some(&format!(
                "http://{}/~{{region}}",
                silent.local_addr()?
            )))?
        })?
        .with_stop(stop.clone());
        let waiting = client.clone();
        let (first, second, stopped) = tokio::join!(
            client.create_auth_token(USER, ""),
            waiting.create_auth_token(USER, ""),
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stop.cancel();
                std::time::Instant::now()
            }
        );
        assert!(stopped.elapsed() < Duration::from_millis(500));
        for ended in [first, second] {
            assert!(matches!(ended, Err(Error::Stopped)), "{ended:?}");
        }
        Ok(())
    }
}
