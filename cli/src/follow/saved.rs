//! The file beside a store. It holds the positions in other logs, and the address at which programs
//! join. Each write replaces the whole file. On Unix, only this user can read it, because it
//! contains tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    follow::{listener::Invitation, positions::Position},
    paths,
};

/// Upper bound on the file: 64 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The state that one run of the program saves for the next one.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Saved {
    /// The address and the token with which programs join.
    pub(super) invitation: Option<Invitation>,
    pub(super) logs: Vec<Position>,
}

/// Returns the file beside a store.
pub(crate) fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".followed");
    name.into()
}

impl Saved {
    /// Reads the state of the last run. If there is no file, returns an empty state.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!(
                "failed to read {}: {error}\nhint: you can remove this file, but then all events that the followed \
                 logs still have are stored a second time",
                file.display()
            ))
        };
        match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(&error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(failed(&format!("it has more than {FILE_BYTES_MAX} bytes")));
            }
            Ok(_) => {}
        }
        let text = fs::read_to_string(file).map_err(|error| failed(&error))?;
        serde_json::from_str(&text).map_err(|error| failed(&error))
    }

    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        paths::write_private(file, &serde_json::to_string(self)?)
    }

    /// Removes the logs at addresses that are no longer followed, except those of programs that joined.
    pub(crate) fn retain(&mut self, is_followed: impl Fn(&str) -> bool) {
        let logs = &mut self.logs;
        logs.retain(|log| log.joined.is_some() || is_followed(&log.address));
    }

    /// Returns the processes whose spans may still be open.
    pub(crate) fn processes(&self) -> impl Iterator<Item = String> {
        let processes = self.logs.iter().flat_map(|log| &log.processes);
        processes.cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let name = format!("livespan-saved-{}.followed", std::process::id());
        let file = std::env::temp_dir().join(name);
        assert!(Saved::read(&file).unwrap().logs.is_empty());
        let mut saved = Saved {
            invitation: None,
            logs: vec![Position {
                epoch: "abcdefgh".to_owned(),
                id: Some("abcdefgh-7".to_owned()),
                address: "http://127.0.0.1:1/".to_owned(),
                processes: ["p1".to_owned()].into(),
                ..Position::default()
            }],
        };
        saved.write(&file).unwrap();
        let read = Saved::read(&file).unwrap();
        assert_eq!(read.logs, saved.logs);
        assert_eq!(read.processes().collect::<Vec<_>>(), ["p1"]);
        saved.retain(|address| address == "http://127.0.0.1:2/");
        assert_eq!(saved.logs, []);
        fs::write(&file, "{").unwrap();
        let message = Saved::read(&file).unwrap_err().to_string();
        let first = format!("failed to read {}: EOF while parsing", file.display());
        assert!(message.starts_with(&first), "{message}");
        fs::remove_file(&file).unwrap();
    }
}
