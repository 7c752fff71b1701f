//! Structured logs, to standard error: text for people or one JSON object a line. A panic is a line too.

use std::io::IsTerminal;

use lodestone_types::{Error, Result};
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::config::LogConfig;

/// Starts logging for the rest of the process.
pub fn start(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(directives(&config.level)).map_err(|e| {
        Error::bad_request(format!(
            "log.level `{}`: {e}; use error, warn, info, debug or trace",
            config.level
        ))
    })?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            logs.with_ansi(colours).try_init()
        }
    };
    started.map_err(|e| Error::internal(format!("logging cannot start: {e}")))?;
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic: {text}");
    }));
    Ok(())
}

/// Says why the process ends: in the log if there is one, else plainly.
pub fn fatal(error: &Error) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!(target: "lodestone", "{error}");
    } else {
        eprintln!("lodestone: {error}");
    }
}

/// A bare level is meant for our own code: at `debug` and `trace` other crates say too much to be of use, and Raft
/// does at `info`.
fn directives(level: &str) -> String {
    match level.trim().to_ascii_lowercase().as_str() {
        "info" => "info,openraft=warn".to_owned(),
        chatty @ ("debug" | "trace") => format!("info,openraft=warn,lodestone={chatty}"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chatty_level_is_for_our_own_crates() {
        assert_eq!(directives("DEBUG"), "info,openraft=warn,lodestone=debug");
        assert_eq!(directives("warn"), "warn");
        assert_eq!(directives("info,lodestone_meta=trace"), "info,lodestone_meta=trace");
    }
}
