//! The addresses at which one log is served: the page's, and further ones for OTLP. Every address serves all routes.

use std::{error::Error as StdError, io};

use livespan::{Error, LiveServer, LiveSpans};

use crate::{
    args::ServeOptions,
    failure::{Failure, with_causes},
};

/// The addresses to which OpenTelemetry SDKs send by default.
const DEFAULT_OTLP: [&str; 2] = ["127.0.0.1:4317", "127.0.0.1:4318"];
/// Upper bound on the addresses of one log.
const ADDRESSES_MAX: usize = 16;

/// The servers of one log.
#[derive(Debug)]
pub(crate) struct Addresses {
    page: LiveServer,
    otlp: Vec<LiveServer>,
    notes: Vec<String>,
}

impl Addresses {
    /// Binds all addresses. If a default port is taken, a note says so. An address that the user
    /// named must be free.
    pub(crate) async fn bind(live: &LiveSpans, options: &ServeOptions) -> Result<Self, Failure> {
        if options.otlp_addr.len() >= ADDRESSES_MAX {
            let message = format!("more than {} addresses of OTLP", ADDRESSES_MAX - 1);
            return Err(Failure::usage(message));
        }
        let mut addresses = Self::bind_page(live, options).await?;
        addresses.bind_otlp(live, options).await?;
        Ok(addresses)
    }

    /// Binds only the page's address.
    pub(crate) async fn bind_page(
        live: &LiveSpans,
        options: &ServeOptions,
    ) -> Result<Self, Failure> {
        let mut notes = Vec::new();
        let wanted = options.addr.as_deref();
        let page = serve(live, wanted.unwrap_or(LiveServer::DEFAULT_ADDRESS), options).await?;
        let port = page.local_addr().port();
        if port != LiveServer::DEFAULT_PORT && wanted.is_none_or(names_port) {
            let taken = LiveServer::DEFAULT_PORT;
            if wanted.is_some() {
                return Err(Failure::new(format!(
                    "failed to serve: port {taken} is taken"
                )));
            }
            notes.push(format!("port {taken} is taken: the page has port {port}"));
        }
        Ok(Self {
            page,
            otlp: Vec::new(),
            notes,
        })
    }

    async fn bind_otlp(&mut self, live: &LiveSpans, options: &ServeOptions) -> Result<(), Failure> {
        let port = self.port();
        let is_default = options.otlp_addr.is_empty();
        let otlp: Vec<&str> = if is_default {
            DEFAULT_OTLP.to_vec()
        } else {
            options.otlp_addr.iter().map(String::as_str).collect()
        };
        for address in otlp {
            match live.serve(address).await {
                Ok(server) => self.otlp.push(server),
                Err(error) if is_default && is_taken(&error) => {
                    self.notes.push(format!(
                        "{address} is taken: OTLP is received at port {port} only"
                    ));
                }
                Err(error) => return Err(refused(address, &error, options)),
            }
        }
        Ok(())
    }

    /// Waits until all servers have ended and have sent their readers the end of their streams. A server ends after the
    /// log's shutdown, within the time limit of that shutdown.
    pub(crate) async fn ended(&self) {
        self.page.wait().await;
        for server in &self.otlp {
            server.wait().await;
        }
    }

    /// Returns the port of the page.
    pub(crate) fn port(&self) -> u16 {
        self.page.local_addr().port()
    }

    /// Returns the page's address without a sign-in code, for programs.
    pub(crate) fn url(&self) -> String {
        self.page.url()
    }

    /// Returns notes for the user about the addresses.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the address to open. If there is a token, the address signs in one browser.
    pub(crate) fn page_url(&self) -> Result<String, Failure> {
        let url = self.page.login_url();
        url.map_err(|error| Failure::of("make a link for one browser", &error))
    }
}

async fn serve(
    live: &LiveSpans,
    address: &str,
    options: &ServeOptions,
) -> Result<LiveServer, Failure> {
    let served = live.serve(address).await;
    served.map_err(|error| refused(address, &error, options))
}

fn refused(address: &str, error: &Error, options: &ServeOptions) -> Failure {
    if error.is_invalid() && options.auth_token.is_none() {
        return Failure::usage(format!(
            "{address} is not a loopback address: others could read everything there; set a token with LIVESPAN_TOKEN"
        ));
    }
    Failure::new(format!(
        "failed to serve on {address}: {}",
        with_causes(error)
    ))
}

/// Returns whether the address names the default port. If that port is taken, the library binds a
/// free one instead.
fn names_port(address: &str) -> bool {
    let port = address.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| port.parse() == Ok(LiveServer::DEFAULT_PORT))
}

fn is_taken(error: &Error) -> bool {
    let mut cause = StdError::source(error);
    while let Some(one) = cause {
        if let Some(error) = one.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::AddrInUse;
        }
        cause = one.source();
    }
    false
}
