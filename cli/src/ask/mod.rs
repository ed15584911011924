//! Commands that ask a running livespan. `running` prints `GET /running`. `traces`, `trace`, `wait`
//! and `problems` print the texts of the tools of `POST /mcp`, so a person, a script and an agent
//! read the same. `tail` follows `GET /sse`.

mod tail;
mod tools;

use std::process::ExitCode;

use http::StatusCode;

use crate::{
    args::{AskOptions, RunningOptions},
    console,
    failure::Failure,
    http::{Address, Client, RequestError},
    units::percent_encoded,
};

pub(crate) use self::{
    tail::tail,
    tools::{problems, trace, traces, wait},
};

/// The page to ask if the user names none.
const DEFAULT_URL: &str = "http://127.0.0.1:4380/";

impl AskOptions {
    fn client(&self) -> Result<Client, Failure> {
        let address = Address::parse(self.url.as_deref().unwrap_or(DEFAULT_URL));
        let address = address.map_err(Failure::usage)?;
        Ok(Client::new(address, self.auth_token.clone()))
    }
}

/// Prints the open spans.
pub(crate) async fn running(options: RunningOptions) -> Result<ExitCode, Failure> {
    let client = options.ask.client()?;
    let format = if options.ask.json { "json" } else { "text" };
    let query = percent_encoded(&options.query.join(" "));
    let path = format!("/running?format={format}&q={query}");
    let answer = client.get(&path).await;
    let answer = answer.map_err(|error| failure_of(&client, error))?;
    console::print(String::from_utf8_lossy(&answer).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Explains a failed request to the user, and chooses the exit code.
fn failure_of(client: &Client, error: RequestError) -> Failure {
    let address = client.address();
    match error {
        RequestError::Refused => Failure::unreachable(format!(
            "no livespan answers at {address}: start one with `livespan`, or name another one with --url"
        )),
        RequestError::Status(StatusCode::BAD_REQUEST, message) => Failure::usage(message),
        RequestError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, message) => {
            Failure::unreachable(format!(
                "{address} refuses: {message} (LIVESPAN_TOKEN holds the token)"
            ))
        }
        error => Failure::unreachable(format!(
            "{address} does not respond like a livespan: {error}"
        )),
    }
}
