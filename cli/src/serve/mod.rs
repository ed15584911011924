//! `livespan serve`: opens the log, serves it, and after a signal shuts it down.

mod addresses;
mod log;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use livespan::LiveSpans;

use crate::{
    args::ServeOptions,
    console,
    failure::Failure,
    follow::{
        Followers, Source, listener,
        saved::{self, Saved},
    },
    http::{Address, Client},
    invitations,
    signals::Signals,
};

pub(crate) use self::addresses::Addresses;

/// At the end, the program stops waiting for further events once none has arrived for this long.
const QUIET_TIME: Duration = Duration::from_millis(200);

/// Serves until a signal ends it.
pub(crate) async fn run(options: ServeOptions) -> Result<ExitCode, Failure> {
    // Signals are received from here on, even while the log is being opened.
    let mut signals = Signals::listen()?;
    let options = options.with_config()?;
    let place = Place::of(&options)?;
    let followed = options.follow.iter().map(|url| Address::parse(url));
    let followed: Vec<Address> = followed.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let (file, saved) = saved_of(&place, &followed)?;
    let live = open_running(&options, &place, saved.processes().collect()).await?;
    let addresses = Addresses::bind(&live, &options)
        .await
        .inspect_err(|_error| {
            drop(live.shutdown());
        })?;
    let followers = match file {
        Some(file) => Followers::resume(&live, file, saved),
        None => Followers::new(&live),
    };
    for address in followed {
        let client = Client::new(address, options.follow_token.clone());
        if !followers.follow(client, Source::Remote) {
            return Err(Failure::usage("too many livespans to follow"));
        }
    }
    let invitation = listener::listen(followers.clone()).await?;
    let _published = invitations::publish(addresses.port(), &addresses.url(), &invitation)?;
    for note in addresses.notes() {
        console::print_message(note);
    }
    console::print(&format!("livespan dashboard: {}", addresses.page_url()?));
    let code = signals.next().await;
    let ending = async {
        // The last events of programs that joined are stored before the log ends.
        followers.wait_until_quiet(QUIET_TIME).await;
        let ended = end(live, &addresses).await;
        followers.save().await;
        ended
    };
    tokio::select! {
        ended = ending => ended.map(|()| code),
        _again = signals.next() => Ok(code),
    }
}

/// The place where the log is kept.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    File(PathBuf),
}

/// Returns the file beside the store with the positions in followed logs, and its content from an
/// earlier run.
fn saved_of(place: &Place, followed: &[Address]) -> Result<(Option<PathBuf>, Saved), Failure> {
    let Place::File(store) = place else {
        return Ok((None, Saved::default()));
    };
    let file = saved::beside(store);
    let mut saved = Saved::read(&file)?;
    let followed: Vec<String> = followed.iter().map(Address::to_string).collect();
    saved.retain(|address| followed.iter().any(|one| one == address));
    Ok((Some(file), saved))
}

pub(crate) async fn open(options: &ServeOptions, place: &Place) -> Result<LiveSpans, Failure> {
    open_running(options, place, Vec::new()).await
}

/// Opens the log without ending the open spans of these processes.
async fn open_running(
    options: &ServeOptions,
    place: &Place,
    processes: Vec<String>,
) -> Result<LiveSpans, Failure> {
    let builder = log::builder(options, place)?.running_processes(processes);
    let opening = tokio::task::spawn_blocking(move || builder.build());
    match opening.await {
        Ok(Ok(live)) => Ok(live),
        Ok(Err(error)) => Err(log::refused(place, &error)),
        Err(panic) => Err(Failure::of("open the log", &panic)),
    }
}

/// Ends the streams and stores the buffered events. Returns when the servers have sent readers the
/// end of their streams.
pub(crate) async fn end(live: LiveSpans, addresses: &Addresses) -> Result<(), Failure> {
    let ended = match tokio::task::spawn_blocking(move || live.shutdown()).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::of("end the log", &error)),
        Err(panic) => Err(Failure::of("end the log", &panic)),
    };
    // The servers run on this runtime, and `shutdown` does not wait for them.
    addresses.ended().await;
    ended
}
