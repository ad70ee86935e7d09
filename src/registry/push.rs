//! Pushing an image: order, deduplication, mounts and progress over the whole
//! process.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::try_join_all, stream::FuturesUnordered};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    Client, Error, ManifestContent,
    auth::Access,
    blob::{Mount, Session},
    client::lock,
    error::code,
    retry::Attempts,
    slots::Slots,
};
use crate::{
    image::{Blob, Digest, Image, Manifest},
    transport::RetryPolicy,
};

/// What to push, and where.
#[derive(Debug)]
pub struct Push<'a> {
    /// Path of the repository, with namespace.
    pub repository: &'a str,
    /// Tag of the root manifest; the last thing that is written.
    pub tag: &'a str,
    /// The image.
    pub image: &'a Image,
    /// More tags of the root manifest, written before the other one.
    pub additional_tags: &'a [String],
    /// Whether the repository should have the image already, under whatever
    /// tag. It is asked; when it has, a tag is one manifest, and no blob is looked for.
    pub expected: bool,
    /// When it is set, a tag that points to another image is moved only if this
    /// says that it may be moved away from it.
    pub movable: Option<&'a BTreeMap<String, Digest>>,
}

impl<'a> Push<'a> {
    /// Of an image that the repository need not have, under one tag, which is
    /// moved wherever it points.
    pub fn new(repository: &'a str, tag: &'a str, image: &'a Image) -> Self {
        Self {
            repository,
            tag,
            image,
            additional_tags: &[],
            expected: false,
            movable: None,
        }
    }

    /// All tags once, the last one last.
    fn tags(&self) -> Vec<&'a str> {
        let additional = self.additional_tags.iter().map(String::as_str);
        let mut tags: Vec<&str> = additional.filter(|tag| *tag != self.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        tags.push(self.tag);
        tags
    }
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Digest of the root manifest, as the registry confirmed it.
    pub digest: Digest,
    /// Blobs and bytes sent.
    pub uploaded: (usize, u64),
    /// Blobs and bytes for which the registry was asked to take them over from another of
    /// its repositories, and then had them. Those that it had before are among them: the
    /// answer is the same.
    pub mounted: (usize, u64),
    /// Blobs and bytes that were looked for and found.
    pub existing: (usize, u64),
    /// What the registry warned of, each text once.
    pub warnings: Vec<String>,
    /// Time from start to confirmation.
    pub elapsed: Duration,
}

impl Client {
    /// Pushes an image. Sends nothing when its tags point to it already, and no
    /// blob when one of them does.
    ///
    /// Blobs go first, the largest at the head, also of several pushes; manifests follow, children
    /// before the index that names them; the tags are last. Whatever ends a push
    /// half-way leaves the tag as it was, and blobs that the next push finds.
    ///
    /// A stop ends it at once, except when the last tag is just being written: the
    /// registry may have done it already, and whoever asked for it has to know.
    pub async fn push(&self, push: &Push<'_>) -> Result<Pushed, Error> {
        let job = Job::new(push);
        let mut work = std::pin::pin!(self.push_image(&job, push));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            result = &mut work => return result,
        }
        if !job.tagging.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        match tokio::time::timeout(LAST_ANSWER, work).await {
            Ok(Ok(pushed)) => Ok(pushed),
            Ok(Err(_)) | Err(_) => Err(Error::Stopped),
        }
    }

    /// Makes a tag point to a manifest that the repository has.
    pub async fn tag_manifest(
        &self,
        repository: &str,
        tag: &str,
        manifest: &ManifestContent,
    ) -> Result<(), Error> {
        let image = Image {
            manifests: vec![Manifest {
                media_type: manifest.media_type.clone(),
                digest: manifest.digest.clone(),
                bytes: manifest.bytes.clone(),
                config: None,
                layers: Vec::new(),
            }],
            blobs: Vec::new(),
            layers: Vec::new(),
        };
        self.push(&Push::new(repository, tag, &image))
            .await
            .map(drop)
    }

    /// A denial of a repository that nothing was written to yet may be about a policy
    /// that this very run has made: it is asked again for a while, with new tokens,
    /// since a policy is not in those that are older. The while is the repository's:
    /// a policy that nobody made keeps fifty tags waiting no longer than one.
    async fn push_image(&self, job: &Job<'_>, push: &Push<'_>) -> Result<Pushed, Error> {
        let retry = &self.inner.retry;
        let retry = RetryPolicy {
            max_elapsed: retry.max_elapsed.min(POLICY_IS_YOUNG),
            ..retry.clone()
        };
        let mut made = 1;
        loop {
            let error = match self.push_once(job, push).await {
                Err(error) if self.may_be_too_early(job, &error) => error,
                done => return done,
            };
            let denied = Instant::now();
            let since = self.inner.uploads.denied(job.repository, denied);
            let Some(delay) = retry.next(made, denied - since, rand::random(), None) else {
                return Err(error.after(made));
            };
            let delay = if retry.wait { delay } else { Duration::ZERO };
            tracing::info!(
                host = self.host(),
                attempt = made,
                wait_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                reason = %error,
                "Asking the registry again, in case that a policy is just being made"
            );
            tokio::time::sleep(delay).await;
            self.inner.auth.renew(denied).await;
            made += 1;
        }
    }

    fn may_be_too_early(&self, job: &Job<'_>, error: &Error) -> bool {
        let is_denied = error.is_denied() && !error.is_anonymous_denial() && !error.is_immutable();
        is_denied
            && self.inner.auth.is_identity()
            && !self.inner.uploads.is_open(job.repository)
            && !self.stop.is_cancelled()
    }

    async fn push_once(&self, job: &Job<'_>, push: &Push<'_>) -> Result<Pushed, Error> {
        let root = push.image.root();
        let tags = push.tags();
        let open = self.open_tags(job, push, &tags).await?;
        let mut is_there = open.len() < tags.len();
        if open.is_empty() {
            job.note_all(&push.image.blobs);
            return Ok(self.summary(job, push));
        }
        if !is_there && push.expected {
            let found = self
                .find_manifest(&job.access, root.digest.as_str())
                .await?;
            is_there = found.is_some();
        }
        let mut missing = HashSet::new();
        if is_there {
            match self.put_tags(job, &open, root).await {
                Ok(()) => {
                    job.note_all(&push.image.blobs);
                    return Ok(self.summary(job, push));
                }
                Err(error) if self.is_missing_content(&error) => {
                    // The manifest is there, and something that it names is not.
                    tracing::info!(reason = %error, "Looking for the blobs");
                    self.inner
                        .uploads
                        .forget(push.repository, &push.image.blobs);
                    missing = named_digests(&error);
                }
                Err(error) => return Err(error),
            }
        }
        self.push_blobs(job, &push.image.blobs, &missing).await?;
        if let Err(error) = self.push_manifests(job, push, &open).await {
            if !self.is_missing_content(&error) {
                return Err(error);
            }
            // What we saw or remember is not there any more: somebody deleted
            // the repository in between, or the registry's cache is stale.
            tracing::info!(reason = %error, "Looking for the blobs again");
            self.inner
                .uploads
                .forget(push.repository, &push.image.blobs);
            let missing = named_digests(&error);
            self.push_blobs(job, &push.image.blobs, &missing).await?;
            self.push_manifests(job, push, &open).await?;
        }
        Ok(self.summary(job, push))
    }

    /// The tags that do not point to the image, if they may all be moved.
    async fn open_tags<'t>(
        &self,
        job: &Job<'_>,
        push: &Push<'_>,
        tags: &[&'t str],
    ) -> Result<Vec<&'t str>, Error> {
        let root = &push.image.root().digest;
        let looks = tags.iter().map(|tag| async move {
            let _check = permit(&self.inner.uploads.checks).await?;
            self.find_manifest(&job.access, tag).await
        });
        let mut open = Vec::new();
        for (tag, there) in tags.iter().zip(try_join_all(looks).await?) {
            match there {
                Some(there) if there.digest == *root => continue,
                Some(there)
                    if push
                        .movable
                        .is_some_and(|movable| movable.get(*tag) != Some(&there.digest)) =>
                {
                    return Err(Error::TagElsewhere {
                        host: self.host().into(),
                        repository: push.repository.into(),
                        tag: (*tag).into(),
                        there: there.digest,
                        wanted: root.clone(),
                    });
                }
                _ => open.push(*tag),
            }
        }
        Ok(open)
    }

    /// Whether the registry says that something which a manifest names is not there.
    fn is_missing_content(&self, error: &Error) -> bool {
        let missing = [
            code::MANIFEST_BLOB_UNKNOWN,
            code::BLOB_UNKNOWN,
            code::MANIFEST_UNKNOWN,
        ];
        missing.contains(&error.code()) && !self.stop.is_cancelled()
    }

    /// Brings all blobs there, and says now and then how far it is. `missing`
    /// are blobs that are not to be looked for, since the registry said that
    /// they are not there.
    async fn push_blobs(
        &self,
        job: &Job<'_>,
        blobs: &[Blob],
        missing: &HashSet<Digest>,
    ) -> Result<(), Error> {
        let mut order: Vec<&Blob> = blobs.iter().collect();
        // A big blob that begins last is waited for alone.
        order.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        let mut running: FuturesUnordered<_> = order
            .into_iter()
            .map(|blob| async move {
                let known_missing = missing.contains(&blob.digest);
                let outcome = self.push_blob(job, blob, known_missing).await?;
                job.note(blob, outcome);
                Ok::<_, Error>(())
            })
            .collect();
        let mut report = tokio::time::interval(REPORT_EVERY);
        report.tick().await;
        loop {
            tokio::select! {
                next = running.next() => match next {
                    Some(result) => result?,
                    None => return Ok(()),
                },
                _ = report.tick() => job.report(self.host(), blobs),
            }
        }
    }

    /// Brings one blob there, unless it is, or is on its way.
    async fn push_blob(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        known_missing: bool,
    ) -> Result<Outcome, Error> {
        let uploads = &self.inner.uploads;
        // One at a time per repository; and, as long as mounts work, per
        // registry, since a blob that arrives elsewhere need not be sent twice.
        let here = uploads.flight(Some(job.repository), &blob.digest);
        let _here = here.gate.lock().await;
        let elsewhere = || uploads.other_repository(job.repository, &blob.digest);
        let anywhere = uploads.flight(None, &blob.digest);
        let mut anywhere = match uploads.mounts_work() && elsewhere().is_none() {
            true => Some(anywhere.gate.lock().await),
            false => None,
        };
        if uploads.is_known(job.repository, &blob.digest) {
            return Ok(Outcome::Existing);
        }
        let elsewhere = elsewhere();
        if !uploads.mounts_work() || elsewhere.is_some() {
            // Nobody needs to wait any more: what has arrived is mounted by all at once.
            anywhere = None;
        }
        let mut session = None;
        // A mount is one request, as the question whether the blob is here would be, and
        // fits either answer. The question comes first where mounts are refused, and where
        // the blob was read, for it is there.
        let mounts_first = uploads.mounts_work() && !self.is_read_from(job.repository, blob);
        if let Some(from) = elsewhere.as_ref().filter(|_| mounts_first) {
            let _check = permit(&uploads.checks).await?;
            if self.take_over(job, blob, from, &mut session).await {
                return Ok(Outcome::Mounted);
            }
        }
        if !known_missing {
            let _check = permit(&uploads.checks).await?;
            if self.has_blob(job, blob, &mut Attempts::new(self)).await? {
                uploads.know(job.repository, &blob.digest);
                return Ok(Outcome::Existing);
            }
        }
        let _slot = uploads.slots.take(blob.size).await;
        let from = match elsewhere {
            Some(_) if mounts_first => None,
            Some(from) => Some(from),
            // Somebody else may have read it where it comes from.
            None => self.origin(job, blob),
        };
        if let Some(from) = from
            && self.take_over(job, blob, &from, &mut session).await
        {
            return Ok(Outcome::Mounted);
        }
        self.upload(job, blob, session).await?;
        uploads.know(job.repository, &blob.digest);
        // Who waits here mounts it, and has to find it.
        drop(anywhere);
        Ok(Outcome::Uploaded)
    }

    /// Has the registry take the blob over from another repository; says whether it did.
    /// Some open a session for an upload when they do not.
    async fn take_over(
        &self,
        job: &Job<'_>,
        blob: &Blob,
        from: &str,
        session: &mut Option<Session>,
    ) -> bool {
        let uploads = &self.inner.uploads;
        match self.mount(job, blob, from).await {
            Mount::Done => {
                uploads.opened(job.repository);
                uploads.know(job.repository, &blob.digest);
                return true;
            }
            Mount::Session(opened) => *session = Some(opened),
            Mount::Refused => {}
            Mount::Failed => return false,
        }
        if uploads.mounts_work() && uploads.is_known(from, &blob.digest) {
            let access = Access::pull(from);
            match self
                .finds_blob(&access, blob, &mut Attempts::new(self))
                .await
            {
                // It is there, and the registry would not: it is not worth
                // waiting for other repositories any more.
                Ok(true) => uploads.mounts_refused.store(true, Ordering::Relaxed),
                // It was deleted, or whoever pushes now may not read there.
                Ok(false) => uploads.forget(from, std::slice::from_ref(blob)),
                Err(error) => tracing::debug!(reason = %error, "Cannot tell why a mount failed"),
            }
        }
        false
    }

    /// The repository of this registry that the blob is read from, if it is another one.
    fn origin(&self, job: &Job<'_>, blob: &Blob) -> Option<String> {
        let origin = blob.source.origin()?;
        let is_other = origin.host == self.host() && origin.repository != job.repository;
        is_other.then(|| origin.repository.clone())
    }

    fn is_read_from(&self, repository: &str, blob: &Blob) -> bool {
        let origin = blob.source.origin();
        origin.is_some_and(|origin| origin.host == self.host() && origin.repository == repository)
    }

    /// Writes all manifests, and the root under these tags.
    async fn push_manifests(
        &self,
        job: &Job<'_>,
        push: &Push<'_>,
        tags: &[&str],
    ) -> Result<(), Error> {
        let root = push.image.root();
        let children = &push.image.manifests[..push.image.manifests.len() - 1];
        // Images do not depend on each other, indexes on what they name.
        let (images, indexes): (Vec<&Manifest>, Vec<&Manifest>) = children
            .iter()
            .partition(|manifest| manifest.config.is_some());
        let mut running: FuturesUnordered<_> = images
            .into_iter()
            .map(|manifest| async move {
                let _check = permit(&self.inner.uploads.checks).await?;
                self.put_manifest(job, manifest.digest.as_str(), manifest, false)
                    .await
            })
            .collect();
        while let Some(result) = running.next().await {
            result?;
        }
        for manifest in indexes {
            self.put_manifest(job, manifest.digest.as_str(), manifest, false)
                .await?;
        }
        self.put_tags(job, tags, root).await
    }

    /// Writes the root under these tags, in this order.
    async fn put_tags(&self, job: &Job<'_>, tags: &[&str], root: &Manifest) -> Result<(), Error> {
        for (number, tag) in tags.iter().enumerate() {
            let is_last = number + 1 == tags.len();
            self.put_manifest(job, tag, root, is_last).await?;
        }
        Ok(())
    }

    fn summary(&self, job: &Job<'_>, push: &Push<'_>) -> Pushed {
        let outcomes = lock(&job.outcomes);
        let sum = |outcome| {
            push.image
                .blobs
                .iter()
                .filter(|blob| outcomes.get(&blob.digest) == Some(&outcome))
                .fold((0, 0), |(count, bytes), blob| {
                    (count + 1, bytes + blob.size)
                })
        };
        let pushed = Pushed {
            digest: push.image.root().digest.clone(),
            uploaded: sum(Outcome::Uploaded),
            mounted: sum(Outcome::Mounted),
            existing: sum(Outcome::Existing),
            warnings: lock(&job.warnings).clone(),
            elapsed: job.start.elapsed(),
        };
        tracing::info!(
            host = self.host(),
            repository = push.repository,
            tag = push.tag,
            digest = %pushed.digest,
            "Pushed image in {:.1} s: {} uploaded, {} mounted or there before, {} found there",
            pushed.elapsed.as_secs_f64(),
            amount(pushed.uploaded),
            amount(pushed.mounted),
            amount(pushed.existing),
        );
        pushed
    }
}

/// One push on its way.
pub(super) struct Job<'a> {
    pub(super) repository: &'a str,
    tag: &'a str,
    pub(super) access: Access,
    /// Bytes sent, also those of blobs that are not complete.
    pub(super) sent: Arc<AtomicU64>,
    /// Whether the request that writes the tag may have reached the registry.
    pub(super) tagging: AtomicBool,
    pub(super) warnings: Mutex<Vec<String>>,
    outcomes: Mutex<HashMap<Digest, Outcome>>,
    start: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was looked for.
    Existing,
    /// A mount was asked for, and the blob is there; maybe it was before.
    Mounted,
    Uploaded,
}

impl<'a> Job<'a> {
    fn new(push: &Push<'a>) -> Self {
        Self {
            repository: push.repository,
            tag: push.tag,
            access: Access::push(push.repository),
            sent: Arc::default(),
            tagging: AtomicBool::new(false),
            warnings: Mutex::default(),
            outcomes: Mutex::default(),
            start: Instant::now(),
        }
    }

    fn note(&self, blob: &Blob, outcome: Outcome) {
        let mut outcomes = lock(&self.outcomes);
        // Looked for a second time, what was sent is there.
        if outcome != Outcome::Existing || !outcomes.contains_key(&blob.digest) {
            outcomes.insert(blob.digest.clone(), outcome);
        }
    }

    /// The registry has the whole image.
    fn note_all(&self, blobs: &[Blob]) {
        for blob in blobs {
            self.note(blob, Outcome::Existing);
        }
    }

    fn report(&self, host: &str, blobs: &[Blob]) {
        tracing::info!(
            host,
            repository = self.repository,
            tag = self.tag,
            "Pushing image: {}",
            self.progress(blobs, self.start.elapsed())
        );
    }

    fn progress(&self, blobs: &[Blob], elapsed: Duration) -> String {
        let sent = self.sent.load(Ordering::Relaxed);
        let outcomes = lock(&self.outcomes);
        let (mut mounted, mut existing, mut open) = ((0, 0), (0, 0), 0);
        let add = |sum: &mut (usize, u64), blob: &Blob| *sum = (sum.0 + 1, sum.1 + blob.size);
        for blob in blobs {
            match outcomes.get(&blob.digest) {
                Some(Outcome::Existing) => add(&mut existing, blob),
                Some(Outcome::Mounted) => add(&mut mounted, blob),
                Some(Outcome::Uploaded) => {}
                None => open += 1,
            }
        }
        let total: u64 = blobs.iter().map(|blob| blob.size).sum();
        let seconds = elapsed.as_secs_f64();
        format!(
            "{} of {} sent in {seconds:.0} s ({}/s), blobs to go: {open}, mounted or there before: {}, found there: {}",
            size(sent),
            size(total - mounted.1 - existing.1),
            size((sent as f64 / seconds.max(0.001)) as u64),
            amount(mounted),
            amount(existing),
        )
    }
}

/// No longer than this a denial is doubted. Mostly IAM takes some seconds until all
/// know of a policy, and whoever lacks one wants to hear of it.
const POLICY_IS_YOUNG: Duration = Duration::from_secs(60);

const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How long after a stop the registry may still say that it has written the
/// tag. Whoever interrupts a run has it end within a second.
const LAST_ANSWER: Duration = Duration::from_millis(800);

/// What all pushes of a client have in common.
pub(super) struct Uploads {
    /// Uploads at once.
    slots: Slots,
    /// Small requests at once.
    checks: Semaphore,
    /// Blobs on their way: to a repository, or to any.
    flights: Mutex<HashMap<Route, Gate>>,
    /// Repositories that have a blob.
    known: Mutex<HashMap<Digest, Vec<String>>>,
    /// Repositories that have let us write.
    open: Mutex<HashSet<String>>,
    /// When repositories denied it for the first time.
    denied: Mutex<HashMap<String, Instant>>,
    /// Whether the registry would not mount a blob that was there.
    mounts_refused: AtomicBool,
    /// Most bytes of a request when the registry would not take a whole blob; 0
    /// as long as it does.
    pub(super) chunk: AtomicU64,
}

/// A repository, or any, and a blob.
type Route = (Option<String>, Digest);
type Gate = Arc<tokio::sync::Mutex<()>>;

/// A blob that somebody brings somewhere, or waits to.
struct Flight<'a> {
    uploads: &'a Uploads,
    route: Route,
    gate: Gate,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = lock(&self.uploads.flights);
        // Gates are taken under the same lock, so nobody comes in between:
        // this one's and the map's are the last two.
        if Arc::strong_count(&self.gate) == 2 {
            flights.remove(&self.route);
        }
    }
}

impl Uploads {
    pub(super) fn new(at_once: usize) -> Self {
        let at_once = at_once.clamp(1, MOST_AT_ONCE);
        Self {
            slots: Slots::new(at_once),
            checks: Semaphore::new(at_once.max(CHECKS_AT_ONCE)),
            flights: Mutex::default(),
            known: Mutex::default(),
            open: Mutex::default(),
            denied: Mutex::default(),
            mounts_refused: AtomicBool::new(false),
            chunk: AtomicU64::new(0),
        }
    }

    fn flight(&self, repository: Option<&str>, digest: &Digest) -> Flight<'_> {
        let route: Route = (repository.map(Into::into), digest.clone());
        let gate = lock(&self.flights)
            .entry(route.clone())
            .or_default()
            .clone();
        Flight {
            uploads: self,
            route,
            gate,
        }
    }
    /// The repository let us write.
    pub(super) fn opened(&self, repository: &str) {
        let mut open = lock(&self.open);
        if !open.contains(repository) {
            open.insert(repository.to_owned());
        }
    }
    fn is_open(&self, repository: &str) -> bool {
        lock(&self.open).contains(repository)
    }
    /// The repository did not let us write; says since when.
    fn denied(&self, repository: &str, now: Instant) -> Instant {
        *lock(&self.denied)
            .entry(repository.to_owned())
            .or_insert(now)
    }
    fn mounts_work(&self) -> bool {
        !self.mounts_refused.load(Ordering::Relaxed)
    }
    fn is_known(&self, repository: &str, digest: &Digest) -> bool {
        lock(&self.known)
            .get(digest)
            .is_some_and(|repositories| repositories.iter().any(|known| known == repository))
    }
    fn know(&self, repository: &str, digest: &Digest) {
        let mut known = lock(&self.known);
        if known.len() >= MOST_KNOWN {
            // Whoever needs one of them looks for it again.
            known.clear();
        }
        let repositories = known.entry(digest.clone()).or_default();
        if !repositories.iter().any(|known| known == repository) {
            repositories.push(repository.into());
        }
    }
    fn other_repository(&self, repository: &str, digest: &Digest) -> Option<String> {
        lock(&self.known)
            .get(digest)?
            .iter()
            .find(|known| *known != repository)
            .cloned()
    }
    fn forget(&self, repository: &str, blobs: &[Blob]) {
        let mut known = lock(&self.known);
        for blob in blobs {
            if let Some(repositories) = known.get_mut(&blob.digest) {
                repositories.retain(|known| known != repository);
            }
        }
    }
}

/// Blobs that are remembered; about 10 MB.
const MOST_KNOWN: usize = 50_000;

const CHECKS_AT_ONCE: usize = 8;
/// More only makes registries angry.
const MOST_AT_ONCE: usize = 64;

async fn permit(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, Error> {
    // Nobody closes these, so an error would mean that all is over.
    semaphore.acquire().await.map_err(|_| Error::Stopped)
}

/// The blobs that the registry misses, as the detail of its error names them.
fn named_digests(error: &Error) -> HashSet<Digest> {
    let Error::Registry {
        detail, message, ..
    } = error
    else {
        return HashSet::new();
    };
    [detail, message]
        .into_iter()
        .flat_map(|text| {
            text.match_indices("sha256:")
                .map(move |(at, _)| &text[at..])
        })
        .filter_map(|rest| rest.get(..71)?.parse().ok())
        .collect()
}

fn amount((count, bytes): (usize, u64)) -> String {
    match count {
        0 => "none".into(),
        1 => format!("1 blob ({})", size(bytes)),
        _ => format!("{count} blobs ({})", size(bytes)),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and amounts as people read them.
    #[test]
    fn amounts_are_readable() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(4_096), "4.1 kB");
        assert_eq!(size(535_000_000), "535.0 MB");
        assert_eq!(size(1_417_000_000), "1.42 GB");
        assert_eq!(amount((0, 0)), "none");
        assert_eq!(amount((1, 5)), "1 blob (5 B)");
        assert_eq!(amount((2, 5)), "2 blobs (5 B)");
    }

    /// What is sent, how fast, and what need not be.
    #[test]
    fn progress_is_readable() {
        let blobs: Vec<Blob> = [100_000_000, 20_000_000, 3_000]
            .into_iter()
            .map(|size| Blob {
                digest: Digest::of(&u64::to_le_bytes(size)),
                size,
                source: Arc::new(Nothing),
            })
            .collect();
        let image = Image {
            manifests: vec![],
            blobs: vec![],
            layers: vec![],
        };
        let job = Job::new(&Push::new("ns/web", "1.0", &image));
        job.sent.store(50_003_000, Ordering::Relaxed);
        job.note(&blobs[1], Outcome::Mounted);
        job.note(&blobs[2], Outcome::Uploaded);
        // A second look finds what was sent before; it was sent all the same.
        job.note(&blobs[2], Outcome::Existing);
        expect_test::expect!["50.0 MB of 100.0 MB sent in 10 s (5.0 MB/s), blobs to go: 1, mounted or there before: 1 blob (20.0 MB), found there: none"]
            .assert_eq(&job.progress(&blobs, Duration::from_secs(10)));
    }

    /// A registry's complaint about missing blobs names them somewhere.
    #[test]
    fn missing_blobs_are_found_in_an_error() {
        let digest = Digest::of(b"layer");
        let error = Error::Registry {
            operation: String::new(),
            host: String::new(),
            repository: String::new(),
            status: 404,
            code: code::MANIFEST_BLOB_UNKNOWN.into(),
            message: "blob unknown to registry, not sha256:123".into(),
            detail: format!("{{\"Digest\":\"{digest}\"}}"),
            request_id: String::new(),
            attempts: 1,
            retry_after: None,
        };
        assert_eq!(named_digests(&error), HashSet::from([digest]));
        assert!(named_digests(&Error::Stopped).is_empty());
    }

    /// A blob is mounted only from somewhere else, and forgotten where it vanished.
    #[test]
    fn repositories_of_a_blob_are_remembered() {
        let uploads = Uploads::new(0);
        let digest = Digest::of(b"layer");
        uploads.know("a", &digest);
        uploads.know("a", &digest);
        assert_eq!(uploads.other_repository("a", &digest), None);
        assert_eq!(uploads.other_repository("b", &digest).as_deref(), Some("a"));
        uploads.know("b", &digest);
        assert_eq!(uploads.other_repository("a", &digest).as_deref(), Some("b"));
        let blob = Blob {
            digest: digest.clone(),
            size: 0,
            source: Arc::new(Nothing),
        };
        uploads.forget("b", &[blob]);
        assert!(!uploads.is_known("b", &digest) && uploads.is_known("a", &digest));
    }

    /// What is known of blobs and of those on their way does not grow without end.
    #[tokio::test]
    async fn memory_is_bounded() {
        let uploads = Uploads::new(4);
        let digest = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..100 {
            let first = uploads.flight(Some("a"), &digest(number));
            let second = uploads.flight(Some("a"), &digest(number));
            let held = first.gate.lock().await;
            assert!(second.gate.try_lock().is_err(), "it is the same blob");
            drop(held);
            drop(first);
            let third = uploads.flight(Some("a"), &digest(number));
            let held = second.gate.lock().await;
            assert!(third.gate.try_lock().is_err(), "it is still the same");
            drop(held);
        }
        assert!(lock(&uploads.flights).is_empty());

        for number in 0..MOST_KNOWN + 1 {
            uploads.know("a", &digest(number));
        }
        assert!(lock(&uploads.known).len() <= MOST_KNOWN);
        assert!(uploads.is_known("a", &digest(MOST_KNOWN)));
    }

    #[derive(Debug)]
    struct Nothing;

    impl crate::image::BlobSource for Nothing {
        fn open(&self) -> Result<Box<dyn crate::image::BlobReader>, crate::image::Error> {
            Ok(Box::new(crate::image::Waits(std::io::empty())))
        }
    }
}
