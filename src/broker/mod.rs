//! The broker: a pure state machine. An [`Event`] goes in, [`Effect`]s come out, and nothing else happens.
//!
//! In reading order:
//! - `event`: what can have happened;
//! - `effect`: what the shell is told to do about it;
//! - `state`: all that the broker remembers, with the life of a connection drawn on it;
//! - `step`: the heart.

mod effect;
mod event;
mod state;
mod step;

pub use effect::{CloseReason, Conns, Effect};
pub use event::{ConnId, Event, Millis};
pub use state::State;
pub use step::{step, step_into};
