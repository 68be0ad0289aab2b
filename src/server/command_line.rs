//! What `thrum` understands on its command line, and the configuration that comes of it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::bans_command::BansCommand;
use super::config::{Config, ConfigError, LogLevel};
use super::config_file::{self, Errors};
use super::passwd_command::PasswdCommand;
use super::store_command::StoreCommand;
use crate::base::limits::SHARDS_MAX;

/// An MQTT broker for Linux, one thread per core.
#[derive(Parser, Clone, Debug)]
#[command(name = "thrum", version)]
pub struct CommandLine {
    /// Read the configuration from FILE; without it the built-in defaults are used
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Listen on PORT instead of the first listener's port; 0 takes a free one
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,

    /// Log at level debug
    #[arg(short, long)]
    verbose: bool,

    /// Run N shards; 0 is one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=SHARDS_MAX as i64))]
    shards: Option<u8>,

    /// Check the configuration and this machine's limits, and start nothing
    #[arg(long, visible_alias = "test-config")]
    pub check: bool,

    #[command(subcommand)]
    pub(super) task: Option<Task>,
}

/// What there is to do besides running a broker.
#[derive(Subcommand, Clone, Debug)]
pub(super) enum Task {
    /// Add, change or delete a user of a password file
    Passwd(PasswdCommand),
    /// Look at, repair or copy the directory where a broker stores things
    Store {
        /// The store's directory, instead of the configuration's
        #[arg(short, long, value_name = "DIR", global = true)]
        directory: Option<PathBuf>,

        #[command(subcommand)]
        command: StoreCommand,
    },
    /// See who is banned from a running broker, or let somebody in again
    Bans {
        /// The store's directory, instead of the configuration's
        #[arg(short, long, value_name = "DIR", global = true)]
        directory: Option<PathBuf>,

        #[command(subcommand)]
        command: BansCommand,
    },
}

impl CommandLine {
    /// From the file, where there is one, with what the command line has instead. Reads the file again each time.
    pub fn read_config(&self) -> Result<Config, Errors> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), config_file::read)?;
        if let Some(port) = self.port {
            config.listeners[0].set_port(port).map_err(|error| vec![error])?;
        }
        if let Some(shards) = self.shards {
            config.shards = shards.into();
        }
        if self.verbose {
            config.log.level = config.log.level.max(LogLevel::Debug);
        }
        config.validate().map_err(|errors| errors.iter().map(ConfigError::to_string).collect::<Errors>())?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(std::iter::once("thrum").chain(arguments.split_whitespace()))
    }

    fn config(arguments: &str) -> Config {
        parse(arguments).unwrap().read_config().unwrap()
    }

    #[test]
    fn nothing_said_is_the_defaults() {
        assert_eq!(config(""), Config::default());
        assert!(!parse("").unwrap().check);
    }

    #[test]
    fn what_is_said_takes_the_place_of_the_configuration() {
        assert_eq!(config("-p 0").listeners[0].address.to_string(), "127.0.0.1:0");
        assert_eq!(config("--port 1884").listeners[0].address.to_string(), "127.0.0.1:1884");
        assert_eq!(config("--shards 64").shards, 64);
        assert_eq!(config("-v").log.level, LogLevel::Debug);
        assert_eq!(config("--verbose").log.level, LogLevel::Debug);
    }

    #[test]
    fn a_store_is_looked_at_where_it_lies() {
        let task = |arguments| parse(arguments).unwrap().task;
        assert!(task("-v").is_none());
        let Some(Task::Store { directory, command }) = task("store check") else { panic!("no task") };
        assert_eq!((directory, command), (None, StoreCommand::Check));
        let Some(Task::Store { directory, command }) = task("store backup there -d here") else { panic!("no task") };
        assert_eq!((directory, command), (Some("here".into()), StoreCommand::Backup { into: "there".into() }));
        assert_eq!(parse("store stats -c a.toml").unwrap().config, Some("a.toml".into()));
        assert!(parse("store").is_err() && parse("store salvage").is_err() && parse("shop").is_err());
    }

    #[test]
    fn a_check_has_two_names() {
        assert!(parse("--check").unwrap().check && parse("--test-config").unwrap().check);
    }

    #[test]
    fn the_file_has_two_names_for_its_option() {
        for arguments in ["-c a.toml", "--config a.toml", "--config=a.toml"] {
            assert_eq!(parse(arguments).unwrap().config, Some("a.toml".into()));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_with_its_name() {
        let errors = parse("-c missing.toml").unwrap().read_config().unwrap_err();
        assert_eq!(errors, ["cannot read missing.toml: No such file or directory (os error 2)"]);
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for wrong in ["-p 65536", "-p -1", "--shards 65", "--shards two", "--quiet", "file.toml", "-c"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
