//! The heartbeat: one thread of the store that tells Redis that this process lives and what it knows, and at its end that
//! it is gone.

use std::{sync::Arc, time::Duration};

use crate::store::redis::{
    append::begin,
    config::Settings,
    connection::Link,
    error::Fault,
    heartbeat_timer::Pulse,
    known_state::View,
    reply::Reply,
    scripts::{BEAT, LEAVE},
};

/// How soon a heartbeat that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Runs on the thread until it is stopped.
pub(crate) fn run(pulse: &Pulse, writer: &str, settings: &Arc<Settings>, view: &View) {
    let mut link = Link::new(Arc::clone(settings));
    let mut interval = settings.heartbeat;
    while pulse.wait(interval) {
        interval = match beat(&mut link, writer, view) {
            Ok(()) => settings.heartbeat,
            // The link has its own back-off; a life that forms is asked for again soon.
            Err(_fault) => settings.heartbeat.min(RETRY.max(link.delay())),
        };
    }
    let mut command = link.script(&LEAVE, 1, writer.len());
    command.arg(writer);
    // Without an answer the others find out when the heartbeats stay away.
    drop(link.call(&LEAVE, &command));
    pulse.end();
}

fn beat(link: &mut Link, writer: &str, view: &View) -> Result<(), Fault> {
    let command = begin(link, &BEAT, writer, view, (0, 0));
    let mut reply = Reply::read(link.call(&BEAT, &command)?)?;
    if reply.number()? > 0 {
        view.want_retake();
    }
    view.settled(&reply.news)
}
