//! Lines with a tick or a cross, and whether there was a cross.

use std::fmt::Display;

use crate::paint::Paint;

/// Puts further lines of a detail below its first.
pub const INDENT: &str = "                   ";

/// `1 object`, `2 objects`.
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A report under way; each line is printed as it is known.
#[derive(Debug)]
pub struct Report {
    paint: Paint,
    problems: u64,
}

impl Report {
    /// Nothing checked yet.
    pub fn new(paint: Paint) -> Self {
        Self { paint, problems: 0 }
    }

    /// What the lines that follow are about.
    pub fn title(&self, text: impl Display) {
        println!("\n  {}\n", self.paint.strong(&text.to_string()));
    }

    /// All is well with `what`.
    pub fn good(&self, what: &str, detail: impl Display) {
        println!("  {} {what:<14} {detail}", self.paint.good("\u{2713}"));
    }

    /// Something is wrong with `what`.
    pub fn bad(&mut self, what: &str, detail: impl Display) {
        self.problems += 1;
        println!("  {} {what:<14} {detail}", self.paint.bad("\u{2717}"));
    }

    /// Worth knowing, neither good nor bad.
    pub fn note(&self, what: &str, detail: impl Display) {
        println!("  {} {what:<14} {detail}", self.paint.faint("\u{00b7}"));
    }

    /// Ends it with a line that sums it up; whether all was well.
    pub fn end(self) -> bool {
        let text = match self.problems {
            0 => self.paint.good("all is well"),
            n => self.paint.bad(&count(n, "problem")),
        };
        println!("\n  {text}\n");
        self.problems == 0
    }
}
