//! `wireglot audit`: who changed what.

use serde_json::Value;

use super::client::{Client, ServerArgs, escaped};
use super::print;
use super::table::{actor, cell, render, time};

#[derive(clap::Args, Debug)]
pub(crate) struct AuditArgs {
    /// How many changes, the newest first.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only this kind of change, such as CODEC_LIVE or PROFILE_CHANGED.
    #[arg(long)]
    action: Option<String>,
    /// Only changes of this codec or profile.
    #[arg(long)]
    target: Option<String>,
    /// Only changes by this user or file.
    #[arg(long)]
    actor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &AuditArgs) -> anyhow::Result<()> {
    let client = Client::connect(&args.server)?;
    let mut path = format!("/api/audit?pageSize={}&page=0", args.limit.max(1));
    for (name, value) in [("action", &args.action), ("target", &args.target), ("actor", &args.actor)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    let answer = client.get(&path)?;
    if args.server.json {
        return print(format_args!("{answer}"));
    }
    let row = |entry: &Value| {
        vec![
            time(entry, "createdTime"),
            actor(entry.get("actor")),
            cell(entry, "action"),
            cell(entry, "target"),
            cell(entry, "detail"),
        ]
    };
    let rows: Vec<Vec<String>> =
        answer.get("data").and_then(Value::as_array).into_iter().flatten().map(row).collect();
    print(format_args!("{}", render(&["TIME", "BY", "WHAT", "OF", "DETAIL"], &rows)))
}
