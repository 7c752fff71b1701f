//! A little colour on a terminal, none where the output goes elsewhere.

use std::io::IsTerminal;

/// Whether to colour.
#[derive(Debug, Clone, Copy)]
pub struct Paint(bool);

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    /// Never colours.
    #[cfg(test)]
    pub fn plain() -> Self {
        Self(false)
    }

    /// Bold.
    pub fn strong(self, text: &str) -> String {
        self.code("1", text)
    }

    /// Dimmed.
    pub fn faint(self, text: &str) -> String {
        self.code("2", text)
    }

    /// Cyan.
    pub fn accent(self, text: &str) -> String {
        self.code("36", text)
    }

    /// Green.
    pub fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// Red.
    pub fn bad(self, text: &str) -> String {
        self.code("31", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
