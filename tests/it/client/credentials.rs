//! Where credentials come from: precedence, and every message in full.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use expect_test::{Expect, expect};
use futures_util::FutureExt as _;
use ocir::{
    credentials::{Environment, Error, Network, Resolved, Settings, resolve},
    emulator::Emulator,
    oci,
    transport::{Options, RetryPolicy, http_client},
};

/// A home directory of our own, and what is set around it.
#[derive(Clone)]
struct Setup {
    directory: Rc<tempfile::TempDir>,
    settings: Settings,
    environment: Environment,
}

impl Setup {
    fn new() -> anyhow::Result<Self> {
        let directory = Rc::new(tempfile::tempdir()?);
        fs::create_dir(directory.path().join(".oci"))?;
        let environment = Environment {
            home: Some(directory.path().to_owned()),
            ..Environment::default()
        };
        Ok(Self {
            directory,
            settings: Settings::default(),
            environment,
        })
    }

    /// One with a key file and a default profile that uses it.
    fn with_default_profile() -> anyhow::Result<Self> {
        let setup = Self::new()?;
        setup.write(".oci/key.pem", &key("pkcs8_pem")?)?;
        setup.write(
            ".oci/config",
            &format!(
                "[DEFAULT]\nuser=ocid1.user.oc1..file\ntenancy=ocid1.tenancy.oc1..file\n\
                 fingerprint={FINGERPRINT}\nregion=eu-frankfurt-1\nkey_file=~/.oci/key.pem\n"
            ),
        )?;
        Ok(setup)
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.variables.insert(name.into(), value.into());
        self
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn append(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.directory.path().join(name);
        let before = fs::read_to_string(&path)?;
        Ok(fs::write(&path, before + text)?)
    }

    fn home(&self) -> &Path {
        self.directory.path()
    }

    fn resolve(&self) -> Result<Resolved, Error> {
        // Nothing in here asks anybody, so there is nothing to wait for.
        resolve(&self.settings, &self.environment, &Network::default())
            .now_or_never()
            .expect("files are read without waiting")
    }

    /// The region's identifier.
    fn region(&self) -> Result<Option<String>, Error> {
        Ok(self.resolve()?.region.map(|region| region.identifier))
    }

    /// Who signs in and where, in one line.
    #[track_caller]
    fn check(&self, expected: Expect) {
        let text = match self.resolve() {
            Ok(resolved) => format!(
                "{} tenancy {} region {}",
                resolved.source.describe(),
                resolved.source.tenancy_id().as_deref().unwrap_or("unknown"),
                resolved
                    .region
                    .map_or("unknown".into(), |region| region.identifier),
            )
            .replace(FINGERPRINT, "FINGERPRINT"),
            Err(error) => panic!("{error}"),
        };
        expected.assert_eq(&text);
    }

    /// The whole error, with its causes.
    fn message(&self) -> String {
        let text = match self.resolve() {
            Ok(resolved) => format!("no error: {resolved:?}"),
            Err(error) => format!("{:#}", anyhow::Error::new(error)),
        };
        text.replace(&*self.home().to_string_lossy(), "HOME")
    }

    #[track_caller]
    fn fails(&self, expected: Expect) {
        expected.assert_eq(&self.message());
    }
}

const FINGERPRINT: &str = "56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b";

fn vectors() -> anyhow::Result<serde_json::Value> {
    Ok(serde_json::from_str(include_str!(
        "../../fixtures/signing-vectors.json"
    ))?)
}

fn key(name: &str) -> anyhow::Result<String> {
    let key = &vectors()?["key"][name];
    Ok(key.as_str().unwrap_or_default().to_owned())
}

/// The same key with the passphrase "correct horse".
fn encrypted(name: &str) -> anyhow::Result<String> {
    let key = &vectors()?["key"]["encrypted"][name];
    Ok(key.as_str().unwrap_or_default().to_owned())
}

/// A token for so many seconds from now on.
fn token(subject: &str, seconds: u64) -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(signed(subject, now + seconds))
}

/// A token that ended long ago.
fn ended(subject: &str) -> String {
    signed(subject, 1_767_323_045)
}

/// Nobody looks at the signature before a service does.
fn signed(subject: &str, exp: u64) -> String {
    let claims = serde_json::json!({ "sub": subject, "exp": exp });
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("eyJhbGciOiJSUzI1NiJ9.{payload}.c2lnbmF0dXJl")
}

/// After `oci setup config`, nothing has to be said.
#[tokio::test]
async fn default_profile() -> anyhow::Result<()> {
    let setup = Setup::with_default_profile()?;
    setup.check(expect!["user ocid1.user.oc1..file (API key FINGERPRINT, profile DEFAULT) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    let credential = setup.resolve()?.source.credential().await?;
    assert_eq!(
        credential.key_id,
        format!("ocid1.tenancy.oc1..file/ocid1.user.oc1..file/{FINGERPRINT}")
    );
    assert_eq!(credential.key.fingerprint(), FINGERPRINT);
    Ok(())
}

/// A configuration file or a key that is a pipe, which may never say anything, is
/// refused instead of waited for.
#[cfg(unix)]
#[test]
fn pipes_are_refused() -> anyhow::Result<()> {
    let setup = Setup::with_default_profile()?;
    let pipe = setup.home().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    assert!(made.success());
    for variable in ["OCI_CONFIG_FILE", "OCI_PRIVATE_KEY_PATH"] {
        let setup = Setup::with_default_profile()?.variable(variable, &pipe.to_string_lossy());
        let error = setup.resolve().err().map(anyhow::Error::new);
        let error = error.map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(
            error.ends_with("it is a pipe or a device, and no file"),
            "{variable}: {error}"
        );
    }
    Ok(())
}

/// A profile by name takes what it lacks from `DEFAULT`.
#[test]
fn named_profile_inherits() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.append(".oci/config", "[ci]\nuser=ocid1.user.oc1..ci\nregion=GRU\n")?;
    setup.settings.config_file_profile = Some("ci".into());
    setup.check(expect!["user ocid1.user.oc1..ci (API key FINGERPRINT, profile ci) tenancy ocid1.tenancy.oc1..file region sa-saopaulo-1"]);
    setup.settings.config_file_profile = None;
    for (variable, argument) in [
        ("TF_VAR_config_file_profile", "ci"),
        ("OCI_CONFIG_FILE_PROFILE", "ci"),
        ("OCI_CLI_PROFILE", "ci"),
    ] {
        setup.environment.variables = [(variable.into(), argument.into())].into();
        assert_eq!(
            setup.resolve()?.region.map(|region| region.key).as_deref(),
            Some("gru"),
            "{variable}"
        );
    }
    Ok(())
}

/// Each place goes before the next, value by value: taking the first away
/// uncovers the second, down to the profile.
#[test]
fn places_have_an_order() -> anyhow::Result<()> {
    type Set = fn(&mut Settings) -> &mut Option<String>;
    // A region has to be one; the others are taken as they are.
    const REGIONS: [&str; 4] = ["gru", "us-ashburn-1", "us-phoenix-1", "uk-london-1"];
    let values: [(&str, &str, Set); 3] = [
        ("user_ocid", "OCI_CLI_USER", |settings| {
            &mut settings.user_ocid
        }),
        ("tenancy_ocid", "OCI_CLI_TENANCY", |settings| {
            &mut settings.tenancy_ocid
        }),
        ("region", "OCI_CLI_REGION", |settings| &mut settings.region),
    ];
    for (argument, cli, setting) in values {
        let variables = [
            format!("TF_VAR_{argument}"),
            format!("OCI_{}", argument.to_uppercase()),
            cli.to_owned(),
        ];
        let value = |level: usize| match argument {
            "region" => REGIONS[level].to_owned(),
            _ => format!("from-{level}"),
        };
        let mut setup = Setup::with_default_profile()?;
        *setting(&mut setup.settings) = Some(format!(" {}\n", value(0)));
        for (index, variable) in variables.iter().enumerate() {
            setup = setup.variable(variable, &value(index + 1));
        }
        let found = |setup: &Setup| -> anyhow::Result<String> {
            let resolved = setup.resolve()?;
            let found = match argument {
                "user_ocid" => resolved.source.user_id(),
                "tenancy_ocid" => resolved.source.tenancy_id(),
                _ => resolved.region.map(|region| match &*region.key {
                    "gru" => "gru".to_owned(),
                    _ => region.identifier,
                }),
            };
            Ok(found.unwrap_or_default())
        };
        assert_eq!(found(&setup)?, value(0));
        // An empty argument, as `var.region` with a default of "" gives it, is unset.
        *setting(&mut setup.settings) = Some(String::new());
        for (index, variable) in variables.iter().enumerate() {
            assert_eq!(found(&setup)?, value(index + 1));
            setup
                .environment
                .variables
                .insert(variable.clone(), String::new());
        }
        assert!(
            [
                "ocid1.user.oc1..file",
                "ocid1.tenancy.oc1..file",
                "eu-frankfurt-1"
            ]
            .contains(&&*found(&setup)?)
        );
    }
    Ok(())
}

/// A pipeline has variables and no file; each family is enough.
#[test]
fn variables_are_enough() -> anyhow::Result<()> {
    let families = [
        [
            "TF_VAR_tenancy_ocid",
            "TF_VAR_user_ocid",
            "TF_VAR_private_key",
            "TF_VAR_region",
        ],
        [
            "OCI_TENANCY_OCID",
            "OCI_USER_OCID",
            "OCI_PRIVATE_KEY",
            "OCI_REGION",
        ],
        [
            "OCI_CLI_TENANCY",
            "OCI_CLI_USER",
            "OCI_CLI_KEY_CONTENT",
            "OCI_CLI_REGION",
        ],
    ];
    // As a variable often has it: one line.
    let key = key("pkcs1_pem_with_label")?.replace('\n', "\\n");
    for [tenancy, user, content, region] in families {
        let mut setup = Setup::new()?
            .variable(tenancy, "ocid1.tenancy.oc1..variable")
            .variable(user, "ocid1.user.oc1..variable")
            .variable(content, &key)
            .variable(region, "gru");
        setup.environment.home = None;
        let resolved = setup.resolve()?;
        assert_eq!(
            resolved.region.map(|region| region.key).as_deref(),
            Some("gru")
        );
        assert_eq!(
            resolved.source.describe(),
            format!("user ocid1.user.oc1..variable (API key {FINGERPRINT}, {content})")
        );
    }
    Ok(())
}

/// A path of a higher place goes before a key of a lower one; in one place the
/// key goes first.
#[test]
fn key_and_path_keep_the_order() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?
        .variable("OCI_CLI_KEY_CONTENT", "not a key")
        .variable("OCI_CLI_KEY_FILE", "/nowhere");
    setup.settings.private_key_path = Some("~/.oci/key.pem".into());
    setup.check(expect!["user ocid1.user.oc1..file (API key FINGERPRINT, argument private_key_path) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    setup.settings.private_key = Some(key("pkcs1_pem")?);
    setup.settings.private_key_path = Some("/nowhere".into());
    setup.check(expect!["user ocid1.user.oc1..file (API key FINGERPRINT, argument private_key) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    Ok(())
}

/// The file can be elsewhere; the variables win over the default file, unlike
/// in Oracle's SDKs.
#[test]
fn file_elsewhere() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    let text = fs::read_to_string(setup.home().join(".oci/config"))?;
    let other = setup.write("other", &text.replace("eu-frankfurt-1", "us-ashburn-1"))?;
    let third = setup.write("third", &text.replace("eu-frankfurt-1", "us-phoenix-1"))?;
    setup = setup.variable("OCI_CLI_CONFIG_FILE", &other.to_string_lossy());
    assert_eq!(setup.region()?.as_deref(), Some("us-ashburn-1"));
    setup = setup.variable("OCI_CONFIG_FILE", &third.to_string_lossy());
    assert_eq!(setup.region()?.as_deref(), Some("us-phoenix-1"));
    setup.settings.config_file = Some("~/.oci/config".into());
    assert_eq!(setup.region()?.as_deref(), Some("eu-frankfurt-1"));
    Ok(())
}

/// The place of the oldest versions is still looked at.
#[test]
fn file_at_its_old_place() -> anyhow::Result<()> {
    let setup = Setup::with_default_profile()?;
    fs::create_dir(setup.home().join(".oraclebmc"))?;
    fs::rename(
        setup.home().join(".oci/config"),
        setup.home().join(".oraclebmc/config"),
    )?;
    assert_eq!(setup.region()?.as_deref(), Some("eu-frankfurt-1"));
    Ok(())
}

/// The fingerprint can be computed, so it need not be configured; written in
/// capitals it is the same.
#[test]
fn fingerprint_is_optional() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    let text = fs::read_to_string(setup.home().join(".oci/config"))?;
    setup.write(".oci/config", &text.replace("fingerprint", "comment"))?;
    setup.resolve()?;
    setup.settings.fingerprint = Some(FINGERPRINT.to_uppercase());
    setup.resolve()?;
    Ok(())
}

/// Whoever gives everything does not need the default file to be in order.
#[test]
fn broken_default_file_is_no_obstacle_to_others() -> anyhow::Result<()> {
    let mut setup = Setup::new()?;
    setup.write(".oci/config", "this is no configuration")?;
    setup.settings = Settings {
        auth: Some("api_key".into()),
        tenancy_ocid: Some("ocid1.tenancy.oc1..a".into()),
        user_ocid: Some("ocid1.user.oc1..a".into()),
        private_key: Some(key("pkcs8_pem")?),
        // For a key that turns out not to be encrypted.
        private_key_password: Some("unused".into()),
        region: Some("gru".into()),
        ..Settings::default()
    };
    setup.check(expect!["user ocid1.user.oc1..a (API key FINGERPRINT, argument private_key) tenancy ocid1.tenancy.oc1..a region sa-saopaulo-1"]);
    // Somebody who names the file wants it.
    setup.settings.config_file = Some("~/.oci/config".into());
    setup.fails(expect!["cannot read the configuration file HOME/.oci/config: line 1: neither a profile, [NAME], nor a setting, key=value"]);
    Ok(())
}

/// A machine where nothing is set up, and somebody who wants an API key.
#[test]
fn nothing_is_there() -> anyhow::Result<()> {
    let mut setup = Setup::new()?;
    setup.settings.auth = Some("ApiKey".into());
    setup.fails(expect![[r#"
        nobody to sign in as: there is no tenancy, no user and no private key. Looked at, in this order:
            tenancy: the argument tenancy_ocid, TF_VAR_tenancy_ocid, OCI_TENANCY_OCID, OCI_CLI_TENANCY
            user: the argument user_ocid, TF_VAR_user_ocid, OCI_USER_OCID, OCI_CLI_USER
            private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE
        There is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config. Another way to sign in is chosen with the argument auth.

        A key and a configuration file are made by:
            oci setup config"#]]);
    setup.environment.home = None;
    setup.settings.auth = None;
    setup.settings.user_ocid = Some("ocid1.user.oc1..a".into());
    setup.settings.private_key_path = Some("/key.pem".into());
    setup.fails(expect![[r#"
        nobody to sign in as: there is no tenancy. Looked at, in this order:
            tenancy: the argument tenancy_ocid, TF_VAR_tenancy_ocid, OCI_TENANCY_OCID, OCI_CLI_TENANCY
        There is no configuration file: there is no home directory to look for it in. Another way to sign in is chosen with the argument auth.

        A key and a configuration file are made by:
            oci setup config"#]]);
    Ok(())
}

/// A profile that lacks a value, beside one that has it.
#[test]
fn one_value_is_missing() -> anyhow::Result<()> {
    let setup = Setup::new()?;
    setup.write(
        ".oci/config",
        "[DEFAULT]\ntenancy=ocid1.tenancy.oc1..a\nkey_file=/key.pem\n[ci]\nuser=ocid1.user.oc1..a\n",
    )?;
    setup.fails(expect![[r#"
        nobody to sign in as: there is no user. Looked at, in this order:
            user: the argument user_ocid, TF_VAR_user_ocid, OCI_USER_OCID, OCI_CLI_USER, `user` in profile DEFAULT of HOME/.oci/config
        In HOME/.oci/config, the profiles are DEFAULT and ci. Another way to sign in is chosen with the argument auth.

        A key and a configuration file are made by:
            oci setup config"#]]);
    Ok(())
}

/// A profile that nobody has written.
#[test]
fn profile_is_not_there() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.settings.config_file_profile = Some("CI".into());
    setup.fails(expect!["the argument config_file_profile names the profile [CI], which is not in HOME/.oci/config; the only profile is DEFAULT"]);
    setup.append(".oci/config", "[ci]\n[ops]\n")?;
    setup.fails(expect!["the argument config_file_profile names the profile [CI], which is not in HOME/.oci/config; the profiles are DEFAULT, ci and ops"]);
    setup.write(".oci/config", "")?;
    setup.settings.config_file_profile = None;
    setup = setup.variable("OCI_CLI_PROFILE", "ci");
    setup.fails(expect!["the environment variable OCI_CLI_PROFILE names the profile [ci], which is not in HOME/.oci/config; there is no profile at all"]);
    fs::remove_file(setup.home().join(".oci/config"))?;
    setup.fails(expect!["the environment variable OCI_CLI_PROFILE names the profile [ci], and there is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config"]);
    Ok(())
}

/// A file that was named and is not there, is a directory, or is no text.
#[test]
fn file_cannot_be_read() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?.variable("OCI_CONFIG_FILE", "~/nowhere");
    setup.fails(expect!["cannot read the configuration file HOME/nowhere, which the environment variable OCI_CONFIG_FILE names: No such file or directory (os error 2)"]);
    setup.settings.config_file = Some("~/.oci".into());
    setup.fails(expect!["cannot read the configuration file HOME/.oci, which the argument config_file names: Is a directory (os error 21)"]);
    setup.settings.config_file = None;
    setup.environment.variables.clear();
    fs::write(setup.home().join(".oci/config"), b"[DEFAULT]\nuser=\xff\n")?;
    setup.fails(expect![
        "cannot read the configuration file HOME/.oci/config: it is not UTF-8 text"
    ]);
    setup.environment.home = None;
    setup.settings.config_file = Some("~/.oci/config".into());
    setup.fails(expect!["the argument config_file names ~/.oci/config, and there is no home directory to begin `~` with; write the path in full"]);
    Ok(())
}

/// A line that is none.
#[test]
fn file_has_a_mistake() -> anyhow::Result<()> {
    let setup = Setup::with_default_profile()?;
    setup.append(".oci/config", "pass_phrase secret\n")?;
    setup.fails(expect!["cannot read the configuration file HOME/.oci/config: line 7: neither a profile, [NAME], nor a setting, key=value"]);
    Ok(())
}

/// The key file that the profile names is gone.
#[test]
fn key_file_cannot_be_read() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    fs::remove_file(setup.home().join(".oci/key.pem"))?;
    setup.fails(expect!["cannot read the private key file HOME/.oci/key.pem, which `key_file` in profile DEFAULT of HOME/.oci/config names: No such file or directory (os error 2)"]);
    setup.settings.private_key_path = Some("~".into());
    setup.fails(expect!["cannot read the private key file HOME, which the argument private_key_path names: Is a directory (os error 21)"]);
    Ok(())
}

/// Keys that cannot sign, from a file and from an argument; the messages for
/// all kinds are tested where keys are read.
#[test]
fn key_is_of_no_use() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    // The file in DER form.
    fs::write(setup.home().join(".oci/key.pem"), [0x30, 0x82, 0x04, 0xa4])?;
    setup.fails(expect!["the key in HOME/.oci/key.pem is not in PEM form: there is no line such as `-----BEGIN PRIVATE KEY-----`. A path belongs into private_key_path or OCI_CLI_KEY_FILE"]);
    setup.settings.private_key = Some("~/.oci/key.pem".into());
    setup.fails(expect!["the key in the argument private_key is not in PEM form: there is no line such as `-----BEGIN PRIVATE KEY-----`. A path belongs into private_key_path or OCI_CLI_KEY_FILE"]);
    setup.settings.private_key = None;
    setup = setup.variable(
        "TF_VAR_private_key",
        include_str!("../../fixtures/keys/public.pem"),
    );
    setup.fails(expect!["the key in the environment variable TF_VAR_private_key is the public key; the private one is needed, from `-----BEGIN PRIVATE KEY-----` on"]);
    Ok(())
}

/// The key of one user and the fingerprint of another.
#[test]
fn fingerprint_is_another_keys() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.write(
        ".oci/key.pem",
        include_str!("../../fixtures/keys/other-rsa-2048.pem"),
    )?;
    setup.fails(expect!["the fingerprint and the private key do not belong together: `fingerprint` in profile DEFAULT of HOME/.oci/config says 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b, and the key in HOME/.oci/key.pem has 17:0b:5d:53:06:6a:5d:12:7a:0b:90:4a:f2:0c:7c:fc; set that, or leave the fingerprint out"]);
    setup.settings.private_key = Some(key("pkcs8_pem")?);
    setup = setup.variable("OCI_FINGERPRINT", "SHA256:abc");
    setup.fails(expect!["the fingerprint and the private key do not belong together: the environment variable OCI_FINGERPRINT says SHA256:abc, and the key in the argument private_key has 56:5c:3b:7e:56:21:ae:50:cb:7d:2c:1f:b7:83:98:3b; set that, or leave the fingerprint out"]);
    Ok(())
}

/// A passphrase from each of its places, in their order: the first is right,
/// and taking it away uncovers a wrong one, which is named.
#[test]
fn passphrase_has_places() -> anyhow::Result<()> {
    let variables = [
        "TF_VAR_private_key_password",
        "OCI_PRIVATE_KEY_PASSWORD",
        "OCI_CLI_PASSPHRASE",
    ];
    let setup = Setup::with_default_profile()?;
    setup.write(".oci/key.pem", &encrypted("pkcs1_encrypted_aes256cbc")?)?;
    setup.append(".oci/config", "pass_phrase=correct horse\n")?;
    setup.resolve()?;
    let text = fs::read_to_string(setup.home().join(".oci/config"))?;
    setup.write(".oci/config", &text.replace("pass_phrase", "passphrase"))?;
    setup.resolve()?;
    for variable in variables {
        let mut setup = setup.clone().variable(variable, "wrong");
        assert_eq!(
            setup.message(),
            format!(
                "the key in HOME/.oci/key.pem cannot be decrypted with the passphrase in the environment variable {variable}"
            )
        );
        setup.settings.private_key_password = Some("correct horse\n".into());
        setup.resolve()?;
    }
    for (index, variable) in variables.iter().enumerate() {
        let mut setup = setup.clone().variable(variable, "correct horse");
        for later in &variables[index + 1..] {
            setup = setup.clone().variable(later, "wrong");
        }
        setup.resolve()?;
    }
    Ok(())
}

/// An encrypted key: the passphrase is missing, with and without a file; it is
/// another one; blanks are a part of it.
#[test]
fn passphrase_is_missing_or_wrong() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.write(
        ".oci/key.pem",
        &encrypted("pkcs8_encrypted_pbes2_aes256cbc_scrypt")?,
    )?;
    setup.fails(expect!["the key in HOME/.oci/key.pem is encrypted, and its passphrase is missing; set the argument private_key_password, TF_VAR_private_key_password, OCI_PRIVATE_KEY_PASSWORD, OCI_CLI_PASSPHRASE or `pass_phrase` in profile DEFAULT of HOME/.oci/config"]);
    setup.append(".oci/config", "[ci]\npass_phrase=incorrect horse\n")?;
    setup.settings.config_file_profile = Some("ci".into());
    setup.fails(expect!["the key in HOME/.oci/key.pem cannot be decrypted with the passphrase in `pass_phrase` in profile ci of HOME/.oci/config"]);
    setup.settings.private_key_password = Some(" correct horse".into());
    setup.fails(expect!["the key in HOME/.oci/key.pem cannot be decrypted with the passphrase in the argument private_key_password"]);
    setup.settings = Settings {
        tenancy_ocid: Some("ocid1.tenancy.oc1..a".into()),
        user_ocid: Some("ocid1.user.oc1..a".into()),
        private_key: Some(encrypted("pkcs1_encrypted_des_ede3_cbc")?.replace('\n', "\\n")),
        region: Some("gru".into()),
        ..Settings::default()
    };
    setup.fails(expect!["the key in the argument private_key is encrypted, and its passphrase is missing; set the argument private_key_password, TF_VAR_private_key_password, OCI_PRIVATE_KEY_PASSWORD or OCI_CLI_PASSPHRASE"]);
    setup.settings.private_key_password = Some("correct horse".into());
    setup.check(expect!["user ocid1.user.oc1..a (API key FINGERPRINT, argument private_key) tenancy ocid1.tenancy.oc1..a region sa-saopaulo-1"]);
    Ok(())
}

/// All forms of a key on disk, with and without a passphrase, are the same user.
#[test]
fn every_form_of_a_key() -> anyhow::Result<()> {
    let vectors = vectors()?;
    let plain = ["pkcs1_pem", "pkcs8_pem", "pkcs1_pem_with_label"];
    let plain = plain.map(|name| vectors["key"][name].clone());
    let encrypted = vectors["key"]["encrypted"].as_object();
    let encrypted = encrypted.into_iter().flatten().map(|(_, pem)| pem.clone());
    let mut forms = 0;
    let mut setup = Setup::with_default_profile()?;
    setup.settings.private_key_password = Some("correct horse".into());
    for pem in plain.into_iter().chain(encrypted) {
        setup.write(".oci/key.pem", pem.as_str().unwrap_or_default())?;
        let source = setup.resolve()?.source;
        assert_eq!(
            source.describe(),
            format!("user ocid1.user.oc1..file (API key {FINGERPRINT}, profile DEFAULT)")
        );
        forms += 1;
    }
    assert_eq!(forms, 10);
    Ok(())
}

/// Ways to sign in that nobody has, and those that others have.
#[test]
fn unknown_ways_to_sign_in() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.settings.auth = Some("InstancePrincipalWithCerts".into());
    setup.fails(expect![[r#"the argument auth is "InstancePrincipalWithCerts", which is no way to sign in here; there are ApiKey, SecurityToken, InstancePrincipal, ResourcePrincipal, OKEWorkloadIdentity, WorkloadIdentityFederation and CloudShell, and left out, it is found out"#]]);
    setup.settings.auth = None;
    setup = setup.variable("OCI_CLI_AUTH", "pkcs11");
    setup.fails(expect![[r#"the environment variable OCI_CLI_AUTH is "pkcs11", which is no way to sign in here; there are ApiKey, SecurityToken, InstancePrincipal, ResourcePrincipal, OKEWorkloadIdentity, WorkloadIdentityFederation and CloudShell, and left out, it is found out"#]]);
    for auth in ["ApiKey", "APIKEY", "apikey", "api_key"] {
        setup = setup.variable("OCI_CLI_AUTH", auth);
        setup.resolve()?;
    }
    Ok(())
}

/// A profile as `oci session authenticate` writes it: found out, named, and by
/// the CLI's variables.
#[test]
fn session_profile() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.write(".oci/token", &token("ocid1.user.oc1..session", 3600)?)?;
    setup.append(
        ".oci/config",
        "[session]\nfingerprint=whatever\nkey_file=~/.oci/key.pem\nregion=us-ashburn-1\n\
         security_token_file=~/.oci/token\n",
    )?;
    assert_eq!(setup.region()?.as_deref(), Some("eu-frankfurt-1"));
    setup.settings.config_file_profile = Some("session".into());
    for auth in [None, Some("SecurityToken"), Some("security_token")] {
        setup.settings.auth = auth.map(str::to_owned);
        let resolved = setup.resolve()?;
        assert_eq!(
            resolved.source.describe(),
            "user ocid1.user.oc1..session (session token, profile session)"
        );
        assert_eq!(
            resolved.region.map(|region| region.identifier).as_deref(),
            Some("us-ashburn-1")
        );
    }
    setup.settings = Settings::default();
    let path = setup.home().join(".oci/token");
    setup = setup
        .variable("OCI_CLI_SECURITY_TOKEN_FILE", &path.to_string_lossy())
        .variable("OCI_CLI_AUTH", "security_token");
    assert_eq!(
        setup.resolve()?.source.describe(),
        "user ocid1.user.oc1..session (session token, OCI_CLI_SECURITY_TOKEN_FILE)"
    );
    Ok(())
}

/// What can be wrong with a session; nothing of a token is shown.
#[test]
fn session_is_of_no_use() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.append(
        ".oci/config",
        "[session]\nkey_file=~/.oci/key.pem\nregion=IAD\nsecurity_token_file=~/.oci/token\n",
    )?;
    setup.settings.config_file_profile = Some("session".into());
    setup.fails(expect!["cannot read the session token in HOME/.oci/token, which `security_token_file` in profile session of HOME/.oci/config names: No such file or directory (os error 2)"]);
    setup.write(".oci/token", "")?;
    setup.fails(expect![[r#"
        HOME/.oci/token (profile session) does not hold the session token, or only a part of it; `oci session refresh --profile session` renews a session that has not ended yet, and another one begins with:
            oci session authenticate --region IAD --profile-name session"#]]);
    setup.write(".oci/token", &ended("ocid1.user.oc1..session"))?;
    setup.fails(expect![[r#"
        the session token in HOME/.oci/token (profile session) ended at 2026-01-02 03:04:05 UTC; `oci session refresh --profile session` renews a session that has not ended yet, and another one begins with:
            oci session authenticate --region IAD --profile-name session"#]]);
    setup.write(".oci/token", &token("ocid1.user.oc1..session", 3600)?)?;
    setup.write(".oci/key.pem", &encrypted("pkcs1_encrypted_aes128cbc")?)?;
    setup.fails(expect!["the key in HOME/.oci/key.pem is encrypted, and its passphrase is missing; set the argument private_key_password, TF_VAR_private_key_password, OCI_PRIVATE_KEY_PASSWORD, OCI_CLI_PASSPHRASE or `pass_phrase` in the profiles session and DEFAULT of HOME/.oci/config"]);
    setup = setup.variable("OCI_CLI_PASSPHRASE", "incorrect");
    setup.fails(expect!["the key in HOME/.oci/key.pem cannot be decrypted with the passphrase in the environment variable OCI_CLI_PASSPHRASE"]);
    setup = setup.variable("OCI_CLI_PASSPHRASE", "correct horse");
    setup.resolve()?;
    fs::remove_file(setup.home().join(".oci/key.pem"))?;
    setup.fails(expect!["cannot read the private key in HOME/.oci/key.pem, which `key_file` in profile session of HOME/.oci/config names: No such file or directory (os error 2)"]);
    Ok(())
}

/// A function: values or files, found out and by name; and what can be wrong.
#[test]
fn resource_principal() -> anyhow::Result<()> {
    let rpst = token("ocid1.fnfunc.oc1..a", 3600)?;
    let mut setup = Setup::new()?
        .variable("OCI_RESOURCE_PRINCIPAL_VERSION", "2.2")
        .variable("OCI_RESOURCE_PRINCIPAL_RPST", &rpst)
        .variable("OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM", &key("pkcs8_pem")?)
        .variable("OCI_RESOURCE_PRINCIPAL_REGION", "gru");
    for auth in [None, Some("ResourcePrincipal"), Some("resource_principal")] {
        setup.settings.auth = auth.map(str::to_owned);
        assert_eq!(
            setup.resolve()?.source.describe(),
            "resource ocid1.fnfunc.oc1..a (resource principal)"
        );
        assert_eq!(setup.region()?.as_deref(), Some("sa-saopaulo-1"));
    }
    let files = [
        ("OCI_RESOURCE_PRINCIPAL_RPST", setup.write("rpst", &rpst)?),
        (
            "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM",
            setup.write("key.pem", &encrypted("pkcs1_encrypted_aes128cbc")?)?,
        ),
    ];
    for (variable, file) in files {
        setup = setup.variable(variable, &file.to_string_lossy());
    }
    setup.fails(expect!["the key in HOME/key.pem is encrypted, and its passphrase is missing; set OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE"]);
    let passphrase = setup.write("passphrase", "correct horse\n")?;
    setup = setup.variable(
        "OCI_RESOURCE_PRINCIPAL_PRIVATE_PEM_PASSPHRASE",
        &passphrase.to_string_lossy(),
    );
    setup.resolve()?;
    fs::remove_file(setup.home().join("rpst"))?;
    setup.fails(expect!["cannot read the token of the resource principal in HOME/rpst, which the environment variable OCI_RESOURCE_PRINCIPAL_RPST names: No such file or directory (os error 2)"]);
    setup = setup.variable("OCI_RESOURCE_PRINCIPAL_VERSION", "2.1.1");
    setup.fails(expect![[r#"OCI_RESOURCE_PRINCIPAL_VERSION is "2.1.1", and this provider can be a resource principal of version 2.2 only; set the argument auth to another way to sign in"#]]);
    setup.environment.variables.clear();
    setup.fails(expect![[r#"auth is "ResourcePrincipal", and OCI_RESOURCE_PRINCIPAL_VERSION is not set; functions, pipelines and other resources of Oracle Cloud have these variables, an instance signs in with auth = "InstancePrincipal""#]]);
    Ok(())
}

/// An identity of one's own beside a profile for something else, which then
/// only names the region.
#[test]
fn profiles_for_something_else() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.append(
        ".oci/config",
        "[shell]\nauthentication_type=instance_principal\n\
         delegation_token_file=/etc/oci/delegation_token\n",
    )?;
    setup.settings.config_file_profile = Some("shell".into());
    setup.settings.user_ocid = Some("ocid1.user.oc1..a".into());
    setup.settings.private_key = Some(key("pkcs8_pem")?);
    setup.check(expect!["user ocid1.user.oc1..a (API key FINGERPRINT, argument private_key) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    Ok(())
}

/// Regions that are newer than this provider: described by a file or a
/// variable, in another realm, or a whole domain.
#[test]
fn new_regions() -> anyhow::Result<()> {
    const MOON: &str = r#"{"realmKey":"OC99","realmDomainComponent":"oraclecloud99.com","regionKey":"LUN","regionIdentifier":"moon-base-1"}"#;
    let mut setup = Setup::with_default_profile()?;
    setup.settings.region = Some("lun".into());
    setup.fails(expect![[r#"unknown region "lun"; the nearest by name: eu-milan-1 (lin), uk-gov-london-1 (ltn), us-luke-1 (luf)"#]]);
    setup.write(".oci/regions-config.json", &format!("[{MOON}]"))?;
    assert_eq!(setup.region()?.as_deref(), Some("moon-base-1"));
    setup.write(".oci/regions-config.json", MOON)?;
    setup.fails(expect![
        "cannot read ~/.oci/regions-config.json: an array of regions is expected"
    ]);
    fs::remove_file(setup.home().join(".oci/regions-config.json"))?;
    setup = setup.variable("OCI_REGION_METADATA", MOON);
    assert_eq!(setup.region()?.as_deref(), Some("moon-base-1"));
    let hosts = setup
        .resolve()?
        .region
        .map(|region| region.registry_hosts());
    assert_eq!(
        hosts,
        Some(vec!["ocir.moon-base-1.oci.oraclecloud99.com".to_owned()])
    );
    setup = setup.variable("OCI_REGION_METADATA", "{\"regionKey\": \"LUN\"}");
    setup.fails(expect![
        "cannot read OCI_REGION_METADATA: regionIdentifier is missing"
    ]);
    setup = setup
        .variable("OCI_REGION_METADATA", "")
        .variable("OCI_DEFAULT_REALM", "oraclecloud42.com");
    setup.settings.region = Some("us-dallas-1".into());
    let domain = setup
        .resolve()?
        .region
        .map(|region| region.second_level_domain);
    assert_eq!(domain.as_deref(), Some("oraclecloud42.com"));
    setup.settings.region = Some("cloud.example.com".into());
    let hosts = setup
        .resolve()?
        .region
        .map(|region| region.registry_hosts());
    assert_eq!(hosts, Some(vec!["ocir.cloud.example.com".to_owned()]));
    Ok(())
}

/// A session in `DEFAULT` does not get into the way of a profile that has a
/// user; one with both is an API key when `auth` says so.
#[test]
fn session_beside_an_api_key() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    let text = fs::read_to_string(setup.home().join(".oci/config"))?;
    let session = "[DEFAULT]\nsecurity_token_file=/token\nregion=gru\n";
    setup.write(
        ".oci/config",
        &format!("{session}{}", text.replace("DEFAULT", "ci")),
    )?;
    setup.fails(expect![[r#"
        cannot sign in with a session token: there is no private key. Looked at, in this order:
            private key: the argument private_key, the argument private_key_path, TF_VAR_private_key, TF_VAR_private_key_path, OCI_PRIVATE_KEY, OCI_PRIVATE_KEY_PATH, OCI_CLI_KEY_CONTENT, OCI_CLI_KEY_FILE, `key_file` in profile DEFAULT of HOME/.oci/config
        In HOME/.oci/config, the profiles are DEFAULT and ci.

        A session and a profile for it are made by:
            oci session authenticate"#]]);
    setup.settings.config_file_profile = Some("ci".into());
    setup.check(expect!["user ocid1.user.oc1..file (API key FINGERPRINT, profile ci) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    setup.append(".oci/config", "security_token_file=/token\n")?;
    setup.fails(expect!["cannot read the session token in /token, which `security_token_file` in profile ci of HOME/.oci/config names: No such file or directory (os error 2)"]);
    setup.settings.auth = Some("ApiKey".into());
    setup.check(expect!["user ocid1.user.oc1..file (API key FINGERPRINT, profile ci) tenancy ocid1.tenancy.oc1..file region eu-frankfurt-1"]);
    Ok(())
}

/// The key of a session is not the key of a user who stands in `DEFAULT`: an API key is not
/// put together from both. A session that is asked for and is in another profile is pointed to.
#[test]
fn session_beside_a_user() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?;
    setup.append(
        ".oci/config",
        "[ci]\nsecurity_token_file=/token\nkey_file=/key.pem\n[night]\nsecurity_token_file=/other\nkey_file=/other.pem\n",
    )?;
    setup.settings.auth = Some("SecurityToken".into());
    setup.fails(expect![[r#"
        cannot sign in with a session token: there is no session token. Looked at, in this order:
            session token: OCI_CLI_SECURITY_TOKEN_FILE, `security_token_file` in profile DEFAULT of HOME/.oci/config
        In HOME/.oci/config, the profiles are DEFAULT, ci and night; a session is in ci and in night, which config_file_profile chooses.

        A session and a profile for it are made by:
            oci session authenticate"#]]);
    setup.settings.config_file_profile = Some("ci".into());
    setup.settings.auth = Some("ApiKey".into());
    setup.fails(expect![[r#"
        nobody to sign in as: there is no user. Looked at, in this order:
            user: the argument user_ocid, TF_VAR_user_ocid, OCI_USER_OCID, OCI_CLI_USER, `user` in the profiles ci and DEFAULT of HOME/.oci/config
        In HOME/.oci/config, the profiles are DEFAULT, ci and night. There is a session, `security_token_file` in profile ci of HOME/.oci/config, which auth = "SecurityToken" uses; `user` in profile DEFAULT of HOME/.oci/config has no part in it. Another way to sign in is chosen with the argument auth.

        A key and a configuration file are made by:
            oci setup config"#]]);
    Ok(())
}

/// `DEFAULT` by name is what is used anyway; it need not be there.
#[test]
fn default_by_name() -> anyhow::Result<()> {
    let mut setup = Setup::with_default_profile()?.variable("OCI_CLI_PROFILE", "DEFAULT");
    setup.resolve()?;
    fs::remove_file(setup.home().join(".oci/config"))?;
    setup.settings.tenancy_ocid = Some("ocid1.tenancy.oc1..a".into());
    setup.settings.user_ocid = Some("ocid1.user.oc1..a".into());
    setup.settings.private_key_path = Some("~/.oci/key.pem".into());
    setup.check(expect!["user ocid1.user.oc1..a (API key FINGERPRINT, argument private_key_path) tenancy ocid1.tenancy.oc1..a region unknown"]);
    Ok(())
}

/// `key_content` in a file, which looks as if it should work.
#[test]
fn key_content_in_the_file() -> anyhow::Result<()> {
    let setup = Setup::new()?;
    setup.write(
        ".oci/config",
        "[DEFAULT]\nuser=u\ntenancy=t\nkey_content=-----BEGIN RSA PRIVATE KEY-----\n",
    )?;
    setup.fails(expect!["profile DEFAULT in HOME/.oci/config has `key_content`, which neither Oracle's tools nor this provider read from a file; write the key to a file of its own and name it with `key_file`"]);
    Ok(())
}

/// A session of the emulator, which verifies what is signed with it: renewed on
/// disk while we run, it is noticed before the next request; ended, and not
/// renewed, it is an error.
#[tokio::test]
async fn session_is_renewed_on_disk() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let directory = tempfile::tempdir()?;
    let client = client(&emulator, emulator.session(directory.path())?).await?;
    client.get_namespace(None).await?;
    let refused = |emulator: &Emulator| {
        let requests = emulator.requests();
        requests
            .iter()
            .filter(|request| request.status == 401)
            .count()
    };
    for hour in 1..=3 {
        emulator.expire_tokens();
        emulator.session(directory.path())?;
        written(&directory.path().join("token"), hour)?;
        client.get_namespace(None).await?;
    }
    assert_eq!(refused(&emulator), 0, "noticed before, not afterwards");
    emulator.expire_tokens();
    assert!(client.get_namespace(None).await.is_err());
    assert!(refused(&emulator) > 0);
    emulator.session(directory.path())?;
    written(&directory.path().join("token"), 4)?;
    client.get_namespace(None).await?;
    Ok(())
}

/// A function whose files are replaced, with another key, while it runs.
#[tokio::test]
async fn resource_principal_is_renewed_on_disk() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let directory = tempfile::tempdir()?;
    let variables = emulator.resource_principal_files(directory.path())?;
    let client = client(&emulator, variables).await?;
    client.get_namespace(None).await?;
    for hour in 1..=3 {
        emulator.expire_tokens();
        emulator.resource_principal_files(directory.path())?;
        written(&directory.path().join("rpst"), hour)?;
        client.get_namespace(None).await?;
    }
    let requests = emulator.requests();
    assert!(requests.iter().all(|request| request.status == 200));
    Ok(())
}

/// Every machine that the emulator knows, with nothing that says how to sign in:
/// it is found out, and a service takes it.
#[tokio::test]
async fn every_machine_is_recognised() -> anyhow::Result<()> {
    let emulator = Emulator::builder().start().await?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let mut machines = vec![
        ("session", emulator.session(&path("session"))?),
        ("job", emulator.identity_domain(&path("job"))?),
        ("Cloud Shell", emulator.cloud_shell(&path("shell"))?),
        ("function", emulator.resource_principal()?),
        ("instance", emulator.instance()),
    ];
    // Its service needs an address of its own, which not every system has.
    if cfg!(target_os = "linux") {
        machines.push(("pod", emulator.workload(&path("pod"))?));
    }
    for (machine, mut variables) in machines {
        variables.retain(|name, _| !name.ends_with("_AUTH") || name.contains("EXCHANGE"));
        if machine != "session" {
            variables.insert("OCI_REGION".into(), emulator.seed().region.clone());
        }
        let client = client(&emulator, variables).await?;
        let namespace = client.get_namespace(None).await;
        assert!(namespace.is_ok(), "{machine}: {namespace:?}");
    }
    Ok(())
}

/// A machine on which there is nothing, and nobody who answers: each way, and
/// why not. It takes no longer than a refused connection.
#[tokio::test]
async fn nobody_is_found() -> anyhow::Result<()> {
    let setup = Setup::new()?.variable("OCI_METADATA_BASE_URL", "http://127.0.0.1:1/opc/v2");
    let error = resolve(&setup.settings, &setup.environment, &Network::default()).await;
    let Err(Error::Nobody { tried }) = error else {
        anyhow::bail!("{error:?}");
    };
    let lines: Vec<String> = tried
        .iter()
        .map(|tried| format!("{}: {}", tried.way, tried.reason))
        .collect();
    expect![[r#"
        API key: neither user_ocid nor private_key is an argument or a variable
        token exchange: neither workload_identity_token_path nor token_exchange_domain_url is set
        profile: there is no configuration file: neither HOME/.oci/config nor HOME/.oraclebmc/config
        Cloud Shell: neither OCI_CLI_CLOUD_SHELL nor OCI_obo_token_path is set, and there is no /etc/oci/delegation_token
        resource principal: OCI_RESOURCE_PRINCIPAL_VERSION is not set
        OKE workload identity: KUBERNETES_SERVICE_HOST is not set, as it is in a pod
        instance principal: no answer from 127.0.0.1:1 (Connection refused (os error 111))"#]].assert_eq(
        &lines
            .join("\n")
            .replace(&*setup.home().to_string_lossy(), "HOME"),
    );
    Ok(())
}

/// Makes a file as old as so many hours after the epoch: clocks of file systems
/// are coarse, and the tests are quick.
fn written(path: &Path, hour: u64) -> anyhow::Result<()> {
    let written = UNIX_EPOCH + Duration::from_secs(3600 * hour);
    Ok(fs::File::open(path)?.set_modified(written)?)
}

/// A control plane's client on a machine with these variables.
async fn client(
    emulator: &Emulator,
    variables: BTreeMap<String, String>,
) -> anyhow::Result<oci::Client> {
    let environment = Environment {
        variables,
        home: None,
    };
    let network = Network {
        endpoint: Some(emulator.url()),
        retry: RetryPolicy::without_waiting(),
        ..Network::default()
    };
    let resolved = resolve(&Settings::default(), &environment, &network).await?;
    let region = resolved
        .region
        .ok_or_else(|| anyhow::anyhow!("no region"))?;
    Ok(oci::Client::new(oci::Config {
        endpoint: network.endpoint,
        retry: network.retry,
        ..oci::Config::new(http_client(&Options::default())?, region, resolved.source)
    })?)
}
