//! The configuration: a TOML file whose keys are the options of `livespan serve`. The command line
//! and the environment take precedence.

use std::{fs, io, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::{args::ServeOptions, failure::Failure, paths, units};

/// The file's contents. An unknown key is an error, because it would otherwise be ignored without
/// notice.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Config {
    addr: Option<String>,
    otlp_addr: Vec<String>,
    store: Option<PathBuf>,
    memory: bool,
    auth_token: Option<String>,
    allow_origin: Vec<String>,
    allow_host: Vec<String>,
    follow: Vec<String>,
    follow_token: Option<String>,
    retention_events: Option<usize>,
    #[serde(deserialize_with = "size")]
    retention_bytes: Option<usize>,
    #[serde(deserialize_with = "age")]
    retention_age: Option<Duration>,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::bytes(&text).map(Some).map_err(D::Error::custom)
}

fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::duration(&text).map(Some).map_err(D::Error::custom)
}

impl ServeOptions {
    /// Fills in the options that neither the command line nor the environment sets, from the
    /// configuration.
    pub(crate) fn with_config(self) -> Result<Self, Failure> {
        let (file, is_named) = match &self.config {
            Some(file) => (Some(file.clone()), true),
            None => (paths::default_config(), false),
        };
        let Some(file) = file else {
            return Ok(self);
        };
        let text = match fs::read_to_string(&file) {
            Err(error) if !is_named && error.kind() == io::ErrorKind::NotFound => return Ok(self),
            text => text.map_err(|error| {
                Failure::usage(format!("failed to read {}: {error}", file.display()))
            })?,
        };
        let config = toml::from_str(&text).map_err(|error| {
            let error = error.to_string();
            Failure::usage(format!(
                "failed to read {}: {}",
                file.display(),
                error.trim_end()
            ))
        })?;
        Ok(self.or(config))
    }

    fn or(self, config: Config) -> Self {
        let or = |list: Vec<String>, other| if list.is_empty() { other } else { list };
        let (store, memory) = match (self.store, self.memory) {
            (None, false) => (config.store.filter(|_| !config.memory), config.memory),
            given => given,
        };
        Self {
            addr: self.addr.or(config.addr),
            otlp_addr: or(self.otlp_addr, config.otlp_addr),
            store,
            memory,
            auth_token: self.auth_token.or(config.auth_token),
            allow_origin: or(self.allow_origin, config.allow_origin),
            allow_host: or(self.allow_host, config.allow_host),
            follow: or(self.follow, config.follow),
            follow_token: self.follow_token.or(config.follow_token),
            retention_events: self.retention_events.or(config.retention_events),
            retention_bytes: self.retention_bytes.or(config.retention_bytes),
            retention_age: self.retention_age.or(config.retention_age),
            config: self.config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_comes_before_the_file() {
        let file = "addr = \"127.0.0.1:1\"\nmemory = true\nretention-bytes = \"1KiB\"\nallow-host = [\"a\"]\n";
        let config = || toml::from_str::<Config>(file).unwrap();
        let given = ServeOptions {
            addr: Some("127.0.0.1:2".to_owned()),
            store: Some("log.db".into()),
            ..ServeOptions::default()
        };
        let both = given.or(config());
        assert_eq!(
            (
                both.addr.as_deref(),
                both.store,
                both.memory,
                both.retention_bytes,
                both.allow_host
            ),
            (
                Some("127.0.0.1:2"),
                Some("log.db".into()),
                false,
                Some(1024),
                vec!["a".to_owned()]
            )
        );
        let file_alone = ServeOptions::default().or(config());
        assert_eq!(
            (file_alone.addr.as_deref(), file_alone.memory),
            (Some("127.0.0.1:1"), true)
        );
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let error = toml::from_str::<Config>("adr = 1").unwrap_err().to_string();
        assert!(error.contains("unknown field `adr`"), "{error}");
    }
}
