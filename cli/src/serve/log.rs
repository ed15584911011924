//! Builds the log that the options describe, and explains why it could not be opened.

use std::path::Path;

use livespan::{
    Auth, Error, LiveSpans, LiveSpansBuilder, Retention, SqliteEventStore, otlp::OtlpReceiver,
};

use crate::{
    args::ServeOptions,
    failure::{Failure, with_causes},
    paths,
    serve::Place,
};

impl Place {
    pub(crate) fn of(options: &ServeOptions) -> Result<Self, Failure> {
        if options.memory {
            return Ok(Self::Memory);
        }
        if let Some(file) = &options.store {
            return Ok(Self::File(file.clone()));
        }
        let file = paths::default_store().ok_or_else(|| {
            Failure::usage("there is no state directory: set --store FILE, --memory or HOME")
        })?;
        let folder = file.parent().unwrap_or(Path::new("."));
        paths::create_private(folder)
            .map_err(|error| Failure::of(&format!("make {}", folder.display()), &error))?;
        Ok(Self::File(file))
    }
}

pub(super) fn builder(options: &ServeOptions, place: &Place) -> Result<LiveSpansBuilder, Failure> {
    // Pages of an origin with any port, such as `http://localhost:*`, may send but not read.
    let readers = options
        .allow_origin
        .iter()
        .filter(|origin| !origin.contains('*'));
    let mut builder = LiveSpans::builder()
        .allowed_hosts(options.allow_host.iter().cloned())
        .allowed_origins(readers.cloned())
        .otlp(receiver(options));
    if let Some(token) = &options.auth_token {
        if token.is_empty() {
            return Err(Failure::usage("the token is empty"));
        }
        builder = builder.auth(Auth::token(token.as_str()));
    }
    Ok(match place {
        Place::Memory => builder.retention(retention(options, Retention::default())),
        Place::File(file) => {
            let kept = retention(options, SqliteEventStore::default_retention());
            builder.store(SqliteEventStore::new(file).retention(kept))
        }
    })
}

/// Returns the settings of the OTLP receiver. Readers and senders have the same token.
fn receiver(options: &ServeOptions) -> OtlpReceiver {
    let receiver = OtlpReceiver::default().allowed_origins(options.allow_origin.iter().cloned());
    // Only a token of visible ASCII characters can be sent as an API key. With any other token,
    // senders authenticate like readers.
    let token = options.auth_token.as_deref();
    match token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(token) => receiver.token(token),
        None => receiver,
    }
}

fn retention(options: &ServeOptions, mut retention: Retention) -> Retention {
    if let Some(events) = options.retention_events {
        retention = retention.events(events);
    }
    if let Some(bytes) = options.retention_bytes {
        retention = retention.bytes(bytes);
    }
    if let Some(age) = options.retention_age {
        retention = retention.age(age);
    }
    retention
}

/// Explains why the log could not be opened. For a file, may suggest a remedy.
pub(super) fn refused(place: &Place, error: &Error) -> Failure {
    let hint = match place {
        Place::File(_) if !error.is_invalid() => {
            "\nhint: another process may use this file; --store FILE names another one, --memory needs none"
        }
        Place::File(_) | Place::Memory => "",
    };
    let message = format!("failed to open the log: {}{hint}", with_causes(error));
    if error.is_invalid() {
        Failure::usage(message)
    } else {
        Failure::new(message)
    }
}
