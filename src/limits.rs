//! Every bound that the core keeps, in one place, with its unit in its name.

/// What one server allows. All fields are plain numbers: a bound of 0 is legal and refuses everything it bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Limits {
    /// The longest line a client may send, in bytes, without its `\n` or `\r\n`.
    pub line_bytes_max: usize,
    /// The most recipients one line may list (empty ones aside, repeats counted).
    pub recipients_max: usize,
    /// How long a connection may take to log in, in milliseconds.
    pub login_ms_max: u64,
    /// How long a connection that is being closed may take to accept what waits for it, in milliseconds.
    pub flush_ms_max: u64,
    /// How long a shutdown may take to flush everybody, in milliseconds.
    pub drain_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line_bytes_max: 8 * 1024,
            recipients_max: 100,
            login_ms_max: 10_000,
            flush_ms_max: 30_000,
            drain_ms_max: 5_000,
        }
    }
}
