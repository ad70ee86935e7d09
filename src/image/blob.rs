//! Blobs: where their bytes are, and readers that check what they read.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};

use super::{
    BlobReader, BlobSource, Cache, Digest, Error, Origin, Waits,
    cache::Writer,
    compress::{Algorithm, Compressed, CompressingReader, Pool},
    digest::Hasher,
    file::{Extent, InputFile, read_cached},
    part::Part,
};

/// A blob that is held in memory: a small configuration, or the `data` of a descriptor.
#[derive(Debug)]
pub(super) struct Memory(pub(super) Bytes);

impl BlobSource for Memory {
    fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        Ok(Box::new(Waits(self.0.clone().reader())))
    }
}

/// A blob that is sent as it lies in its file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) part: Part,
    pub(super) digest: Digest,
    /// Whether the digest is left to the registry.
    pub(super) trusts: bool,
}

impl Stored {
    fn reader(&self, check: Check) -> Result<Verifying<Box<dyn BlobReader>>, Error> {
        Ok(Verifying {
            inner: self.part.open()?,
            left: self.part.length(),
            check,
            expected: self.digest.clone(),
            origin: Supply::Source(self.part.clone(), Promise::Name),
        })
    }
}

impl BlobSource for Stored {
    fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        // What comes over a network is checked: it has not been on this disk.
        let trusts = self.trusts && self.part.origin().is_none();
        Ok(Box::new(self.reader(Check::new(trusts))?))
    }

    fn verify(&self) -> Result<(), Error> {
        read_through(self.reader(Check::new(false))?, &self.part.place())
    }

    fn origin(&self) -> Option<&Origin> {
        self.part.origin()
    }
}

/// Reads to the end, for the sake of what the reader checks.
fn read_through(mut reader: impl Read, place: &str) -> Result<(), Error> {
    io::copy(&mut reader, &mut io::sink())
        .map(drop)
        .map_err(|error| Error::unwrap_io(error, place))
}

/// A layer that is compressed: it comes out of the cache, or is compressed
/// while it is read, and put there.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) pool: Arc<Pool>,
    pub(super) cache: Option<Cache>,
    pub(super) algorithm: Algorithm,
    pub(super) part: Part,
    pub(super) compressed: Compressed,
    pub(super) promise: Promise,
    /// Whether the digest of what is in the cache is left to the registry.
    pub(super) trusts: bool,
}

impl BlobSource for Packed {
    fn open(&self) -> Result<Box<dyn BlobReader>, Error> {
        let Compressed { digest, size, .. } = &self.compressed;
        if let Some(cache) = &self.cache
            && let Some(file) = cache.open(digest, *size)
        {
            let origin = Supply::Cache(cache.clone());
            return Ok(Box::new(self.verifying(file, origin, self.trusts)));
        }
        if let Part::Streamed(streamed) = &self.part
            && let Some(reader) = streamed.open_spooled(&self.compressed)
        {
            return Ok(reader);
        }
        if let Promise::Known(then) = &self.promise
            && then != self.algorithm.name()
        {
            return Err(self.recompressed(then));
        }
        let inner: Box<dyn BlobReader> = match &self.part {
            Part::InPlace(extent) => Box::new(Waits(CompressingReader::open(
                &self.pool,
                self.algorithm,
                extent,
            )?)),
            Part::Streamed(_) | Part::Remote(_) => Box::new(Waits(CompressingReader::stream(
                &self.pool,
                self.algorithm,
                self.part.open()?,
                self.part.place(),
            ))),
        };
        let origin = Supply::Source(self.part.clone(), self.promise.clone());
        let reader = self.verifying(inner, origin, false);
        let Some((cache, writer)) = self
            .cache
            .as_ref()
            .and_then(|cache| Some((cache, cache.writer()?)))
        else {
            return Ok(Box::new(reader));
        };
        Ok(Box::new(Waits(Keeping {
            inner: reader,
            left: *size,
            writer: Some(writer),
            cache: cache.clone(),
            algorithm: self.algorithm,
            compressed: self.compressed.clone(),
        })))
    }

    fn verify(&self) -> Result<(), Error> {
        let Compressed { digest, size, .. } = &self.compressed;
        match &self.cache {
            Some(cache) => match cache.open(digest, *size) {
                Some(file) => {
                    let origin = Supply::Cache(cache.clone());
                    read_through(self.verifying(file, origin, false), &self.part.place())
                }
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

impl Packed {
    fn verifying<R>(&self, inner: R, origin: Supply, trusts: bool) -> Verifying<R> {
        Verifying {
            inner,
            left: self.compressed.size,
            check: Check::new(trusts),
            expected: self.compressed.digest.clone(),
            origin,
        }
    }

    fn recompressed(&self, then: &str) -> Error {
        recompressed(
            &self.part,
            &self.compressed.digest,
            then,
            self.algorithm.name(),
        )
    }
}

fn recompressed(part: &Part, expected: &Digest, then: &str, now: &'static str) -> Error {
    Error::Recompressed {
        place: part.place(),
        expected: expected.clone(),
        then: then.to_owned(),
        now,
        hint: match then == now {
            true => ": the layer is not the one that it was",
            false => ", which a registry without that layer needs",
        },
    }
}

/// Who says that a blob has its digest.
#[derive(Clone, Debug)]
pub(super) enum Promise {
    /// An earlier run, and with which algorithm.
    Known(String),
    /// Its name.
    Name,
    /// We made it ourselves, from the same file.
    Ours,
}

/// Reads an extent.
pub(super) struct ExtentReader {
    extent: Extent,
    file: File,
    position: u64,
}

impl ExtentReader {
    pub(super) fn open(extent: &Extent) -> Result<Self, Error> {
        Ok(Self {
            file: extent.file.reopen()?,
            extent: extent.clone(),
            position: 0,
        })
    }
}

impl Read for ExtentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self
            .extent
            .read_at(&self.file, self.position, buffer)
            .map_err(io::Error::from)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl BlobReader for ExtentReader {
    fn read_at_once(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.extent.length.saturating_sub(self.position);
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let at = self.extent.offset + self.position;
        let count = read_cached(&self.file, Some(at), &mut buffer[..wanted]);
        self.position += count as u64;
        count
    }
}

/// Checks the digest of what goes through it, and fails *instead of* giving the
/// last bytes when it is wrong: an upload then breaks off before it is
/// complete, and the user reads which file is to blame rather than that some
/// registry did not like a digest.
struct Verifying<R> {
    inner: R,
    /// Bytes to come.
    left: u64,
    check: Check,
    expected: Digest,
    origin: Supply,
}

/// What is checked at the end.
enum Check {
    /// It was.
    Done,
    Digest(Box<Hasher>),
    /// That the file did not change, and that there is enough of it.
    Unchanged,
}

impl Check {
    fn new(trusts: bool) -> Self {
        match trusts {
            true => Self::Unchanged,
            false => Self::Digest(Box::new(Hasher::new())),
        }
    }
}

/// Where the bytes come from.
enum Supply {
    Cache(Cache),
    Source(Part, Promise),
}

impl<R: Read> Verifying<R> {
    fn finish(&mut self) -> Result<(), Error> {
        let hasher = match std::mem::replace(&mut self.check, Check::Done) {
            Check::Done => return Ok(()),
            Check::Digest(hasher) => hasher,
            Check::Unchanged => {
                return match &self.origin {
                    Supply::Cache(_) => Ok(()),
                    Supply::Source(part, _) => {
                        part.file().map(|file| file.reopen()).transpose().map(drop)
                    }
                };
            }
        };
        let actual = hasher.finish();
        if actual == self.expected {
            return Ok(());
        }
        let (part, promise) = match &self.origin {
            Supply::Cache(cache) => {
                cache.discard(&self.expected);
                return Err(Error::CacheDamaged {
                    digest: self.expected.clone(),
                });
            }
            Supply::Source(part, promise) => (part, promise),
        };
        // A file that changed explains a wrong digest better than corruption.
        let file = part.file();
        file.map(|file| file.reopen()).transpose()?;
        match (promise, file) {
            (Promise::Known(then), _) => {
                let now = if then.starts_with("zstd") {
                    Algorithm::Zstd
                } else {
                    Algorithm::Gzip
                };
                Err(recompressed(part, &self.expected, then, now.name()))
            }
            (Promise::Ours, Some(file)) => Err(InputFile::changed(file)),
            (Promise::Ours | Promise::Name, _) => Err(Error::Digest {
                place: part.place(),
                expected: self.expected.clone(),
                actual,
            }),
        }
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if wanted == 0 {
            // Either there was nothing to read at all, or no room to read into.
            if self.left == 0 {
                self.finish()?;
            }
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if let Check::Digest(hasher) = &mut self.check {
            hasher.update(&buffer[..count]);
        } else if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        // An inner reader that ends early leaves a digest that is wrong.
        if self.left == 0 || count == 0 {
            self.left = 0;
            self.finish()?;
        }
        Ok(count)
    }
}

impl<R: BlobReader> BlobReader for Verifying<R> {
    fn read_at_once(&mut self, buffer: &mut [u8]) -> usize {
        // Hashing takes a while, and so may the checks at the end.
        if !matches!(self.check, Check::Unchanged) || self.left <= buffer.len() as u64 {
            return 0;
        }
        let count = self.inner.read_at_once(buffer);
        self.left -= count as u64;
        count
    }
}

/// Puts what goes through it into the cache.
struct Keeping<R> {
    inner: R,
    left: u64,
    /// Gone when everything went through.
    writer: Option<Writer>,
    cache: Cache,
    algorithm: Algorithm,
    compressed: Compressed,
}

impl<R: Read> Read for Keeping<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(writer) = &mut self.writer {
            writer.write(&buffer[..count]);
        }
        self.left = self.left.saturating_sub(count as u64);
        // The digest was checked before the last bytes were given.
        if self.left == 0
            && let Some(writer) = self.writer.take()
            && writer.commit(&self.compressed.digest, self.compressed.size)
        {
            self.cache
                .record_layer(self.algorithm.name(), &self.compressed);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::image::{
        Image,
        testing::{Layout, OCI_GZIP, OCI_TAR, chain, gzip, layer},
    };

    /// A layout with one layer of the given type, and its image.
    fn loaded(
        media_type: &str,
        bytes: &[u8],
    ) -> anyhow::Result<(Layout, Image, std::path::PathBuf)> {
        let mut layout = Layout::new()?;
        let blob = layout.blob(media_type, bytes)?;
        let path = layout.blob_path(blob["digest"].as_str().unwrap_or_default());
        let image = layout.image(&[blob])?;
        layout.add(image, None)?;
        let image = layout.load(None)?;
        Ok((layout, image, path))
    }

    /// What a reader of the layer gives before it fails, and why it fails.
    fn failure(layout: &Layout, image: &Image) -> (usize, String) {
        let mut reader = match image.blobs[1].source.open() {
            Ok(reader) => reader,
            Err(error) => return (0, chain(&error, layout.path())),
        };
        let (mut total, mut buffer) = (0, [0; 100]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (total, "no error".to_owned()),
                Ok(count) => total += count,
                Err(error) => {
                    let error = Error::find(&error).expect("it is ours");
                    return (total, chain(error, layout.path()));
                }
            }
        }
    }

    /// A compressed layer that is not what its name says is found out while it
    /// is sent, before its last bytes.
    #[test]
    fn a_wrong_digest() -> anyhow::Result<()> {
        let bytes = gzip(&layer("file", b"content"));
        let mut layout = Layout::new()?;
        let blob = layout.blob(OCI_GZIP, &bytes)?;
        let image = layout.image(std::slice::from_ref(&blob))?;
        layout.add(image, None)?;
        let path = layout.blob_path(blob["digest"].as_str().unwrap_or_default());
        let mut spoilt = bytes.clone();
        spoilt[20] ^= 1;
        std::fs::write(&path, &spoilt)?;
        let image = layout.load(None)?;
        let (total, text) = failure(&layout, &image);
        assert!(total < bytes.len(), "the registry got all of it");
        expect![[r#""DIR/blobs/sha256/37e823b0e900ff0963b9086aa98ef6d590f2748cf11b1e355f22cb2729769a48" is corrupt: it should have the digest sha256:37e823b0e900ff0963b9086aa98ef6d590f2748cf11b1e355f22cb2729769a48, and has sha256:0ac55cef44a116ff102755cfbee6f29fdead10a468f4c616915003a92c4706ec"#]].assert_eq(&text);
        Ok(())
    }

    /// A file that changed since it was loaded is not sent.
    #[test]
    fn changed_before_opening() -> anyhow::Result<()> {
        for media_type in [OCI_TAR, OCI_GZIP] {
            let (layout, image, path) = loaded(media_type, &layer("file", b"content"))?;
            std::fs::write(&path, layer("file", b"another"))?;
            // File systems with coarse clocks would not notice otherwise.
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
            File::options()
                .write(true)
                .open(&path)?
                .set_modified(later)?;
            let (total, text) = failure(&layout, &image);
            assert_eq!(total, 0);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            expect![[r#""DIR/blobs/sha256/…" changed while it was in use"#]]
                .assert_eq(&text.replace(&*name, "…"));
        }
        Ok(())
    }

    /// A file that is cut off while it is read is a file that changed.
    #[test]
    fn cut_off_while_reading() -> anyhow::Result<()> {
        let content: Vec<u8> = (0..4_u32 << 20)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let (_layout, image, path) = loaded(OCI_GZIP, &gzip(&layer("file", &content)))?;
        let mut reader = image.blobs[1].source.open()?;
        reader.read_exact(&mut [0; 100])?;
        File::options().write(true).open(&path)?.set_len(200)?;
        let error = io::copy(&mut reader, &mut io::sink()).expect_err("it was cut off");
        assert!(
            matches!(Error::find(&error), Some(Error::SourceChanged { .. })),
            "{error:?}"
        );
        Ok(())
    }

    /// What the system has in memory of a file is the file's bytes, where the reader is; the last of
    /// them only come with the checks.
    #[test]
    fn read_at_once() -> anyhow::Result<()> {
        let content: Vec<u8> = (0..300_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        let (_layout, image, _) = loaded(OCI_GZIP, &gzip(&layer("file", &content)))?;
        let blob = &image.blobs[1];
        let expected = crate::image::testing::read(blob)?;
        let mut reader = blob.source.open()?;
        let (mut bytes, mut buffer) = (Vec::<u8>::new(), [0; 10_000]);
        loop {
            loop {
                let count = reader.read_at_once(&mut buffer);
                if count == 0 {
                    break;
                }
                bytes.extend(&buffer[..count]);
            }
            assert!(bytes.len() < expected.len(), "the end was not checked");
            let count = reader.read(&mut buffer[..1_000])?;
            bytes.extend(&buffer[..count]);
            if bytes.len() >= expected.len() {
                break;
            }
        }
        assert!(bytes == expected);
        Ok(())
    }

    /// A file that vanished is an error with its name.
    #[test]
    fn vanished() -> anyhow::Result<()> {
        let (layout, image, path) = loaded(OCI_GZIP, b"layer")?;
        std::fs::remove_file(path)?;
        expect![[r#"
            (
                0,
                "cannot read \"DIR/blobs/sha256/dac1d7cfa95021764849fd102524e141488c5e3a90f861dbb5a12d9ac8584f85\": No such file or directory (os error 2)",
            )
        "#]].assert_debug_eq(&failure(&layout, &image));
        Ok(())
    }

    /// Every opening begins at the start.
    #[test]
    fn opened_twice() -> anyhow::Result<()> {
        for media_type in [OCI_TAR, OCI_GZIP] {
            let (_layout, image, _) = loaded(media_type, &layer("file", b"content"))?;
            for blob in &image.blobs {
                let mut first = blob.source.open()?;
                first.read_exact(&mut [0; 2])?;
                let again = crate::image::testing::read(blob)?;
                let mut rest = Vec::new();
                first.read_to_end(&mut rest)?;
                assert_eq!(rest, again[2..]);
            }
        }
        Ok(())
    }
}
