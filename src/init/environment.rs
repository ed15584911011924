//! Reads settings from the program's environment, such as the address and the token. In this folder, only this file
//! writes to the host's standard error, and it writes at most one line.

use std::{env, io::Write as _, path::Path};

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::{
    access::Auth,
    error::Error,
    http::server::LiveServer,
    live_spans::{LiveSpans, LiveSpansBuilder},
};

/// The variable with the token of readers.
const TOKEN: &str = "LIVESPAN_TOKEN";

/// Returns a builder that requires the token if the environment has one.
pub(super) fn builder() -> LiveSpansBuilder {
    let builder = LiveSpans::builder();
    if has_token() {
        builder.auth(Auth::token_from_env(TOKEN))
    } else {
        builder
    }
}

/// Returns the token, if the environment has one.
pub(super) fn token() -> Option<String> {
    env::var(TOKEN).ok().filter(|token| !token.is_empty())
}

fn has_token() -> bool {
    env::var_os(TOKEN).is_some_and(|token| !token.is_empty())
}

fn address_from_env() -> Option<String> {
    env::var("LIVESPAN_ADDR")
        .ok()
        .filter(|address| !address.is_empty())
}

pub(super) fn serve(live: &LiveSpans) -> Result<LiveServer, Error> {
    let Some(address) = address_from_env() else {
        return live.serve_in_background(LiveServer::DEFAULT_ADDRESS);
    };
    live.serve_in_background(&address).map_err(|error| {
        let mut message = format!("serve on LIVESPAN_ADDR={address}");
        if error.is_invalid() && !has_token() {
            message.push_str(" without LIVESPAN_TOKEN");
        }
        // An invalid setting is reported as invalid, not as a failure of the operating system.
        if error.is_invalid() {
            Error::invalid(message).caused_by(error)
        } else {
            Error::io(message, error)
        }
    })
}

/// Returns the levels of `RUST_LOG`, or `info` for all targets if it is unset, empty or malformed. An `EnvFilter` would
/// need a feature of `tracing-subscriber`. With that feature, `tracing_subscriber::fmt::init()` would print only errors
/// in every program with livespan in its build.
pub(crate) fn levels() -> Targets {
    env::var("RUST_LOG")
        .ok()
        .filter(|wanted| !wanted.is_empty())
        .and_then(|wanted| wanted.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// Returns the resource, with the attributes from the environment. Without a service name, the service is named after
/// the program's file.
pub(crate) fn resource() -> Resource {
    let resource = Resource::builder().build();
    let service_name = Key::from_static_str("service.name");
    let service = resource.get(&service_name);
    let service = service.as_ref().map(Value::as_str);
    // The SDK gives this name to a service without one. The resource is rebuilt from its attributes, because a second
    // `Resource::builder` would run every detector again.
    let file = service
        .as_deref()
        .and_then(|name| name.strip_prefix("unknown_service:"));
    let Some(name) = file.and_then(|file| Path::new(file).file_stem()?.to_str()) else {
        return resource;
    };
    let others = resource.iter().filter(|(key, _)| **key != service_name);
    let attributes = others.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes(attributes)
        .with_service_name(name.to_owned())
        .build()
}

/// Returns whether the program wants the polls of spans to be shown.
pub(super) fn wants_tasks() -> bool {
    env::var_os("LIVESPAN_TASKS").is_some_and(|wanted| wanted == "1")
}

/// Returns the line to print, or `None` if the environment turned it off.
pub(super) fn announcement(server: &LiveServer) -> Result<Option<String>, Error> {
    if env::var_os("LIVESPAN_QUIET").is_some_and(|quiet| quiet == "1") {
        return Ok(None);
    }
    let url = server.login_url()?;
    let wanted = LiveServer::DEFAULT_PORT;
    let is_other = address_from_env().is_none() && server.local_addr().port() != wanted;
    let why = if is_other {
        format!(" (port {wanted} is taken)")
    } else {
        String::new()
    };
    Ok(Some(format!("livespan: {url}{why}\n")))
}

pub(super) fn print_line(line: Option<&str>) {
    if let Some(line) = line {
        // A program may have closed its standard error, and `eprintln!` would panic then.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
}
