//! `livespan run`: runs a command, and shows the spans of the command and of the programs that it
//! starts. The command keeps its input and output, receives signals, and determines the exit code.

mod child;
mod environment;
mod root_span;

use std::process::ExitCode;

use livespan::LiveSpans;
use tokio::time::{Duration, Instant, interval, timeout};

use crate::{
    args::{RunOptions, ServeOptions},
    console,
    failure::Failure,
    follow::{
        Followers,
        listener::{self, Invitation},
    },
    invitations,
    run::{
        child::Ended,
        environment::{Page, variables},
        root_span::RootSpan,
    },
    serve::{self, Addresses, Place},
    signals::Signals,
};

/// Once no event has arrived for this long, programs that joined are assumed to have sent
/// everything.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// The interval at which the program checks whether a viewer has connected or left.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a viewer may be disconnected before it counts as gone. A browser that reloads the page
/// is back by then.
const RETURN_TIME: Duration = Duration::from_secs(2);

/// Runs the command to its end. If a livespan is already running and the user named no store, the
/// command uses that one.
pub(crate) async fn run(options: RunOptions) -> Result<ExitCode, Failure> {
    if options.store.is_none()
        && let Some(running) = invitations::running(options.addr.as_deref()).await
    {
        return beside(&options, running).await;
    }
    with_own_page(&options).await
}

/// Runs the command, whose programs join a livespan that is already running.
async fn beside(options: &RunOptions, running: invitations::Running) -> Result<ExitCode, Failure> {
    let page = Page {
        url: running.page,
        token: options.auth_token.clone(),
        invitation: running.invitation,
        span: None,
    };
    announce(&page.url);
    let ended = child::run(&options.command, variables(&page, options)).await?;
    Ok(ended.exit_code())
}

async fn with_own_page(options: &RunOptions) -> Result<ExitCode, Failure> {
    let serve_options = ServeOptions {
        addr: options.addr.clone(),
        auth_token: options.auth_token.clone(),
        ..ServeOptions::default()
    };
    let place = options.store.clone().map_or(Place::Memory, Place::File);
    let live = serve::open(&serve_options, &place).await?;
    let addresses = Addresses::bind_page(&live, &serve_options)
        .await
        .inspect_err(|_error| drop(live.shutdown()))?;
    let outcome = observe(options, &addresses, &live).await;
    // If both fail, the earlier error is returned: it is the more useful message.
    let ended = serve::end(live, &addresses).await;
    let code = outcome?;
    ended?;
    Ok(code)
}

async fn observe(
    options: &RunOptions,
    addresses: &Addresses,
    live: &LiveSpans,
) -> Result<ExitCode, Failure> {
    let followers = Followers::new(live);
    let invitation: Invitation = listener::listen(followers.clone()).await?;
    let span = RootSpan::begin(live, &options.command)?;
    let page = Page {
        url: addresses.url(),
        token: options.auth_token.clone(),
        invitation,
        span: Some(span.traceparent()),
    };
    announce(&addresses.page_url()?);
    let ran = child::run(&options.command, variables(&page, options)).await;
    span.end(live, ran.as_ref().ok());
    let ended = ran?;
    // Programs that the command left running keep their streams open. So this waits until no events
    // arrive, not until the streams end.
    followers.wait_until_quiet(QUIET_TIME).await;
    stay(options, live, ended).await?;
    Ok(ended.exit_code())
}

/// Prints the page's address on one line, with the variables that the user set to send spans
/// elsewhere.
fn announce(url: &str) {
    let kept = environment::kept();
    let note = if kept.is_empty() {
        String::new()
    } else {
        format!(" (as you set them: {})", kept.join(", "))
    };
    console::print_error(&format!("livespan dashboard: {url}{note}"));
}

/// Keeps the page open after the end of the command, as the options `keep` and `linger` demand.
async fn stay(options: &RunOptions, live: &LiveSpans, ended: Ended) -> Result<(), Failure> {
    if !options.keep && options.linger.is_none() {
        return Ok(());
    }
    let mut signals = Signals::listen()?;
    if options.keep {
        console::print_message(&format!("{ended}; the page stays until Ctrl-C"));
        signals.next().await;
        return Ok(());
    }
    let limit = options.linger.unwrap_or_default();
    tokio::select! {
        _ = signals.next() => {}
        _ = timeout(limit, seen(live)) => {}
    }
    Ok(())
}

/// Waits until a viewer has connected and the last one has been gone for `RETURN_TIME`.
async fn seen(live: &LiveSpans) {
    let mut checks = interval(CHECK_INTERVAL);
    let mut last_seen = None;
    loop {
        checks.tick().await;
        if live.target().subscribers() > 0 {
            last_seen = Some(Instant::now());
        } else if last_seen.is_some_and(|seen| seen.elapsed() >= RETURN_TIME) {
            return;
        }
    }
}
