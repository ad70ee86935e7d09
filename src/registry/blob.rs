//! Blobs: HEAD, mount, upload.
