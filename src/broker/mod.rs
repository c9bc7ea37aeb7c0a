//! The broker: a pure state machine. An [`Event`] goes in, [`Effect`]s come out, and nothing else happens.
//!
//! In reading order:
//! - `origin`: where a connection comes from, as far as limits go;
//! - `event`: what can have happened;
//! - `effect`: what the shell is told to do about it;
//! - `admission`: who may come in;
//! - `guesses`: who has given wrong passwords, and has to wait;
//! - `conn_map`: something for each connection;
//! - `counters`: how often what has happened;
//! - `names`: who holds which name;
//! - `hash`: how names and addresses are hashed;
//! - `state`: all that the broker remembers, with the life of a connection drawn on it;
//! - `step`: the heart.

mod admission;
mod conn_map;
mod counters;
mod effect;
mod event;
mod guesses;
mod hash;
mod names;
mod origin;
mod state;
mod step;

#[cfg(feature = "server")]
pub(crate) use conn_map::ConnMap;
pub use counters::Counters;
pub use effect::{CloseReason, Conns, Effect};
pub use event::{ConnId, Event, Millis};
pub use origin::Origin;
pub use state::State;
pub use step::{step, step_into};
