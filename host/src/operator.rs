//! The operator's tools, over REST: `wireglot login`, `wireglot codec list|history|…`, `wireglot replay` and
//! `wireglot audit`.
//!
//! They know nothing of the server's files: what they can do, any client of REST can. Results go to standard output,
//! as a table for people or as JSON for programs.

use std::fmt;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::json;

mod audit;
mod candidates;
mod client;
mod codecs;
mod pins;
mod replay;
mod table;

pub(crate) use audit::AuditArgs;
pub(crate) use client::{Client, ServerArgs};
pub(crate) use codecs::{component, is_component};
pub(crate) use replay::ReplayArgs;

/// What an operator can do with the codecs of a running server.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum OperatorCommand {
    /// Show the codecs of a running server.
    List(codecs::ListArgs),
    /// Show what happened to a codec: which version went live, was rejected or rolled back, when and by whom.
    History(codecs::NamedArgs),
    /// Show the kept versions of a codec, and which profiles are pinned to them.
    Versions(codecs::NamedArgs),
    /// Let the version before the live one serve again, or the one that is named.
    Rollback(codecs::RollbackArgs),
    /// Upload a codec, which does what dropping the file into the codecs folder does.
    Upload(codecs::UploadArgs),
    /// Download the component of a version.
    Download(codecs::DownloadArgs),
    /// Let a profile stay with one version of its codec, whatever goes live.
    Pin(pins::PinArgs),
    /// Let a profile follow the live version of its codec again.
    Unpin(pins::UnpinArgs),
    /// Show how the candidate of a codec compares with the live version.
    Candidate(candidates::CandidateArgs),
    /// Make the candidate the live version.
    Promote(candidates::CandidateArgs),
    /// Remove the candidate and its files.
    Discard(candidates::CandidateArgs),
    /// Let the candidate serve a share of the devices, show how that goes, or stop it.
    Canary(candidates::CanaryArgs),
}

/// Runs one of them.
pub(crate) fn run(command: OperatorCommand) -> anyhow::Result<()> {
    match command {
        OperatorCommand::List(args) => codecs::list(&args),
        OperatorCommand::History(args) => codecs::history(&args),
        OperatorCommand::Versions(args) => codecs::versions(&args),
        OperatorCommand::Rollback(args) => codecs::rollback(&args),
        OperatorCommand::Upload(args) => codecs::upload(&args),
        OperatorCommand::Download(args) => codecs::download(&args),
        OperatorCommand::Pin(args) => pins::pin(&args),
        OperatorCommand::Unpin(args) => pins::unpin(&args),
        OperatorCommand::Candidate(args) => candidates::candidate(&args),
        OperatorCommand::Promote(args) => candidates::promote(&args),
        OperatorCommand::Discard(args) => candidates::discard(&args),
        OperatorCommand::Canary(args) => candidates::canary(&args),
    }
}

/// Logs in.
#[derive(clap::Args, Debug)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints an access token, so that many commands need one login.
pub(crate) fn run_login(args: &LoginArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    match args.server.json {
        true => print(format_args!("{}", json!({"token": client.token()}))),
        false => print(format_args!("{}", client.token())),
    }
}

/// Shows the audit log.
pub(crate) fn run_audit(args: &AuditArgs) -> anyhow::Result<()> {
    audit::run(args)
}

/// Decodes again what was kept.
pub(crate) fn run_replay(args: &ReplayArgs) -> anyhow::Result<()> {
    replay::run(args)
}

/// One line of a result.
fn print(line: fmt::Arguments<'_>) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("standard output is closed")
}
