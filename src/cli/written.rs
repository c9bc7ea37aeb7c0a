//! Files in TOML that people write: what is wrong with one is told with its file and line.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

/// A file that has been read.
pub(super) struct Written<T> {
    text: String,
    /// What stands in it.
    pub(super) content: T,
}

impl<T: DeserializeOwned> Written<T> {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or the line and what is wrong there.
    pub(super) fn read(path: &Path) -> Result<Written<T>, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let content = toml::from_str(&text).map_err(|error| {
            let line = line_at(&text, error.span().map_or(0, |span| span.start));
            let why = error.message().lines().collect::<Vec<_>>().join(", ");
            format!("{}:{line}: {why}", path.display())
        })?;
        Ok(Written { text, content })
    }
}

impl<T> Written<T> {
    /// The number of the line in which this byte stands.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        line_at(&self.text, offset)
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}
