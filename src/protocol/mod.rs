//! The line protocol: bytes ↔ values. Pure, incremental, bounded; it knows nothing of peers or sockets.
//!
//! In reading order:
//! - [`text`]: a piece of a line that is safe to show on a terminal;
//! - [`name`]: what a peer may be called, and which names are equal;
//! - [`framing`]: bytes, split anywhere, → lines;
//! - [`request`]: a line → what a client asks for;
//! - [`login`]: a client's first line → a name and what proves it;
//! - [`session`]: the two together, one per connection: bytes → requests;
//! - [`reply`]: what the server says → bytes.

pub mod framing;
pub mod login;
pub mod name;
pub mod reply;
pub mod request;
pub mod session;
pub mod text;

pub use login::{Login, Password};
pub use name::{Name, NameError};
pub use reply::{Farewell, Refusal, Reply};
pub use request::{LineError, Message, Request};
pub use session::Session;
pub use text::Text;
