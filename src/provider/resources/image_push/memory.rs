//! What is remembered of a push beside its state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    framework::Private,
    image::{self, Descriptor, Digest, KnownLayer},
};

/// What is remembered of a push.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Memory {
    /// The digest that we left each tag at. A refresh puts into the state what the
    /// tag points to, which may be somebody else's image.
    pub(super) tags: BTreeMap<String, Digest>,
    /// Layers that we compressed, so that a later version of the compressor does
    /// not make other bytes, and another digest, of the same image.
    pub(super) layers: Vec<KnownLayer>,
    /// What the source was when it was last applied.
    pub(super) source: Option<Digest>,
}

/// As it is stored. A member that is not understood is as good as none: what is
/// remembered spares work and questions, and nothing is wrong without it.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Stored {
    tags: BTreeMap<String, String>,
    layers: Vec<StoredLayer>,
    source: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct StoredLayer {
    diff_id: String,
    algorithm: String,
    media_type: String,
    digest: String,
    size: u64,
}

/// Key of the private state.
const KEY: &str = "push";

impl Memory {
    /// What is remembered; `None` when nothing ever was, as after an import.
    pub(super) fn of(private: &Private) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(private.get(KEY)?).unwrap_or_default();
        let tags = stored.tags.into_iter();
        Some(Self {
            tags: tags
                .filter_map(|(tag, digest)| Some((tag, digest.parse().ok()?)))
                .collect(),
            layers: stored.layers.into_iter().filter_map(known).collect(),
            source: stored.source.and_then(|digest| digest.parse().ok()),
        })
    }

    /// Writes it into the private state.
    pub(super) fn keep(&self, private: &mut Private) {
        let tags = self.tags.iter();
        let stored = Stored {
            tags: tags
                .map(|(tag, digest)| (tag.clone(), digest.to_string()))
                .collect(),
            layers: self.layers.iter().map(stored).collect(),
            source: self.source.as_ref().map(Digest::to_string),
        };
        // Nothing in it has a form that JSON lacks.
        private.set(KEY, serde_json::to_vec(&stored).unwrap_or_default());
    }

    /// Takes over what an image is made of.
    pub(super) fn learn(&mut self, image: &image::Image) {
        let layers = image.layers.iter();
        self.layers = layers.filter_map(image::Layer::to_remember).collect();
        self.source = Some(image.root().digest.clone());
    }
}

fn known(layer: StoredLayer) -> Option<KnownLayer> {
    Some(KnownLayer {
        diff_id: layer.diff_id.parse().ok()?,
        algorithm: layer.algorithm,
        descriptor: Descriptor {
            media_type: layer.media_type,
            digest: layer.digest.parse().ok()?,
            size: layer.size,
        },
    })
}

fn stored(layer: &KnownLayer) -> StoredLayer {
    StoredLayer {
        diff_id: layer.diff_id.to_string(),
        algorithm: layer.algorithm.clone(),
        media_type: layer.descriptor.media_type.clone(),
        digest: layer.descriptor.digest.to_string(),
        size: layer.descriptor.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept is found again; what nobody wrote is nothing, and what is
    /// damaged is as good as nothing.
    #[test]
    fn kept_and_found() {
        let digest = Digest::of(b"image");
        let memory = Memory {
            tags: BTreeMap::from([("1.0".to_owned(), digest.clone())]),
            layers: vec![KnownLayer {
                diff_id: Digest::of(b"layer"),
                algorithm: image::ALGORITHM.to_owned(),
                descriptor: Descriptor {
                    media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
                    digest: Digest::of(b"compressed"),
                    size: 9,
                },
            }],
            source: Some(digest),
        };
        let mut private = Private::default();
        assert_eq!(Memory::of(&private), None);
        memory.keep(&mut private);
        let again = Private::decode(&private.encode());
        assert_eq!(Memory::of(&again), Some(memory));

        for damaged in [
            "",
            "[]",
            r#"{"tags":{"1.0":"md5:1"},"layers":[{"size":1}],"source":"?"}"#,
            r#"{"tags":7}"#,
        ] {
            private.set(KEY, damaged);
            assert_eq!(Memory::of(&private), Some(Memory::default()), "{damaged}");
        }
    }

    proptest::proptest! {
        /// Whatever is found in the private state, what is remembered of it can be written and is
        /// the same again.
        #[test]
        fn any_private_state(stored in crate::spoilt::json([serde_json::json!({
            "tags": {"1.0": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
            "layers": [{
                "diff_id": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                "algorithm": "gzip-1", "media_type": "x", "size": 2,
                "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
            }],
            "source": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        })])) {
            let mut private = Private::default();
            private.set(KEY, stored.to_string().into_bytes());
            let memory = Memory::of(&private).expect("something is there");
            let mut again = Private::default();
            memory.keep(&mut again);
            let read = Memory::of(&again).expect("something is there");
            proptest::prop_assert_eq!(format!("{read:?}"), format!("{memory:?}"));
        }
    }
}
