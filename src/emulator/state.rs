//! The one state behind control plane and registry, and how it reaches the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{clock::Moment, refusal::Refusal};

/// Oracle's flat labels.
pub(super) type FreeformTags = BTreeMap<String, String>;
/// Oracle's labels by namespace and key; values are usually strings.
pub(super) type DefinedTags = BTreeMap<String, BTreeMap<String, Value>>;

/// Everything that outlives a request.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct State {
    /// Counts what is created, so that lists have an order within a millisecond.
    pub sequence: u64,
    /// Signs registry tokens, in hexadecimal.
    pub token_secret: String,
    /// Counts how often all tokens were declared to have expired.
    pub token_generation: u64,
    pub repositories: BTreeMap<String, Repository>,
    pub images: BTreeMap<String, Image>,
    pub auth_tokens: BTreeMap<String, AuthToken>,
    /// Regions in which a first push creates a repository.
    pub created_on_first_push: BTreeSet<String>,
    pub configuration_etag: BTreeMap<String, String>,
    /// Results by operation and `opc-retry-token`.
    pub retries: BTreeMap<String, Remembered>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Repository {
    pub id: String,
    pub compartment_id: String,
    pub display_name: String,
    pub is_immutable: bool,
    pub is_public: bool,
    pub readme: Option<Readme>,
    pub freeform_tags: FreeformTags,
    pub defined_tags: DefinedTags,
    pub system_tags: DefinedTags,
    pub created_by: String,
    pub namespace: String,
    pub lifecycle_state: String,
    pub time_created: String,
    pub time_last_pushed: Option<String>,
    pub region: String,
    pub sequence: u64,
    pub etag: String,
    /// Blobs that were pushed or mounted here, with their sizes.
    pub blobs: BTreeMap<String, u64>,
    /// When a deletion that takes its time is done, in milliseconds since 1970.
    #[serde(default)]
    pub gone_at: Option<i64>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Readme {
    pub content: String,
    pub format: String,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Image {
    pub id: String,
    pub repository_id: String,
    pub digest: String,
    pub media_type: String,
    pub size: u64,
    pub layers: Vec<Layer>,
    /// Manifests that an index lists.
    pub children: Vec<String>,
    pub config: Option<String>,
    pub subject: Option<String>,
    pub created_by: String,
    pub lifecycle_state: String,
    pub time_created: String,
    pub time_last_pulled: Option<String>,
    pub pull_count: u64,
    pub versions: Vec<Version>,
    /// The tag it had last, for the display name of an image without one.
    pub last_version: Option<String>,
    pub freeform_tags: FreeformTags,
    pub defined_tags: DefinedTags,
    pub sequence: u64,
    pub etag: String,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    pub digest: String,
    pub size_in_bytes: u64,
    pub time_created: String,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    pub version: String,
    pub created_by: String,
    pub time_created: String,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthToken {
    pub id: String,
    pub user_id: String,
    pub description: String,
    pub lifecycle_state: String,
    pub inactive_status: Option<i64>,
    pub time_created: String,
    pub time_expires: Option<String>,
    pub sequence: u64,
    pub etag: String,
    /// The password itself.
    pub token: String,
}

/// The first result of a call with a retry token.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remembered {
    pub at: i64,
    /// SHA-256 of path and body.
    pub request: String,
    pub status: u16,
    pub body: Option<Value>,
    pub etag: Option<String>,
    /// The object the call was about; the token is void once it is gone.
    pub object: String,
}

pub(super) const AVAILABLE: &str = "AVAILABLE";
pub(super) const DELETING: &str = "DELETING";
pub(super) const DELETED: &str = "DELETED";

impl State {
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// An identifier for a new token, with its generation in front.
    pub(super) fn token_id(&self) -> String {
        format!("{}.{:032x}", self.token_generation, rand::random::<u128>())
    }

    /// Whether a token of this identifier was declared to have expired.
    pub(super) fn is_void(&self, token_id: &str) -> bool {
        token_id
            .split_once('.')
            .and_then(|(generation, _)| generation.parse().ok())
            .is_none_or(|generation: u64| generation < self.token_generation)
    }

    /// The repository of a name, without namespace, in a region.
    pub(super) fn repository_named(&self, region: &str, name: &str) -> Option<&Repository> {
        self.repositories.values().find(|repository| {
            repository.region == region
                && repository.display_name == name
                && repository.lifecycle_state == AVAILABLE
        })
    }

    /// Images of a repository that can be pulled.
    pub(super) fn images_of<'a>(
        &'a self,
        repository_id: &'a str,
    ) -> impl Iterator<Item = &'a Image> + 'a {
        self.images.values().filter(move |image| {
            image.repository_id == repository_id && image.lifecycle_state == AVAILABLE
        })
    }

    /// The image behind a tag or a digest.
    pub(super) fn image(&self, repository_id: &str, reference: &str) -> Option<&Image> {
        self.images.values().find(|image| {
            image.repository_id == repository_id
                && image.lifecycle_state == AVAILABLE
                && (image.digest == reference || image.has(reference))
        })
    }

    /// Tags of a repository and the digests behind them.
    pub(super) fn tags(&self, repository_id: &str) -> BTreeMap<String, String> {
        self.images_of(repository_id)
            .flat_map(|image| {
                image
                    .versions
                    .iter()
                    .map(|version| (version.version.clone(), image.digest.clone()))
            })
            .collect()
    }

    /// Points a tag to an image and takes it from the one that had it.
    pub(super) fn tag(&mut self, image_id: &str, version: Version) {
        let Some(repository_id) = self
            .images
            .get(image_id)
            .map(|image| image.repository_id.clone())
        else {
            return;
        };
        let tag = version.version.clone();
        for image in self.images.values_mut() {
            if image.repository_id != repository_id {
                continue;
            }
            if image.id == image_id {
                if !image.has(&tag) {
                    image.versions.push(version.clone());
                    image.last_version = Some(tag.clone());
                    image.etag = new_etag();
                }
            } else if image.has(&tag) {
                image.untag(&tag);
            }
        }
    }

    /// Removes a repository with its images.
    pub(super) fn remove_repository(&mut self, id: &str) {
        self.repositories.remove(id);
        self.images.retain(|_, image| image.repository_id != id);
    }

    /// Deletes a repository that keeps its name until `gone_at`; its images are gone at once.
    pub(super) fn start_deletion(&mut self, id: &str, gone_at: Moment) {
        if let Some(repository) = self.repositories.get_mut(id) {
            repository.lifecycle_state = DELETING.into();
            repository.gone_at = Some(gone_at.0);
            repository.etag = new_etag();
        }
        self.images.retain(|_, image| image.repository_id != id);
    }

    /// A repository as the API prints it.
    pub(super) fn repository_json(&self, repository: &Repository) -> Value {
        let mut value = self.repository_item_json(repository);
        value["isImmutable"] = json!(repository.is_immutable);
        value["createdBy"] = json!(repository.created_by);
        if let Some(readme) = &repository.readme {
            value["readme"] = json!(readme);
        }
        if let Some(time) = &repository.time_last_pushed {
            value["timeLastPushed"] = json!(time);
        }
        value
    }

    /// A repository as lists print it: without the four members that only Get has.
    pub(super) fn repository_item_json(&self, repository: &Repository) -> Value {
        let totals = self.totals(&repository.id);
        json!({
            "id": repository.id,
            "compartmentId": repository.compartment_id,
            "displayName": repository.display_name,
            "isPublic": repository.is_public,
            "freeformTags": repository.freeform_tags,
            "definedTags": repository.defined_tags,
            "systemTags": repository.system_tags,
            "namespace": repository.namespace,
            "imageCount": totals.images,
            "layerCount": totals.layers,
            "layersSizeInBytes": totals.bytes,
            "billableSizeInGBs": totals.bytes.div_ceil(1 << 30),
            "lifecycleState": repository.lifecycle_state,
            "timeCreated": repository.time_created,
        })
    }

    /// What a repository holds; a layer that two images share counts once.
    pub(super) fn totals(&self, repository_id: &str) -> Totals {
        let mut layers = BTreeMap::new();
        let mut images = 0;
        for image in self.images_of(repository_id) {
            images += 1;
            layers.extend(
                image
                    .layers
                    .iter()
                    .map(|layer| (layer.digest.as_str(), layer.size_in_bytes)),
            );
        }
        Totals {
            images,
            layers: layers.len() as u64,
            bytes: layers.values().sum(),
        }
    }

    /// An image as the API prints it.
    pub(super) fn image_json(&self, image: &Image) -> Value {
        let mut value = self.image_item_json(image);
        value["createdBy"] = json!(image.created_by);
        value["layers"] = json!(image.layers);
        value["layersSizeInBytes"] = json!(
            image
                .layers
                .iter()
                .map(|layer| layer.size_in_bytes)
                .sum::<u64>()
        );
        value["manifestSizeInBytes"] = json!(image.size);
        value["pullCount"] = json!(image.pull_count);
        value["versions"] = json!(image.versions);
        if let Some(time) = &image.time_last_pulled {
            value["timeLastPulled"] = json!(time);
        }
        value
    }

    /// An image as lists print it.
    pub(super) fn image_item_json(&self, image: &Image) -> Value {
        let (compartment_id, repository_name) =
            self.repositories
                .get(&image.repository_id)
                .map_or(("", ""), |repository| {
                    (
                        repository.compartment_id.as_str(),
                        repository.display_name.as_str(),
                    )
                });
        let mut value = json!({
            "id": image.id,
            "compartmentId": compartment_id,
            "digest": image.digest,
            "displayName": image.display_name(repository_name),
            "lifecycleState": image.lifecycle_state,
            "repositoryId": image.repository_id,
            "repositoryName": repository_name,
            "timeCreated": image.time_created,
            "freeformTags": image.freeform_tags,
            "definedTags": image.defined_tags,
            "systemTags": {},
        });
        if let Some(version) = image.versions.last() {
            value["version"] = json!(version.version);
        }
        value
    }

    /// Every file of the blob folder that something still needs.
    fn referenced(&self) -> BTreeSet<&str> {
        let blobs = self
            .repositories
            .values()
            .flat_map(|repository| repository.blobs.keys().map(String::as_str));
        let manifests = self.images.values().map(|image| image.digest.as_str());
        blobs.chain(manifests).collect()
    }
}

/// Sums over a repository.
pub(super) struct Totals {
    pub images: u64,
    pub layers: u64,
    pub bytes: u64,
}

impl Repository {
    /// Whether its deletion is done.
    pub(super) fn is_gone(&self, now: Moment) -> bool {
        self.gone_at.is_some_and(|gone_at| gone_at <= now.0)
    }
}

impl Image {
    pub(super) fn has(&self, tag: &str) -> bool {
        self.versions.iter().any(|version| version.version == tag)
    }

    pub(super) fn untag(&mut self, tag: &str) {
        self.versions.retain(|version| version.version != tag);
        self.etag = new_etag();
    }

    /// Deleted images can be restored for a while; their tags are gone at once.
    pub(super) fn delete(&mut self) {
        self.lifecycle_state = DELETED.into();
        self.versions.clear();
        self.etag = new_etag();
    }

    pub(super) fn display_name(&self, repository_name: &str) -> String {
        match (self.versions.last(), &self.last_version) {
            (Some(version), _) => format!("{repository_name}:{}", version.version),
            (None, Some(last)) => format!("{repository_name}:{last}@{}", self.digest),
            (None, None) => format!("{repository_name}:unknown@{}", self.digest),
        }
    }
}

impl AuthToken {
    /// The token as the API prints it after the create: without the password.
    pub(super) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "userId": self.user_id,
            "description": self.description,
            "token": null,
            "timeCreated": self.time_created,
            "timeExpires": self.time_expires,
            "lifecycleState": self.lifecycle_state,
            "inactiveStatus": self.inactive_status,
        })
    }
}

/// An entity tag that was never seen before.
pub(super) fn new_etag() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The state, its lock, and its file when there is one.
pub(super) struct Store {
    state: Mutex<State>,
    /// Something changed that is not worth a write of its own.
    dirty: AtomicBool,
    folder: Folder,
}

/// Where blobs and the state file are.
pub(super) struct Folder {
    root: PathBuf,
    kind: Kind,
}

enum Kind {
    /// `--data`: kept, and held by one emulator at a time.
    Kept { _lock: File },
    /// In memory, so to say: blobs need a place, which goes with the emulator.
    Temporary,
}

impl Folder {
    pub(super) fn open(data: Option<&Path>) -> io::Result<Self> {
        let folder = match data {
            Some(root) => {
                fs::create_dir_all(root).map_err(|error| about(root, &error))?;
                let path = root.join("lock");
                let lock = File::create(&path).map_err(|error| about(&path, &error))?;
                lock.try_lock().map_err(|error| {
                    about(root, &format!("in use by another emulator: {error}"))
                })?;
                Self {
                    root: root.into(),
                    kind: Kind::Kept { _lock: lock },
                }
            }
            None => Self {
                root: std::env::temp_dir()
                    .join(format!("ocir-emulator-{:032x}", rand::random::<u128>())),
                kind: Kind::Temporary,
            },
        };
        // An upload does not survive a restart, so its bytes need not either.
        let uploads = folder.root.join("uploads");
        if uploads.exists() {
            fs::remove_dir_all(&uploads).map_err(|error| about(&uploads, &error))?;
        }
        for path in [uploads, folder.root.join("blobs").join("sha256")] {
            fs::create_dir_all(&path).map_err(|error| about(&path, &error))?;
        }
        Ok(folder)
    }

    fn is_kept(&self) -> bool {
        matches!(self.kind, Kind::Kept { .. })
    }

    /// The file of a blob or a manifest.
    pub(super) fn blob(&self, digest: &str) -> PathBuf {
        let name = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.root.join("blobs").join("sha256").join(name)
    }

    pub(super) fn upload(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(id)
    }

    /// Replaces a file of the folder, durably where that is asked for.
    pub(super) fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        write_file(path, content, self.is_kept())
    }

    /// Makes what was written to an open file survive a crash, where that is asked for.
    pub(super) fn sync(&self, file: &File) -> io::Result<()> {
        if self.is_kept() {
            file.sync_all()
        } else {
            Ok(())
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Kind::Temporary = self.kind {
            // Nobody is left to tell, and the folder is in the system's temporary one.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

impl Store {
    pub(super) fn open(folder: Folder) -> io::Result<Self> {
        let path = folder.root.join("state.json");
        let mut state = State::default();
        if folder.is_kept() && path.exists() {
            let text = fs::read(&path).map_err(|error| about(&path, &error))?;
            state = serde_json::from_slice(&text).map_err(|error| about(&path, &error))?;
        }
        if state.token_secret.is_empty() {
            state.token_secret = format!(
                "{:032x}{:032x}",
                rand::random::<u128>(),
                rand::random::<u128>()
            );
        }
        let store = Self {
            state: Mutex::new(state),
            dirty: AtomicBool::new(false),
            folder,
        };
        store.save(&store.lock())?;
        store.collect();
        Ok(store)
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Looks at the state.
    pub(super) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state: all of it and on the disk, or not at all.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut state = self.lock();
        let mut next = state.clone();
        let result = change(&mut next)?;
        self.save(&next)
            .map_err(|error| Refusal::internal(&error))?;
        *state = next;
        Ok(result)
    }

    /// Changes something small that may wait for the next write.
    pub(super) fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// Writes what [`Store::note`] left unwritten.
    pub(super) fn flush(&self) -> io::Result<()> {
        if self.dirty.load(Ordering::Relaxed) {
            self.save(&self.lock())?;
        }
        Ok(())
    }

    /// Removes the files of blobs that no repository has any more.
    pub(super) fn collect(&self) {
        let state = self.lock();
        let referenced = state.referenced();
        let Ok(entries) = fs::read_dir(self.folder.root.join("blobs").join("sha256")) else {
            return;
        };
        for entry in entries.flatten() {
            let digest = format!("sha256:{}", entry.file_name().to_string_lossy());
            if !referenced.contains(digest.as_str()) {
                // What cannot be removed now is tried again at the next chance.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A handler that panicked never leaves half a change behind: changes
        // are made on a copy. The panic itself is reported elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, state: &State) -> io::Result<()> {
        if self.folder.is_kept() {
            let text = serde_json::to_vec_pretty(state)?;
            self.folder
                .write(&self.folder.root.join("state.json"), &text)?;
        }
        self.dirty.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Replaces a file, readable by its owner only, so that a crash leaves the old or the new one.
pub(super) fn write_file(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let write = || {
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(content)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        match path.parent() {
            Some(parent) if durable => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|error: io::Error| about(path, &error))
}

/// An input or output error that says which file.
pub(super) fn about(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An emulator in memory has a folder of its own for blobs, and takes it along when it goes.
    #[test]
    fn temporary_folder() -> anyhow::Result<()> {
        let store = Store::open(Folder::open(None)?)?;
        let root = store.folder().root.clone();
        fs::write(store.folder().blob("sha256:00"), "x")?;
        assert!(!root.join("state.json").exists());
        drop(store);
        assert!(!root.exists());
        Ok(())
    }

    /// A change that is refused half way leaves nothing behind.
    #[test]
    fn refused_change() -> anyhow::Result<()> {
        let store = Store::open(Folder::open(None)?)?;
        let refused = store.change(|state| {
            state.next_sequence();
            Err::<(), _>(Refusal::not_found())
        });
        assert!(refused.is_err());
        assert_eq!(store.read(|state| state.sequence), 0);
        Ok(())
    }

    /// A disk that cannot be written to makes the call fail, and the change undone.
    #[test]
    fn unwritable_folder() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(Folder::open(Some(folder.path()))?)?;
        // A folder in the way of the file that is renamed to it.
        fs::remove_file(folder.path().join("state.json"))?;
        fs::create_dir_all(folder.path().join("state.json").join("in the way"))?;
        let Err(refusal) = store.change(|state| {
            state.next_sequence();
            Ok(())
        }) else {
            anyhow::bail!("it was written");
        };
        assert!(
            refusal.message.contains("state.json"),
            "{}",
            refusal.message
        );
        assert_eq!(store.read(|state| state.sequence), 0);
        Ok(())
    }
}
