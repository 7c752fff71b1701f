//! What can be said on the command line. Only words: what they mean is in `config` and in each command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lodestone_types::{Datatype, Distance};
use serde::{Deserialize, Serialize};

/// Vector and payload search whose only durable state is a bucket.
#[derive(Debug, Parser)]
#[command(name = "lodestone", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve REST and gRPC on a store
    #[command(after_help = AFTER_SERVE)]
    Serve(ServeArgs),
    /// Load a few thousand real points, print three searches, and go on serving
    #[command(after_help = AFTER_DEMO)]
    Demo(ServeArgs),
    /// Check a store: reachable, permitted, conditions held, clock, checkpoint, checksums
    #[command(after_help = AFTER_DOCTOR)]
    Doctor(DoctorArgs),
    /// Show what a start from the bucket finds; changes nothing unless told
    Recover(RecoverArgs),
    /// Write the points of files into a collection; goes on where it was ended
    #[command(after_help = AFTER_IMPORT)]
    Import(ImportArgs),
    /// Write the points of a collection into a file, or one of their vectors
    Export(ExportArgs),
    /// Print the version
    Version,
}

const AFTER_SERVE: &str = "\
Every setting can be given as a flag, as an environment variable (LODESTONE_HTTP_PORT) or in the config \
file (http_port = 6333); a flag wins over the environment, which wins over the file. \
Keys for S3 come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.";

const AFTER_DEMO: &str = "\
The store is ./lodestone-demo unless --store names another. Everything else is as for `serve`.";

const AFTER_DOCTOR: &str = "Exit status: 0 all is well, 1 a problem was found.";

const AFTER_IMPORT: &str = "\
FILE.jsonl has a point in each line: {\"id\": 1, \"vector\": [..] or {\"name\": [..]}, \"payload\": {..}}. \
FILE.npy has a vector in each row (float32, float16 or uint8). FILE.parquet has a column of vectors, one of ids, and payload in all others. Ids should occur once. \
Exit status: 0 all is in, 1 something is wrong; the same command then goes on where it was.";

/// Flags that every command with a store knows.
#[derive(Debug, Clone, Default, Args)]
pub struct CommonArgs {
    /// Config file (TOML) [env: LODESTONE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The bucket: a directory or s3://bucket/prefix [env: LODESTONE_STORE] [default: ./lodestone-data]
    #[arg(long, value_name = "DIR|URL")]
    pub store: Option<String>,
    /// Base URL of an S3 service that is not AWS, such as http://127.0.0.1:9000 [env: LODESTONE_S3_ENDPOINT]
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Region of the bucket [env: LODESTONE_S3_REGION] [default: AWS_REGION, AWS_DEFAULT_REGION or us-east-1]
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// How logs are written [env: LODESTONE_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// error, warn, info, debug or trace, or directives [env: LODESTONE_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// Flags of `serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Address to listen on; anything but loopback is reachable by others [env: LODESTONE_HOST]
    /// [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Port of REST, 0 for any free one [env: LODESTONE_HTTP_PORT] [default: 6333]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// Port of gRPC, 0 for any free one [env: LODESTONE_GRPC_PORT] [default: 6334]
    #[arg(long, value_name = "PORT")]
    pub grpc_port: Option<u16>,
    /// Key that every request must carry; other users of this machine can see a flag, so prefer
    /// [env: LODESTONE_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Key that may only read [env: LODESTONE_READ_ONLY_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub read_only_api_key: Option<String>,
    /// Where other processes reach our REST, if that is not where we listen; the port is that of REST unless given
    /// [env: LODESTONE_ADVERTISE]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// What the process does: `all`, or `query` for one that only reads, writes nothing and needs no other process
    /// [env: LODESTONE_ROLES] [default: all]
    #[arg(long, value_name = "ROLES")]
    pub roles: Option<String>,
    /// Where what is disposable goes [env: LODESTONE_LOCAL] [default: <store>.local beside a directory,
    /// else the user's cache directory]
    #[arg(long, value_name = "DIR")]
    pub local: Option<PathBuf>,
    /// What is in memory of segments, such as 4GiB; vectors beyond that are read from disk [env: LODESTONE_CACHE_MEMORY]
    /// [default: half of the machine's or the container's memory]
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Start even if another process holds the store and answers; that one stops [env: LODESTONE_TAKE_OVER]
    #[arg(long)]
    pub take_over: bool,
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Flags of `doctor`.
#[derive(Debug, Clone, Default, Args)]
pub struct DoctorArgs {
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Verify checksums of this collection only
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
    /// Count objects that nothing needs as a problem; some are normal until they are collected
    #[arg(long)]
    pub deny_orphans: bool,
}

/// Flags of `recover`.
#[derive(Debug, Clone, Default, Args)]
pub struct RecoverArgs {
    /// Flags of every command.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Take the store, leave a fresh checkpoint, and release it
    #[arg(long)]
    pub write_checkpoint: bool,
    /// Take the store even if another process holds it and answers
    #[arg(long, requires = "write_checkpoint")]
    pub take_over: bool,
}

/// Flags that name a collection of a server or of a bucket.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Where the server's gRPC answers [default: http://127.0.0.1:6334]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The environment variable that has the API key, if the server wants one
    #[arg(long, value_name = "NAME", default_value = "LODESTONE_API_KEY")]
    pub api_key_env: String,
    /// The collection
    #[arg(long, value_name = "NAME")]
    pub collection: String,
    /// Use this bucket, a directory or s3://bucket/prefix, and no server; an import wants it for itself
    #[arg(long, value_name = "DIR|URL", conflicts_with = "url", help_heading = "Without a server")]
    pub store: Option<String>,
    /// Where what is disposable goes, as for `serve`
    #[arg(long, value_name = "DIR", requires = "store", help_heading = "Without a server")]
    pub local: Option<PathBuf>,
    /// As for `serve`
    #[arg(long, value_name = "URL", requires = "store", help_heading = "Without a server")]
    pub s3_endpoint: Option<String>,
    /// As for `serve`
    #[arg(long, value_name = "REGION", requires = "store", help_heading = "Without a server")]
    pub s3_region: Option<String>,
    /// As for `serve`
    #[arg(long, value_name = "FILE", requires = "store", help_heading = "Without a server")]
    pub config: Option<PathBuf>,
}

/// Flags of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// Which collection.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to import, in this order: .jsonl, .npy or .parquet
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Make the collection if it is not there, with vectors of this distance and of the data's size
    #[arg(long, value_name = "DISTANCE")]
    pub distance: Option<DistanceArg>,
    /// How a collection that is made stores components [default: float32]
    #[arg(long, value_name = "DATATYPE", requires = "distance")]
    pub datatype: Option<DatatypeArg>,
    /// The vector that rows of .npy and .parquet are [default: the unnamed one]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub vector: String,
    /// The column of .parquet that is the vector [default: the only list of numbers that can be]
    #[arg(long, value_name = "COLUMN")]
    pub vector_column: Option<String>,
    /// The column of .parquet that has the ids [default: `id`; without one rows are counted from --first-id on]
    #[arg(long, value_name = "COLUMN")]
    pub id_column: Option<String>,
    /// The id of the first row of .npy, and of .parquet without ids; each row's is one more
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub first_id: u64,
    /// Payloads of the rows of .npy: a JSON object in each line
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
    /// Points in one request, at most, or in one segment [default: 1000, or what makes 64 MiB]
    #[arg(long, value_name = "POINTS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub batch: Option<u32>,
    /// Requests under way at once [default: 4, or 2 without a server]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: Option<u32>,
    /// Where it is kept how far it has come [default: FILE.COLLECTION.import.json]
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Begin anew, whatever an earlier import has left
    #[arg(long)]
    pub restart: bool,
    /// At the end, read every point back and compare
    #[arg(long)]
    pub verify: bool,
}

/// Flags of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Which collection.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The file to write: .jsonl, a point in each line, or .npy, a vector in each row, with the ids of the rows in FILE.ids.npy beside it.
    /// It has this name only when it is whole
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// The vector that rows of .npy are [default: the unnamed one]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub vector: String,
    /// Where payloads of the rows of .npy go, a JSON object in each line; without it they are not written
    #[arg(long, value_name = "FILE")]
    pub payload: Option<PathBuf>,
}

/// See [`Distance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DistanceArg {
    /// See [`Distance::Cosine`].
    Cosine,
    /// See [`Distance::Dot`].
    Dot,
    /// See [`Distance::Euclid`].
    Euclid,
    /// See [`Distance::Manhattan`].
    Manhattan,
}

impl From<DistanceArg> for Distance {
    fn from(arg: DistanceArg) -> Self {
        match arg {
            DistanceArg::Cosine => Distance::Cosine,
            DistanceArg::Dot => Distance::Dot,
            DistanceArg::Euclid => Distance::Euclid,
            DistanceArg::Manhattan => Distance::Manhattan,
        }
    }
}

/// See [`Datatype`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DatatypeArg {
    /// See [`Datatype::Float32`].
    Float32,
    /// See [`Datatype::Float16`].
    Float16,
    /// See [`Datatype::Uint8`].
    Uint8,
}

impl From<DatatypeArg> for Datatype {
    fn from(arg: DatatypeArg) -> Self {
        match arg {
            DatatypeArg::Float32 => Datatype::Float32,
            DatatypeArg::Float16 => Datatype::Float16,
            DatatypeArg::Uint8 => Datatype::Uint8,
        }
    }
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
