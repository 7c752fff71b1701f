//! Long work that lets others have the processor in between.
//!
//! A search takes a millisecond; to copy a large part, or to code the rows of a new segment, takes a hundred times as long. A
//! scheduler lets a thread go on for several milliseconds before others have their turn, and each search that waits meanwhile
//! is late by as much. So whoever works for long where searches are answered gives way by itself.

use std::time::{Duration, Instant};

/// How long work goes on before others have their turn.
const LENGTH: Duration = Duration::from_millis(1);

/// Since when a thread works without having let others in.
#[derive(Debug)]
pub struct Stretch {
    begun: Instant,
}

impl Stretch {
    /// Begins now.
    pub fn begin() -> Self {
        Self { begun: Instant::now() }
    }

    /// Offers the processor to whoever waits for it, if this has gone on for long enough; whether it did. To be asked every tenth of a
    /// millisecond or so.
    pub fn give_way(&mut self) -> bool {
        let is_over = self.begun.elapsed() >= LENGTH;
        if is_over {
            std::thread::yield_now();
            self.begun = Instant::now();
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_ends_and_another_begins() {
        let mut before = Instant::now();
        let mut stretch = Stretch::begin();
        for _ in 0..3 {
            let mut asked = Instant::now();
            while !stretch.give_way() {
                asked = Instant::now();
            }
            assert!(before.elapsed() >= LENGTH);
            before = asked;
        }
    }
}
