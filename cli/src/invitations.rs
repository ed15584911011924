//! A serving livespan invites later commands of the same user: it writes its page, and the address
//! and token with which programs join, to a file that only this user can read. The file is removed
//! when livespan ends. After a crash the file remains, but its address does not respond.

use std::{fs, path::PathBuf};

use livespan::LiveServer;
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    follow::listener::{Invitation, is_listening},
    paths,
};

/// A livespan that is serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) page: String,
    pub(crate) invitation: Invitation,
}

/// The contents of the file.
#[derive(Debug, Deserialize, Serialize)]
struct Contents {
    page: String,
    join: String,
    token: String,
}

/// The file of a serving livespan. Dropping this removes the file.
#[derive(Debug)]
pub(crate) struct Published(Option<PathBuf>);

impl Drop for Published {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // The file may have been removed already.
            drop(fs::remove_file(file));
        }
    }
}

/// Writes the file for the page at this port, if this user has a runtime directory.
pub(crate) fn publish(
    port: u16,
    page: &str,
    invitation: &Invitation,
) -> Result<Published, Failure> {
    let Some(file) = file(port) else {
        return Ok(Published(None));
    };
    let contents = Contents {
        page: page.to_owned(),
        join: invitation.url.clone(),
        token: invitation.token.clone(),
    };
    paths::write_private(&file, &serde_json::json!(contents).to_string())
        .map_err(|error| Failure::of(&format!("write {}", file.display()), &error))?;
    Ok(Published(Some(file)))
}

/// Returns the livespan that serves at the port of this address, if this user started it and it responds. Without an
/// address, uses the default port.
pub(crate) async fn running(address: Option<&str>) -> Option<Running> {
    let port = match address {
        None => LiveServer::DEFAULT_PORT,
        Some(address) => address.rsplit_once(':')?.1.parse().ok()?,
    };
    let text = fs::read_to_string(file(port)?).ok()?;
    let contents: Contents = serde_json::from_str(&text).ok()?;
    let running = Running {
        page: contents.page,
        invitation: Invitation {
            url: contents.join,
            token: contents.token,
        },
    };
    is_listening(&running.invitation).await.then_some(running)
}

fn file(port: u16) -> Option<PathBuf> {
    Some(paths::runtime()?.join(format!("join-{port}.json")))
}
