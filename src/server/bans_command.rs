//! `thrum bans ...`: who is banned by the running broker, and that somebody is no longer. Asked by the socket in the
//! directory of its store: a broker without a store has none, and lets everybody in again who is banned when it reads a
//! configuration with `failures_max = 0`.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::control::ask;

#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub(super) enum BansCommand {
    /// Who is banned, one a line: for how many seconds yet, how many times, and an address or a user
    List,
    /// Let somebody in again: an address, or a user
    Lift {
        /// An IP address; or the name of a user
        who: String,

        /// WHO is a user, also where it looks like an address
        #[arg(long)]
        user: bool,
    },
}

/// Does it, and says what came of it.
pub(super) fn run_bans(command: &BansCommand, directory: &Path) -> ExitCode {
    let line = match command {
        BansCommand::List => "bans".to_owned(),
        BansCommand::Lift { who, .. } if who.contains('\n') => {
            eprintln!("a name of more than one line cannot be told to the broker: its ban ends by itself");
            return ExitCode::FAILURE;
        }
        BansCommand::Lift { who, user } => match who.parse::<IpAddr>() {
            Ok(address) if !user => format!("lift address {address}"),
            _ => format!("lift user {who}"),
        },
    };
    let answer = ask(directory, &line).unwrap_or_else(|| {
        let directory = directory.display();
        Err(format!("no broker with a store runs on {directory}: bans are asked for by the socket in that directory"))
    });
    match answer {
        Ok(text) => {
            // Whoever reads no further, as `head`, has what he wants.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
