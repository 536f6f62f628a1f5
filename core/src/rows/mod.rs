//! Rows on their way to the caller: DataRows packed into batches, parameters as text, names of types.

mod batch;
mod description;

pub use batch::{Batch, CellKind, Packed};
pub use description::{Field, fields};
