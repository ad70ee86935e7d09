//! Image layout directories.
