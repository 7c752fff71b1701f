//! The `lodestone` binary: reads settings, starts logs, and runs one command.

mod bulk;
mod cli;
mod config;
mod demo;
mod doctor;
mod paint;
mod ports;
mod process;
mod recover;
mod report;
mod secret;
mod serve;
mod signals;
mod starting;
mod store;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, CommonArgs, TargetArgs};
use config::Config;
use lodestone_types::{Error, Result};
use tokio::runtime::Runtime;
use toml::{Table, Value};

fn main() -> ExitCode {
    process::prepare();
    // Fails only where a provider is installed already, and nobody before us could have done that.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            telemetry::fatal(&error);
            ExitCode::FAILURE
        }
    }
}

/// Whether all was well.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Serve(args) => {
            let config = prepare(&args.common, args.settings(), Table::new())?;
            serve_to_the_end(serve::run(config))
        }
        Command::Demo(args) => {
            let store = config::table([("store", Some(Value::from(demo::STORE)))]);
            let config = prepare(&args.common, args.settings(), quiet(store))?;
            serve_to_the_end(demo::run(config))
        }
        Command::Doctor(args) => {
            let config = prepare(&args.common, args.common.settings(), quiet(Table::new()))?;
            runtime()?.block_on(doctor::run(&config, &args))
        }
        Command::Recover(args) => {
            let config = prepare(&args.common, args.common.settings(), quiet(Table::new()))?;
            runtime()?.block_on(recover::run(config, args.write_checkpoint, args.take_over))
        }
        Command::Import(args) => {
            let config = own_store(&args.target)?;
            runtime()?.block_on(bulk::import::run(args, config))
        }
        Command::Export(args) => {
            let config = own_store(&args.target)?;
            runtime()?.block_on(bulk::export::run(args, config))
        }
        Command::Version => {
            println!("lodestone {}", env!("CARGO_PKG_VERSION"));
            Ok(true)
        }
    }
}

/// Runs a server until it has stopped, and does not wait for what other threads still do then: a stop waits for jobs as long as it may, and
/// what is left of them, as of an index that takes a minute, is garbage.
fn serve_to_the_end(server: impl Future<Output = Result<()>>) -> Result<bool> {
    let runtime = runtime()?;
    let served = runtime.block_on(server);
    runtime.shutdown_background();
    served.map(|()| true)
}

/// The settings of a command that is to use a store by itself, if it is.
fn own_store(target: &TargetArgs) -> Result<Option<Config>> {
    if target.store.is_none() {
        return Ok(None);
    }
    let common = CommonArgs { config: target.config.clone(), ..CommonArgs::default() };
    prepare(&common, target.settings(), quiet(Table::new())).map(Some)
}

fn runtime() -> Result<Runtime> {
    Runtime::new().map_err(|e| Error::internal(format!("the runtime cannot start: {e}")))
}

/// Commands that print for people log only what is wrong, unless told otherwise.
fn quiet(mut base: Table) -> Table {
    base.extend(config::table([("log.level", Some(Value::from("warn")))]));
    base
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
