//! What is known of statement texts: what they are, how long they take, and which of them a connection's server has
//! prepared. No sockets, no clock, no text leaves this room.
//!
//! [`Texts`] belongs to an environment and knows each text by a number. [`Statements`] belongs to one connection and
//! decides, text by text, whether a request goes out unnamed, is prepared under a name of our own, or is bound to one
//! that the server has already.

mod hash;
mod lexer;
mod numbers;
mod prepared;
mod profile;
mod texts;
mod traits;

pub use numbers::Numbers;
pub(crate) use numbers::{Column, mentions_float_digits};
pub use prepared::{Place, Plan, Policy, Run, Statements};
pub use texts::{TextId, Texts};
pub use traits::Traits;
