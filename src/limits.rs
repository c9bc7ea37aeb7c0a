//! Every bound that the core keeps, in one place, with its unit in its name.

use crate::rate::Rate;

/// What one server allows. A bound of 0 is legal and refuses everything it bounds; one that may be `None` is then none.
///
/// What is read with the feature `serde` may lack a bound, which then is the usual one, but must not have one more: that would
/// be one misspelt, and not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Limits {
    /// The longest line a client may send, in bytes, without its `\n` or `\r\n`.
    pub line_bytes_max: usize,
    /// The most recipients one line may list (empty ones aside, repeats counted).
    pub recipients_max: usize,
    /// The most connections there may be, those that are still being closed among them.
    pub connections_max: usize,
    /// The most connections there may be from one [`Origin`](crate::Origin).
    pub connections_per_address_max: Option<usize>,
    /// The most connections that may be made from one origin in a minute: so many at once, and then as many as that makes
    /// in the time since.
    pub connects_per_minute_max: Option<u32>,
    /// The most connections that may be there without having logged in.
    pub logins_pending_max: usize,
    /// The most connections that are told why they are refused at the same time. Whoever comes beyond that is dropped
    /// without a word.
    pub refusals_max: usize,
    /// How long a connection may take to log in, in milliseconds.
    pub login_ms_max: u64,
    /// Whether only who has an account may log in.
    pub account_required: bool,
    /// Whether passwords are taken over connections that others may listen to.
    pub clear_passwords_allowed: bool,
    /// How long a client that is logged in may say nothing, in milliseconds.
    pub idle_ms_max: Option<u64>,
    /// How long a connection that is being closed may take to accept what waits for it, in milliseconds.
    pub flush_ms_max: u64,
    /// How long a connection that is refused may take to accept the reason, in milliseconds.
    pub refusal_ms_max: u64,
    /// How long a shutdown may take to flush everybody, in milliseconds.
    pub drain_ms_max: u64,
}

impl Limits {
    /// [`connects_per_minute_max`](Limits::connects_per_minute_max), as a rate.
    pub(crate) fn connects(&self) -> Option<Rate> {
        self.connects_per_minute_max.map(|count| Rate { count, per_ms: 60_000 })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line_bytes_max: 8 * 1024,
            recipients_max: 100,
            connections_max: 10_000,
            connections_per_address_max: Some(64),
            connects_per_minute_max: Some(600),
            logins_pending_max: 1_000,
            refusals_max: 64,
            login_ms_max: 10_000,
            account_required: false,
            clear_passwords_allowed: false,
            idle_ms_max: None,
            flush_ms_max: 30_000,
            refusal_ms_max: 1_000,
            drain_ms_max: 5_000,
        }
    }
}
