//! `thrum store ...`: a store is looked at, repaired or copied. What a running broker has is asked of it.

use std::io::{self, BufWriter, Write};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::control::ask;
use crate::storage::{self, StoreError};

#[derive(Subcommand, Clone, PartialEq, Eq, Debug)]
pub(super) enum StoreCommand {
    /// Look at all of a store that no broker uses; exit code 1 if something is damaged
    Check,
    /// What a store has in it, in numbers
    Stats,
    /// Every session, queued and retained message of a store that no broker uses, one line of JSON each
    Dump,
    /// Make a new store in INTO of what is sound in one; exit code 1 if something had to be left
    Salvage {
        /// A directory that is empty or not there
        into: PathBuf,
    },
    /// Copy the store of a running broker into INTO, from where a broker can start
    Backup {
        /// A directory that is empty or not there
        into: PathBuf,
    },
}

/// Does it, and says what came of it.
pub(super) fn run_store(command: &StoreCommand, directory: &Path) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let result = carry_out(command, directory, &mut out);
    // Whoever reads no further, as `head`, has what he wants.
    let _ = out.flush();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}

/// False: something is not sound.
fn carry_out(command: &StoreCommand, directory: &Path, out: &mut dyn Write) -> Result<bool, String> {
    let in_words = |error: StoreError| error.to_string();
    match command {
        StoreCommand::Check => storage::check(directory, out).map_err(in_words),
        StoreCommand::Dump => storage::dump(directory, out).map(|()| true).map_err(in_words),
        StoreCommand::Salvage { into } => storage::salvage(directory, into, out).map_err(in_words),
        StoreCommand::Stats => match ask(directory, "stats") {
            Some(answer) => tell(&answer?, out),
            None => storage::stats(directory, out).map(|()| true).map_err(in_words),
        },
        StoreCommand::Backup { into } => tell(&back_up(directory, into)?, out),
    }
}

fn back_up(directory: &Path, into: &Path) -> Result<String, String> {
    let into = path::absolute(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let into = into.to_str().filter(|name| !name.contains('\n'));
    let into = into.ok_or("the directory of a backup has a name that is not one line of UTF-8")?;
    ask(directory, &format!("backup {into}")).unwrap_or_else(|| {
        let directory = directory.display();
        Err(format!(
            "no broker runs on {directory}: a store that nobody uses is copied as it is, `cp -a {directory} {into}`"
        ))
    })
}

fn tell(text: &str, out: &mut dyn Write) -> Result<bool, String> {
    // As above.
    let _ = out.write_all(text.as_bytes());
    Ok(true)
}
