//! The `lodestone` binary: reads settings, starts logs, and runs one command.

mod cli;
mod config;
mod doctor;
mod paint;
mod report;
mod secret;
mod store;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, CommonArgs};
use config::Config;
use lodestone_types::{Error, Result};
use tokio::runtime::Runtime;
use toml::{Table, Value};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(status) => status,
        Err(error) => {
            telemetry::fatal(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => {
            let _ = prepare(&args.common, args.settings(), Table::new())?;
            Err(Error::unsupported("not supported yet: serve"))
        }
        Command::Demo(args) => {
            let _ = prepare(&args.common, args.settings(), quiet())?;
            Err(Error::unsupported("not supported yet: demo"))
        }
        Command::Doctor(args) => {
            let config = prepare(&args.common, args.common.settings(), quiet())?;
            runtime()?.block_on(doctor::run(&config)).map(status)
        }
        Command::Recover(args) => {
            let _ = prepare(&args.common, args.common.settings(), quiet())?;
            Err(Error::unsupported("not supported yet: recover"))
        }
        Command::Version => {
            println!("lodestone {}", env!("CARGO_PKG_VERSION"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn status(all_is_well: bool) -> ExitCode {
    if all_is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn runtime() -> Result<Runtime> {
    Runtime::new().map_err(|e| Error::internal(format!("the runtime cannot start: {e}")))
}

/// Commands that print for people log only what is wrong, unless told otherwise.
fn quiet() -> Table {
    config::table([("log.level", Some(Value::from("warn")))])
}

/// Reads the settings and starts logging.
fn prepare(common: &CommonArgs, flags: Table, base: Table) -> Result<Config> {
    let environment = environment();
    let loaded = config::load(flags, common.config.as_deref(), &environment, base)?;
    telemetry::start(&loaded.config.log)?;
    for name in loaded.unknown_variables {
        tracing::warn!("the environment variable {name} is not a setting of ours and is ignored");
    }
    Ok(loaded.config)
}

/// Variables whose text is not UTF-8 cannot be settings.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect()
}
