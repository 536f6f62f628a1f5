//! A connection as the drivers use it, with a script for the server.

use std::time::Duration;

use crate::messages::hello;
use crate::proto::{Event, Startup, Wire};
use crate::rows::{Batch, CellKind};
use crate::statements::Texts;

/// A round trip on the same machine.
const ROUND_TRIP: Duration = Duration::from_micros(50);

pub(crate) struct Exchange {
    pub(crate) wire: Wire,
    pub(crate) texts: Texts,
    pub(crate) now: Duration,
    batch: Batch,
}

impl Exchange {
    /// An open connection.
    pub(crate) fn new() -> Exchange {
        let startup = Startup {
            params: vec![("user".into(), "ada".into()), ("database".into(), "heys".into())],
            ..Startup::default()
        };
        let mut exchange = Exchange {
            wire: Wire::new(&startup, None).unwrap(),
            texts: Texts::default(),
            now: Duration::from_secs(1),
            batch: Batch::default(),
        };
        exchange.round_trip(&hello(), &[]);
        exchange
    }

    /// Sends what is to be sent and reads the reply, rows of these kinds into batches. Answers how many cells came.
    pub(crate) fn round_trip(&mut self, mut reply: &[u8], kinds: &[CellKind]) -> usize {
        let length = self.wire.output().len();
        self.wire.sent(length);
        self.now += ROUND_TRIP;
        let mut cells = 0;
        while !reply.is_empty() {
            let spare = self.wire.spare();
            let (now, later) = reply.split_at(spare.len().min(reply.len()));
            spare[..now.len()].copy_from_slice(now);
            self.wire.filled(now.len()).unwrap();
            reply = later;
            while let Some(event) = self.wire.poll_event(&mut self.batch).unwrap() {
                match event {
                    Event::RowDescription(_) => self.batch.start(kinds),
                    Event::SinkFull | Event::CommandComplete(_) => {
                        cells += self.batch.packed().cells.len();
                        self.batch.clear();
                    }
                    Event::Ready(_) => self.wire.finished(self.now, &mut self.texts),
                    _ => {}
                }
            }
        }
        cells
    }
}
