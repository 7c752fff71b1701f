//! How far it is: one line that is drawn over on a terminal, a line now and then elsewhere. To standard error.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const WIDTH: usize = 24;
const ON_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Work of which the whole is known.
pub struct Progress {
    what: &'static str,
    total: u64,
    /// What was done before this process began.
    done_before: u64,
    begun: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Nothing done yet but `done` of `total`, in any unit.
    pub fn new(what: &'static str, done: u64, total: u64) -> Self {
        let (begun, terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Self { what, total, done_before: done, begun, shown: begun, terminal }
    }

    /// `done` of the total, and `points` since this began; drawn if it is time.
    pub fn at(&mut self, done: u64, points: u64) {
        if self.shown.elapsed() >= if self.terminal { ON_TERMINAL } else { ELSEWHERE } {
            self.shown = Instant::now();
            let line = line(
                self.what,
                self.done_before,
                done,
                self.total,
                points,
                self.begun.elapsed(),
                self.terminal,
            );
            // Nobody may be there to read it, which is no reason to stop.
            let _ = match self.terminal {
                true => write!(std::io::stderr(), "\r\x1b[K{line}"),
                false => writeln!(std::io::stderr(), "{line}"),
            };
        }
    }

    /// Takes the line away; how long it took.
    pub fn end(self) -> Duration {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        self.begun.elapsed()
    }
}

fn line(what: &str, before: u64, done: u64, total: u64, points: u64, took: Duration, bar: bool) -> String {
    let share = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
    let seconds = took.as_secs_f64().max(1e-3);
    let rate = points as f64 / seconds;
    let left = total.saturating_sub(done) as f64 * seconds / done.saturating_sub(before).max(1) as f64;
    let filled = (share * WIDTH as f64) as usize;
    let bar = match bar {
        true => format!("[{}{}] ", "#".repeat(filled), " ".repeat(WIDTH - filled)),
        false => String::new(),
    };
    format!(
        "{what} {bar}{:.0} %, {} points, {}/s, {left:.0} s left",
        share * 100.0,
        grouped(points),
        grouped(rate as u64)
    )
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_share_rate_and_rest() {
        let ten = Duration::from_secs(10);
        let text = line("importing", 0, 50, 100, 12_000, ten, true);
        assert_eq!(text, "importing [############            ] 50 %, 12,000 points, 1,200/s, 10 s left");
        // What an earlier process did does not count as speed.
        assert!(line("importing", 50, 75, 100, 5, ten, false).ends_with("75 %, 5 points, 0/s, 10 s left"));
        assert!(line("importing", 0, 0, 0, 0, Duration::ZERO, true).contains("100 %"));
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
