//! The program behind `cargo xtask bench`, which builds it and installs what it needs.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use bench::{
    figures::Results,
    http::Http,
    load,
    measure::{self, Plan},
    page,
    report::{Ceiling, Report},
    responder,
    server::Kind,
    xrpc::{self, Account},
};
use clap::{Parser, Subcommand};

/// Requests that each client sends to find the driver's ceiling.
const CEILING_REQUESTS: u32 = 8_000;

/// Measures a PDS from outside.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures, in turn, the servers that are given.
    Run(Box<Run>),
    /// Answers every request with a fixed body, until it is killed.
    Responder,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The program `perch`.
    #[arg(long)]
    perch: Option<PathBuf>,
    /// The folder with the reference's packages and start scripts.
    #[arg(long, requires = "node")]
    reference: Option<PathBuf>,
    /// A Node of version 22 or newer.
    #[arg(long)]
    node: Option<PathBuf>,
    /// A folder for the servers' data; emptied first.
    #[arg(long)]
    work: PathBuf,
    /// Times that each server is measured from the start.
    #[arg(long, default_value_t = 1)]
    passes: u32,
    /// A short run, whose figures are noise.
    #[arg(long)]
    quick: bool,
    /// Measures the cold repo of 100,000 records on the reference too: minutes more.
    #[arg(long)]
    reference_cold: bool,
    /// Writes the page there.
    #[arg(long)]
    page: Option<PathBuf>,
    /// The command that the page names.
    #[arg(long, default_value = "cargo xtask bench")]
    command: String,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Task::Run(options) => run(&options),
        Task::Responder => responder::serve(|address| say(format_args!("{address}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool: its output is its purpose")]
fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}

fn run(options: &Run) -> Result<()> {
    let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
    say(format_args!("== driver's own ceiling"));
    let ceiling = ceiling(if options.quick { 500 } else { CEILING_REQUESTS })?;
    say(format_args!("{:.0} /s with one client, {:.0} /s with 16", ceiling.one, ceiling.sixteen));
    let perch =
        options.perch.as_ref().map(|binary| Kind::Perch { binary: binary.clone(), runner: Vec::new() });
    let reference = options.reference.as_ref().zip(options.node.as_ref());
    let reference =
        reference.map(|(folder, node)| Kind::Reference { node: node.clone(), folder: folder.clone() });
    let reference_plan =
        if options.reference_cold || options.quick { plan } else { Plan { cold_records: 0, ..plan } };

    let (mut of_perch, mut of_reference) = (Results::default(), Results::default());
    for pass in 0..options.passes {
        for (name, kind, plan, results) in [
            ("perch", &perch, &plan, &mut of_perch),
            ("reference", &reference, &reference_plan, &mut of_reference),
        ] {
            let Some(kind) = kind else { continue };
            let folder = emptied(&options.work.join(name))?;
            let on_step = |step: &str| say(format_args!("== {name}, pass {}: {step}", pass + 1));
            measure::all(kind, &folder, plan, results, &on_step)
                .with_context(|| format!("measuring {name}"))?;
        }
    }
    let report = Report {
        perch: perch.is_some().then_some(&of_perch),
        reference: reference.is_some().then_some(&of_reference),
        ceiling,
        command: &options.command,
    };
    say(format_args!("\n{}", report.table()));
    for line in of_perch.missing.iter().chain(&of_reference.missing) {
        say(format_args!("not measured: {line}"));
    }
    if let Some(page) = &options.page {
        page::write_first(page, &report.page())
            .with_context(|| format!("cannot write {}", page.display()))?;
        say(format_args!("written to {}", page.display()));
    }
    Ok(())
}

/// An empty folder at this path.
fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.to_path_buf())
}

/// The driver against a server that only answers, in a process of its own as every server is.
fn ceiling(requests: u32) -> Result<Ceiling> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(own)
        .arg("responder")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the responder")?;
    let mut address = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut address).context("the responder says nothing")?;
    }
    let address = address.trim();
    let measured = measure_ceiling(address, requests);
    child.kill().context("cannot end the responder")?;
    child.wait().context("cannot end the responder")?;
    measured
}

fn measure_ceiling(address: &str, requests: u32) -> Result<Ceiling> {
    let account = Account {
        did: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        handle: "nobody.test".to_owned(),
        token: "t".repeat(300),
    };
    let request = xrpc::post_request(&Http::connect(address)?, &account, 3);
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        for (clients, rates) in [1, 16].into_iter().zip(&mut rates) {
            rates.push(load::same(address, &request, clients, requests)?);
        }
    }
    let [one, sixteen] = rates.map(|rates| load::median(&rates));
    match (one, sixteen) {
        (Some(one), Some(sixteen)) => Ok(Ceiling { one, sixteen }),
        _ => bail!("the driver's ceiling was not measured"),
    }
}
