//! The folder of `--config`: what points Oracle's CLI, the provider and container tools
//! at an emulator, as one user or another.

use std::{collections::BTreeSet, io, path::Path};

use super::{
    Emulator, Seed,
    machine::{Environment, Folder, environment},
};

impl Emulator {
    /// Fills the folder. The key is there already.
    pub(super) fn write_config(&self, folder: &Path) -> io::Result<()> {
        let folder = Folder::open(folder)?;
        let below = |name: &str| Folder::open(&folder.path(name));
        let Seed {
            tenancy_id,
            user_id,
            fingerprint,
            region,
            ..
        } = self.seed();
        let key = folder.path("key.pem");
        let config = format!(
            "[DEFAULT]\nuser={user_id}\nfingerprint={fingerprint}\ntenancy={tenancy_id}\nregion={region}\nkey_file={}\n\n{}",
            key.display(),
            self.session_profile(&below("session")?)?
        );
        let config = folder.write("config", &config)?;
        folder.write("endpoint", &format!("{}\n", self.url()))?;
        folder.write("env.sh", &self.script(&config))?;

        let url = self.url();
        let mut instance = self.instance();
        instance.extend(environment([
            ("OCI_AUTH", "InstancePrincipal".to_owned()),
            ("OCI_CLI_AUTH", "instance_principal".to_owned()),
            // Oracle's CLI and its Go programs do not look for this at the endpoint.
            ("OCI_CLI_FEDERATION_ENDPOINT", format!("{url}/v1/x509")),
            ("OCI_SDK_AUTH_CLIENT_REGION_URL", url),
        ]));
        let mut cloud_shell = instance.clone();
        cloud_shell.extend(self.cloud_shell(&folder.path("cloud-shell"))?);
        let mut resource = self.resource_principal_files(&folder.path("resource-principal"))?;
        resource.extend(environment([
            ("OCI_AUTH", "ResourcePrincipal".to_owned()),
            ("OCI_CLI_AUTH", "resource_principal".to_owned()),
        ]));
        let identity_domain = self.identity_domain(&folder.path("identity-domain"))?;

        let mut machines = vec![
            ("instance", "a compute instance", instance),
            ("cloud-shell", "Cloud Shell", cloud_shell),
            ("resource-principal", "a function", resource),
            (
                "identity-domain",
                "a job of a CI service that an identity domain trusts",
                identity_domain,
            ),
        ];
        // Other systems have no second loopback address, and the cluster's port is fixed.
        if cfg!(target_os = "linux") {
            let mut workload = self.workload(&folder.path("workload"))?;
            workload.insert("OCI_AUTH".to_owned(), "OKEWorkloadIdentity".to_owned());
            machines.push(("workload", "a pod of an OKE cluster", workload));
        }
        let mut names: BTreeSet<&str> = ["OCI_CONFIG_FILE", "OCI_CLI_CONFIG_FILE"].into();
        names.extend(
            machines
                .iter()
                .flat_map(|(_, _, variables)| variables.keys().map(String::as_str)),
        );
        for (name, what, variables) in &machines {
            let file = format!("{name}.env.sh");
            // One after the other in the same shell: what the one before said must not stay.
            let others: Vec<&str> = names
                .iter()
                .copied()
                .filter(|other| !variables.contains_key(*other))
                .collect();
            let text = format!(
                "# The emulator, seen from {what}: . {file}\n. {}\nunset {}\n{}",
                quoted(&folder.path("env.sh").to_string_lossy()),
                others.join(" "),
                exports(variables)
            );
            folder.write(&file, &text)?;
        }
        Ok(())
    }

    fn script(&self, config: &str) -> String {
        let (url, authority, seed) = (self.url(), self.authority(), self.seed());
        let Seed {
            tenancy_id,
            user_id,
            user_name,
            region,
            namespace,
            apps_compartment_id,
            ops_compartment_id,
            ..
        } = seed;
        let variables = environment([
            ("OCIR_NAMESPACE", namespace.clone()),
            ("OCIR_REGISTRY", authority),
            ("OCIR_USERNAME", format!("{namespace}/{user_name}")),
            ("OCI_CLI_CONFIG_FILE", config.to_owned()),
            ("OCI_CLI_ENDPOINT", url.clone()),
            ("OCI_CONFIG_FILE", config.to_owned()),
            ("OCI_ENDPOINT", url.clone()),
            ("TF_VAR_compartment_id", apps_compartment_id.clone()),
            ("TF_VAR_endpoint", url),
            ("TF_VAR_ops_compartment_id", ops_compartment_id.clone()),
            ("TF_VAR_region", region.clone()),
            ("TF_VAR_tenancy_id", tenancy_id.clone()),
            ("TF_VAR_user_id", user_id.clone()),
        ]);
        format!(
            "# Points the provider, oci and container tools at the emulator: . env.sh\n{}",
            exports(&variables)
        )
    }
}

/// Lines of a POSIX shell.
fn exports(variables: &Environment) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
        .collect()
}

/// A word of a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder's name with a quote in it stays one word of the shell.
    #[test]
    fn quoting() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
