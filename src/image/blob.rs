//! Blobs: where their bytes are, and readers that check what they read.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};

use super::{
    BlobSource, Digest, Error,
    compress::{CompressingReader, Pool},
    digest::Hasher,
    file::Extent,
};

/// A blob that is held in memory: a small configuration, or the `data` of a descriptor.
#[derive(Debug)]
pub(super) struct Memory(pub(super) Bytes);

impl BlobSource for Memory {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(self.0.clone().reader()))
    }
}

/// A blob that is sent as it lies in its file.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) extent: Extent,
    pub(super) digest: Digest,
}

impl BlobSource for Stored {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        let reader = ExtentReader {
            file: self.extent.file.reopen()?,
            extent: self.extent.clone(),
            position: 0,
        };
        Ok(Box::new(Verifying {
            inner: reader,
            extent: self.extent.clone(),
            left: self.extent.length,
            hasher: Some(Hasher::new()),
            expected: self.digest.clone(),
            is_ours: false,
        }))
    }
}

/// A blob that is compressed while it is read.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) pool: Arc<Pool>,
    pub(super) extent: Extent,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl BlobSource for Packed {
    fn open(&self) -> Result<Box<dyn Read + Send>, Error> {
        Ok(Box::new(Verifying {
            inner: CompressingReader::open(&self.pool, &self.extent)?,
            extent: self.extent.clone(),
            left: self.size,
            hasher: Some(Hasher::new()),
            expected: self.digest.clone(),
            is_ours: true,
        }))
    }
}

/// Reads an extent.
struct ExtentReader {
    extent: Extent,
    file: File,
    position: u64,
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

/// Checks the digest of what goes through it, and fails *instead of* giving the
/// last bytes when it is wrong: an upload then breaks off before it is
/// complete, and the user reads which file is to blame rather than that some
/// registry did not like a digest.
struct Verifying<R> {
    inner: R,
    extent: Extent,
    /// Bytes to come.
    left: u64,
    /// Gone when the digest has been checked.
    hasher: Option<Hasher>,
    expected: Digest,
    /// We made this digest ourselves, from the same file.
    is_ours: bool,
}

impl<R: Read> Verifying<R> {
    fn finish(&mut self) -> Result<(), Error> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let actual = hasher.finish();
        if actual == self.expected {
            return Ok(());
        }
        // A file that changed explains a wrong digest better than corruption.
        self.extent.file.reopen()?;
        if self.is_ours {
            return Err(self.extent.file.changed());
        }
        Err(Error::Digest {
            place: self.extent.place(),
            expected: self.expected.clone(),
            actual,
        })
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
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
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
