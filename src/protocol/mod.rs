//! The plugin protocol, version 6 at 6.10: messages in, messages out.
//!
//! The messages are written here from the protocol's numbers; [`crate::framework::Server`]
//! does the work. A panic in a call becomes a diagnostic.
//!
//! Specification: <https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol>.

mod convert;
mod service;
#[doc(hidden)]
pub mod wire;

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

pub use service::ProviderService;

use crate::{
    framework::Server,
    goplugin::{self, Config, Lookup, Mode, Reattach, log},
};

/// The gRPC service that a host talks to.
pub fn service(server: Arc<Server>) -> ProviderService {
    ProviderService::new(server)
}

/// Serves `server` to Terraform or OpenTofu, or, started with `--debug`, to
/// whoever attaches to it.
pub fn serve(arguments: impl IntoIterator<Item = String>, env: Lookup, server: Server) -> ExitCode {
    let debug = arguments
        .into_iter()
        .skip(1)
        .any(|argument| matches!(argument.as_str(), "--debug" | "-debug"));
    let mode = if debug {
        Mode::Debug(reattach)
    } else {
        Mode::Hosted
    };
    let server = Arc::new(server);
    let interrupted = server.clone();
    goplugin::serve(&CONFIG, mode, env, service(server), move || {
        interrupted.interrupt();
    })
}

/// Sends logs to the host, as `TF_LOG_PROVIDER_OCIR`, `TF_LOG_PROVIDER` or
/// `TF_LOG` asks for.
pub fn log(env: Lookup) -> log::Guard {
    let variables = ["TF_LOG_PROVIDER_OCIR", "TF_LOG_PROVIDER", "TF_LOG"];
    log::to_stderr(log::Options {
        module: "provider.ocir",
        own: "ocir",
        level: log::level(&variables, env),
    })
}

/// Which hosts start us, and how they show it. The cookie is the same for all
/// providers of both programs.
const CONFIG: Config = Config {
    name: "terraform-provider-ocir",
    hosts: "Terraform and OpenTofu",
    cookie: (
        "TF_PLUGIN_MAGIC_COOKIE",
        "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    ),
    versions: &[6],
};

/// What a person has to set to attach a CLI. Each CLI looks for the address of
/// its own registry, and passes over the other.
fn reattach(server: &Reattach) -> String {
    let attach = serde_json::json!({
        "Protocol": "grpc",
        "ProtocolVersion": server.version,
        "Pid": server.pid,
        "Test": true,
        "Addr": { "Network": server.network, "String": server.address },
    });
    let providers = BTreeMap::from(ADDRESSES.map(|address| (address, &attach)));
    let providers = serde_json::json!(providers);
    format!(
        "The provider runs until Ctrl-C. To use it, set this for terraform or tofu:\n\n    \
         TF_REATTACH_PROVIDERS='{providers}'"
    )
}

const ADDRESSES: [&str; 2] = [
    "registry.opentofu.org/motando/ocir",
    "registry.terraform.io/motando/ocir",
];

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// A person copies one line, for either CLI.
    #[test]
    fn attaching_is_one_line() {
        let text = reattach(&Reattach {
            version: 6,
            pid: 42,
            network: "unix",
            address: "/tmp/plugin1".to_owned(),
        });
        expect![[r#"
            The provider runs until Ctrl-C. To use it, set this for terraform or tofu:

                TF_REATTACH_PROVIDERS='{"registry.opentofu.org/motando/ocir":{"Addr":{"Network":"unix","String":"/tmp/plugin1"},"Pid":42,"Protocol":"grpc","ProtocolVersion":6,"Test":true},"registry.terraform.io/motando/ocir":{"Addr":{"Network":"unix","String":"/tmp/plugin1"},"Pid":42,"Protocol":"grpc","ProtocolVersion":6,"Test":true}}'"#]]
        .assert_eq(&text);
    }
}
