//! Manifests as documents: reading them, and writing the ones that compression
//! changes.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{Descriptor, Digest, Error, Platform, file::MAX_DOCUMENT};

/// A descriptor as it stands in a document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a descriptor")]
pub(super) struct RawDescriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) urls: Option<Vec<String>>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) platform: Option<RawPlatform>,
    #[serde(default)]
    pub(super) data: Option<String>,
}

/// Operating system and processor, as a descriptor or a configuration says them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(expecting = "a platform")]
pub(super) struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl RawPlatform {
    pub(super) fn is_in(&self, wanted: &Platform) -> bool {
        let variant = self.variant.as_deref().unwrap_or_default();
        wanted.includes(&self.os, &self.architecture, variant)
    }

    pub(super) fn name(&self) -> String {
        let mut name = format!("{}/{}", self.os, self.architecture);
        if let Some(variant) = self.variant.as_deref().filter(|it| !it.is_empty()) {
            name = format!("{name}/{variant}");
        }
        // It goes into messages, and comes from anywhere.
        name.escape_debug().to_string()
    }
}

/// A manifest or an index.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) place: String,
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) content: Content,
}

pub(super) enum Content {
    Index(Vec<RawDescriptor>),
    Manifest {
        config: Box<RawDescriptor>,
        layers: Vec<RawDescriptor>,
    },
}

impl RawDescriptor {
    /// The descriptor of a manifest that nothing names.
    pub(super) fn of_manifest(media_type: &str, digest: &Digest, size: u64) -> Self {
        // What a proxy makes of it, `text/plain` for instance, says nothing.
        let known = [OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST];
        let says_something = known.contains(&media_type);
        Self {
            media_type: match says_something {
                true => media_type.to_owned(),
                false => String::new(),
            },
            digest: digest.to_string(),
            size,
            urls: None,
            annotations: None,
            platform: None,
            data: None,
        }
    }

    /// The tag that an image layout gives to it.
    pub(super) fn reference_name(&self) -> Option<&str> {
        self.annotation("org.opencontainers.image.ref.name")
    }

    /// The whole name that containerd and Docker give to it.
    pub(super) fn image_name(&self) -> Option<&str> {
        self.annotation("io.containerd.image.name")
    }

    pub(super) fn same_digest(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The image that an attestation is about.
    pub(super) fn attested(&self) -> Option<&str> {
        self.annotation("vnd.docker.reference.digest")
    }

    pub(super) fn is_attestation(&self) -> bool {
        self.annotation("vnd.docker.reference.type").is_some()
    }

    /// Operating system and processor, to tell images of an index apart.
    pub(super) fn platform_name(&self) -> String {
        match &self.platform {
            Some(platform) if !self.is_attestation() => platform.name(),
            Some(_) => "an attestation".to_owned(),
            None => self.digest.escape_debug().to_string(),
        }
    }

    /// Its content, when the descriptor brings it along.
    pub(super) fn embedded(&self, referrer: &str) -> Result<Option<Vec<u8>>, Error> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        match BASE64_STANDARD.decode(data) {
            Ok(bytes) if bytes.len() as u64 == self.size => Ok(Some(bytes)),
            _ => Err(Error::Malformed {
                place: referrer.to_owned(),
                problem: format!("the data of {:?} is not what it says", self.digest),
            }),
        }
    }

    /// Its digest, of which the text may be anything.
    pub(super) fn digest(&self, referrer: &str) -> Result<Digest, Error> {
        self.digest
            .parse()
            .map_err(|error: Error| Error::Malformed {
                place: referrer.to_owned(),
                problem: error.to_string(),
            })
    }

    pub(super) fn checked(&self, referrer: &str) -> Result<Descriptor, Error> {
        Ok(Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest(referrer)?,
            size: self.size,
        })
    }
}

impl Document {
    pub(super) fn parse(
        bytes: Vec<u8>,
        place: String,
        digest: Digest,
        described_as: &str,
    ) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[serde(expecting = "an object")]
        struct Raw {
            #[serde(default)]
            media_type: Option<String>,
            config: Option<RawDescriptor>,
            layers: Option<Vec<RawDescriptor>>,
            manifests: Option<Vec<RawDescriptor>>,
            fs_layers: Option<Value>,
        }
        let raw: Raw = parse(&bytes, &place, "a manifest or an index")?;
        let malformed = |problem: String| Error::Malformed {
            place: place.clone(),
            problem,
        };
        let own = raw.media_type.unwrap_or_default();
        if !own.is_empty() && !described_as.is_empty() && own != described_as {
            return Err(malformed(format!(
                "it calls itself {own:?}, and its descriptor calls it {described_as:?}"
            )));
        }
        if raw.fs_layers.is_some() {
            let problem = "it is a manifest of Docker's schema 1, which registries no longer take";
            return Err(malformed(problem.to_owned()));
        }
        let content = match (raw.manifests, raw.config, raw.layers) {
            (Some(manifests), None, None) => Content::Index(manifests),
            (None, Some(config), layers) => Content::Manifest {
                config: Box::new(config),
                layers: layers.unwrap_or_default(),
            },
            // Readers that look at one member first would see different images.
            (Some(_), _, _) => {
                return Err(malformed(
                    "it is a manifest and an index at once".to_owned(),
                ));
            }
            (None, None, _) => {
                return Err(malformed(
                    "it is neither a manifest nor an index".to_owned(),
                ));
            }
        };
        let media_type = [own, described_as.to_owned()]
            .into_iter()
            .find(|it| !it.is_empty())
            .unwrap_or_else(|| match content {
                Content::Index(_) => OCI_INDEX.to_owned(),
                Content::Manifest { .. } => OCI_MANIFEST.to_owned(),
            });
        let is_index = matches!(content, Content::Index(_));
        let says_index = match media_type.as_str() {
            OCI_INDEX | DOCKER_INDEX => Some(true),
            OCI_MANIFEST | DOCKER_MANIFEST => Some(false),
            _ => None,
        };
        if says_index != Some(is_index) {
            let is = if is_index { "an index" } else { "a manifest" };
            return Err(malformed(format!(
                "its media type is {media_type:?}, and its content is that of {is}"
            )));
        }
        Ok(Self {
            bytes,
            place,
            digest,
            media_type,
            content,
        })
    }
}

/// What becomes different in a document.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Descriptors of the member that lists them, by place. An empty media type leaves what is
    /// there.
    pub(super) entries: Vec<(usize, Descriptor)>,
    /// Places that are left out.
    pub(super) dropped: HashSet<usize>,
    /// The descriptor of the configuration.
    pub(super) config: Option<Descriptor>,
    /// The document's own media type.
    pub(super) media_type: Option<&'static str>,
    /// What Docker's schema 2 has no place for is left out.
    pub(super) strip: bool,
}

impl Edits {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.dropped.is_empty()
            && self.config.is_none()
            && self.media_type.is_none()
            && !self.strip
    }
}

/// Changes a document; without changes, the bytes stay.
pub(super) fn rewrite(document: &Document, member: &str, edits: &Edits) -> Result<Bytes, Error> {
    if edits.is_empty() {
        return Ok(document.bytes.clone().into());
    }
    let mut value: Value = parse(&document.bytes, &document.place, "JSON")?;
    let mut renamed = HashMap::new();
    for (position, descriptor) in &edits.entries {
        // The typed reading of the same bytes found a descriptor here.
        let old = &mut value[member][*position];
        if let Some(Value::String(digest)) = old.get("digest") {
            renamed.insert(digest.clone(), descriptor.digest.to_string());
        }
        replace(old, descriptor);
    }
    if let Some(config) = &edits.config {
        replace(&mut value["config"], config);
    }
    // An attestation says in its descriptor which image it is about.
    for entry in value[member].as_array_mut().into_iter().flatten() {
        let about = entry.pointer_mut("/annotations/vnd.docker.reference.digest");
        if let Some(Value::String(about)) = about
            && let Some(new) = renamed.get(about)
        {
            about.clone_from(new);
        }
    }
    if let Some(entries) = value[member].as_array_mut() {
        let mut position = 0;
        entries.retain(|_| {
            position += 1;
            !edits.dropped.contains(&(position - 1))
        });
    }
    if let Some(media_type) = edits.media_type {
        value["mediaType"] = media_type.into();
    }
    if edits.strip {
        strip(&mut value, member);
    }
    let bytes = canonical(&value);
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(Error::TooLarge {
            place: format!("{}, written anew,", document.place),
            size: bytes.len() as u64,
            limit: MAX_DOCUMENT,
        });
    }
    Ok(bytes)
}

fn replace(old: &mut Value, new: &Descriptor) {
    old["digest"] = new.digest.as_str().into();
    old["size"] = new.size.into();
    if !new.media_type.is_empty() {
        old["mediaType"] = new.media_type.as_str().into();
    }
    // A copy of the old content would no longer fit.
    if let Some(members) = old.as_object_mut() {
        members.remove("data");
    }
}

/// Leaves what Docker's schema 2 knows.
fn strip(value: &mut Value, member: &str) {
    let keep = |value: &mut Value, names: &[&str]| {
        if let Some(members) = value.as_object_mut() {
            members.retain(|name, _| names.contains(&name.as_str()));
        }
    };
    keep(value, &["schemaVersion", "mediaType", "config", member]);
    let descriptor = ["mediaType", "size", "digest", "urls", "platform"];
    for entry in value[member].as_array_mut().into_iter().flatten() {
        keep(entry, &descriptor);
    }
    if let Some(config) = value.get_mut("config") {
        keep(config, &descriptor);
    }
}

/// JSON as we write it: no white space, members sorted. Written out here, since
/// the order of `serde_json` depends on a feature that any crate may switch on,
/// and digests depend on the order.
pub(super) fn canonical(value: &Value) -> Bytes {
    fn write(value: &Value, text: &mut String) {
        match value {
            Value::Array(items) => {
                text.push('[');
                for (position, item) in items.iter().enumerate() {
                    if position > 0 {
                        text.push(',');
                    }
                    write(item, text);
                }
                text.push(']');
            }
            Value::Object(members) => {
                text.push('{');
                let sorted: BTreeMap<_, _> = members.iter().collect();
                for (position, (name, member)) in sorted.into_iter().enumerate() {
                    if position > 0 {
                        text.push(',');
                    }
                    text.push_str(&Value::String(name.clone()).to_string());
                    text.push(':');
                    write(member, text);
                }
                text.push('}');
            }
            scalar => text.push_str(&scalar.to_string()),
        }
    }
    let mut text = String::new();
    write(value, &mut text);
    text.into()
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    place: &str,
    expected: &'static str,
) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|cause| Error::Json {
        place: place.to_owned(),
        expected,
        cause,
    })
}

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index of the image specification.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a manifest list of Docker, its index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    /// Numbers that are larger or more precise than a machine's come out as they went in.
    #[test]
    fn canonical_keeps_numbers_and_sorts_members() -> anyhow::Result<()> {
        let text = r#"{ "b": [1.50, 123456789012345678901234567890, -0.0, 1e400], "a": {"z":true,"y":null}, "\u0041": "\ud83d\ude00/" }"#;
        let value: Value = serde_json::from_str(text)?;
        expect![[r#"{"A":"😀/","a":{"y":null,"z":true},"b":[1.50,123456789012345678901234567890,-0.0,1e+400]}"#]].assert_eq(std::str::from_utf8(&canonical(&value))?);
        Ok(())
    }
}
