//! The command line: flags → config → wire → run → drain. The only place that ends the process.

mod activity;
mod audit;
mod author;
mod certificates;
mod config;
mod fleet;
mod metrics;
mod operator;
mod reload;
mod simulate;
mod updates;
mod webhook;
mod wiring;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// A message makes and drops a dozen small strings, many of them on another thread than the next message's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Threads for REST, reads and files; devices never run on them.
const TOKIO_THREADS: usize = 2;

/// What these tell at `info` is of their own workings. A directive of the setting that names one of them wins.
const QUIET_LIBRARIES: &str =
    "fjall=warn,lsm_tree=warn,ntex_net=warn,ntex_rt=warn,ntex_server=warn,ntex_service=warn";

/// An MQTT transport server whose device profiles name WebAssembly codecs.
#[derive(Parser)]
#[command(name = "wireglot", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Runs the server until SIGINT or SIGTERM.
    Serve(ServeArgs),
    /// Codecs: the plugin author's tools, and the operator's over REST.
    #[command(subcommand)]
    Codec(CodecCommand),
    /// Logs in to a running server and prints an access token for the other commands.
    Login(operator::LoginArgs),
    /// Shows who changed what on a running server.
    Audit(operator::AuditArgs),
    /// Decodes again what a running server has kept: dead letters, or raw frames.
    Replay(operator::ReplayArgs),
    /// Devices for trying things out.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// The settings.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prints the OpenAPI document of the management side.
    Openapi,
}

#[derive(clap::Subcommand)]
enum CodecCommand {
    #[command(flatten)]
    Author(author::AuthorCommand),
    #[command(flatten)]
    Operator(operator::OperatorCommand),
}

/// Where settings come from; each wins over the file and the environment.
#[derive(clap::Args)]
struct ServeArgs {
    /// A file of settings (TOML).
    #[arg(long, env = "WIREGLOT_CONFIG")]
    config: Option<PathBuf>,
    /// Where devices, telemetry and codec versions are kept.
    #[arg(long)]
    data_dir: Option<String>,
    /// The folder that codec plugins are dropped into.
    #[arg(long)]
    codecs: Option<String>,
    /// A file of profiles and devices.
    #[arg(long)]
    fleet: Option<String>,
    /// Where devices connect.
    #[arg(long)]
    mqtt_bind: Option<String>,
    /// The certificate chain of the TLS port.
    #[arg(long)]
    mqtt_tls_certificate: Option<String>,
    /// The key of that certificate.
    #[arg(long)]
    mqtt_tls_key: Option<String>,
    /// Where devices connect with TLS.
    #[arg(long)]
    mqtt_tls_bind: Option<String>,
    /// Where REST is served.
    #[arg(long)]
    http_bind: Option<String>,
}

#[derive(clap::Subcommand)]
enum DeviceCommand {
    /// Publishes recorded payloads as a device would.
    Simulate(simulate::Simulation),
}

#[derive(clap::Subcommand)]
enum ConfigCommand {
    /// Checks the settings, and the fleet file if there is one, without starting.
    Check(Box<ServeArgs>),
    /// Prints docs/configuration.md.
    #[command(hide = true)]
    Docs,
}

impl ServeArgs {
    fn load(self) -> anyhow::Result<Config> {
        let flags = [
            ("data_dir", self.data_dir),
            ("codecs", self.codecs),
            ("fleet", self.fleet),
            ("mqtt_bind", self.mqtt_bind),
            ("mqtt_tls_certificate", self.mqtt_tls_certificate),
            ("mqtt_tls_key", self.mqtt_tls_key),
            ("mqtt_tls_bind", self.mqtt_tls_bind),
            ("http_bind", self.http_bind),
        ];
        let flags: Vec<_> = flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Config::load(self.config.as_deref(), std::env::vars(), &flags)
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed there is nobody left to tell.
            drop(writeln!(std::io::stderr().lock(), "wireglot: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => {
            let config = args.load()?;
            log_to_stderr(&config)?;
            runtime()?.block_on(wiring::serve(config))
        }
        Command::Codec(CodecCommand::Author(command)) => author::run(command),
        Command::Codec(CodecCommand::Operator(command)) => operator::run(command),
        Command::Login(args) => operator::run_login(&args),
        Command::Replay(args) => operator::run_replay(&args),
        Command::Audit(args) => operator::run_audit(&args),
        Command::Device(DeviceCommand::Simulate(simulation)) => {
            runtime()?.block_on(simulate::run(simulation))
        }
        Command::Config(ConfigCommand::Check(args)) => {
            let config = args.load()?;
            if let Some(path) = &config.fleet {
                fleet::read(path)?;
            }
            certificates::Certificates::open(&config)?;
            writeln!(std::io::stdout().lock(), "The settings are good.").context("standard output is closed")
        }
        Command::Config(ConfigCommand::Docs) => {
            write!(std::io::stdout().lock(), "{}", config::documentation())
                .context("standard output is closed")
        }
        Command::Openapi => write!(std::io::stdout().lock(), "{}", wireglot_rest::openapi())
            .context("standard output is closed"),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(TOKIO_THREADS)
        .thread_name("wireglot-tokio")
        .enable_all()
        .build()
        .context("The runtime cannot be started.")
}

fn log_to_stderr(config: &Config) -> anyhow::Result<()> {
    let directives = format!("{QUIET_LIBRARIES},{}", config.log);
    let filter = EnvFilter::try_new(directives).with_context(|| format!("`log` = \"{}\"", config.log))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
    Ok(())
}
