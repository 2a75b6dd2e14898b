//! The whole box in an emulated ARM machine, for a person: `cargo xtask qemu` starts it.
//!
//! Serves until SIGTERM or Ctrl-C, then lets the box switch itself off in order.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use testbed::{
    Machine,
    appliance::{Appliance, make_card},
    i2c::oled::Oled,
};
use tokio::signal::unix::{SignalKind, signal};

/// Wait for the box to serve; 30 s on an idle computer.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Wait for the box to end everything in order: its supervisor kills what has not ended after a minute.
const OFF_LIMIT: Duration = Duration::from_secs(180);

/// How often it is looked whether the display shows something else, and whether the machine still runs.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Pixels of the picture file for one of the display.
const SCALE: u8 = 4;

/// Succeeds in the guest as soon as the PDS answers.
const ANSWERS: &str = "wget -q -O /dev/null http://127.0.0.1:2583/xrpc/_health";

/// The command line.
#[derive(Debug, Parser)]
struct Cli {
    /// The folder with the programs for aarch64.
    #[arg(long)]
    programs: PathBuf,
    /// The folder for the card, which is made anew, and for the picture of the display.
    #[arg(long)]
    folder: PathBuf,
    /// The port of this computer that leads to the PDS.
    #[arg(long, default_value_t = 2583)]
    pds_port: u16,
    /// The port of this computer that leads to the status page.
    #[arg(long, default_value_t = 8080)]
    panel_port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    std::fs::create_dir_all(&cli.folder).context("making the folder for the card")?;
    let card = cli.folder.join("card.img");
    // A fresh one: the PLC directory of these accounts is this process, and forgets them with it.
    make_card(&card)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    say("The machine boots; what it says is in target/testbed/m*/serial.log.")?;
    let appliance = Appliance::new(&cli.programs, &card, cli.pds_port, cli.panel_port)?;
    let display = appliance.display.clone();
    let told = tokio::select! {
        told = tokio::task::spawn_blocking(move || serve(&appliance, &cli)) => Some(told??),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    // A signal during the boot: the machine has nothing yet to end in order, and ends with this process.
    let Some((machine, picture)) = told else { std::process::exit(1) };
    let mut shown = None;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = looks.tick() => {
                draw(&display, &picture, &mut shown)?;
                if !machine.is_running() {
                    return say("The box has switched itself off.");
                }
            }
        }
    }
    say("The box ends everything in order and switches itself off.")?;
    let ended = tokio::task::spawn_blocking(move || -> Result<()> {
        machine.sh("perchctl off")?;
        Ok(machine.wait_end(OFF_LIMIT)?)
    });
    ended.await?
}

/// Boots the box, waits until its PDS answers and says where everything is.
fn serve(appliance: &Appliance, cli: &Cli) -> Result<(Machine, PathBuf)> {
    let machine = appliance.boot()?;
    if let Err(error) = machine.wait_for(ANSWERS, START_LIMIT) {
        bail!("the PDS does not answer: {error}");
    }
    let picture = std::path::absolute(cli.folder.join("screen.png"))?;
    say(&format!("The display is drawn to {} when it changes.", picture.display()))?;
    say(&format!("READY pds=http://localhost:{} panel=http://localhost:{}", cli.pds_port, cli.panel_port))?;
    Ok((machine, picture))
}

/// Writes what the display shows, as decoded from its wires, when it has changed.
fn draw(display: &Oled, file: &Path, shown: &mut Option<platform::Frame>) -> Result<()> {
    let frame = display.picture();
    if shown.as_ref() == Some(&frame) {
        return Ok(());
    }
    // Whole or the one before, for a viewer that looks at any moment.
    let part = file.with_extension("part");
    std::fs::write(&part, panel::picture::png(&frame, SCALE)?).context("writing the picture")?;
    std::fs::rename(&part, file).context("writing the picture")?;
    *shown = Some(frame);
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to standard output")
}
