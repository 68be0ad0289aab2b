//! Where figures go: a table for people, lines of JSON, and a page.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::page::page;
use crate::report::Table;
use crate::summary::Summary;

/// Of lines of JSON: standard output, which the table then leaves to them.
const STANDARD_OUTPUT: &str = "-";

#[derive(Clone, Default, Debug, Args)]
pub struct Destinations {
    /// Append the figures to this file, a line of JSON for each run; "-": to standard output, and the table to standard error
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write figures and plots to this file, as a page for a browser
    #[arg(long, global = true, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Destinations that are open: a run of an hour does not end with a path that cannot be written.
#[derive(Debug)]
pub struct Output {
    json: Option<Json>,
    html: Option<File>,
}

#[derive(Debug)]
enum Json {
    StandardOutput,
    File(File),
}

impl Output {
    pub fn open(to: &Destinations) -> io::Result<Self> {
        let json = match &to.json {
            Some(path) if path.as_os_str() == STANDARD_OUTPUT => Some(Json::StandardOutput),
            Some(path) => Some(Json::File(open(path, OpenOptions::new().append(true))?)),
            None => None,
        };
        // An earlier page stays until there is a new one.
        let html = to.html.as_deref().map(|path| open(path, OpenOptions::new().write(true).truncate(false)));
        Ok(Self { json, html: html.transpose()? })
    }

    /// Everything about these runs, the page last, for it can be made of the lines again.
    pub fn write(self, summaries: &[Summary]) -> io::Result<()> {
        let tables: String = summaries.iter().map(|summary| Table(summary).to_string()).collect();
        match &self.json {
            Some(Json::StandardOutput) => io::stderr().write_all(tables.as_bytes())?,
            _ => io::stdout().write_all(tables.as_bytes())?,
        }
        for summary in summaries {
            let line = serde_json::to_string(summary)? + "\n";
            match &self.json {
                // Whole lines, so that several generators can append to one file.
                Some(Json::File(file)) => (&*file).write_all(line.as_bytes())?,
                Some(Json::StandardOutput) => io::stdout().write_all(line.as_bytes())?,
                None => {}
            }
        }
        let Some(mut html) = self.html else { return Ok(()) };
        html.set_len(0)?;
        html.write_all(page(summaries).as_bytes())
    }
}

/// An error that says which path it is about.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    options.create(true).open(path).map_err(named)
}
