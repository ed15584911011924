//! The heartbeat thread `livespan-beat`. It reports to Redis that this process lives, with its newest sequence and
//! epoch. When the store is closed, it reports that the process leaves. It ends no spans: `takeover` finds the
//! processes whose heartbeats are missing, and takes over their open events.

use std::{sync::Arc, time::Duration};

use crate::{
    store::redis::{
        append::begin,
        client::{
            connection::Connection,
            error::StoreError,
            reply::Reply,
            scripts::{HEARTBEAT, LEAVE},
        },
        config::Settings,
        heartbeat_timer::HeartbeatTimer,
        known_state::KnownState,
    },
    util::sync::{Instant, catch_panic},
};

/// Shortest delay before a failed heartbeat is sent again, unless the heartbeat interval is shorter.
const RETRY: Duration = Duration::from_millis(200);

/// The loop of the thread, until the timer is stopped.
pub(crate) fn run(
    heartbeat_timer: &HeartbeatTimer,
    writer: &str,
    settings: &Arc<Settings>,
    known: &KnownState,
) {
    let mut connection = Connection::new(Arc::clone(settings));
    let mut interval = settings.heartbeat;
    while heartbeat_timer.wait(interval) {
        // A panic must not end the thread: without heartbeats, other processes would consider this one dead.
        let sent = catch_panic(|| {
            let (is_tried, begun) = (connection.delay().is_zero(), Instant::now());
            let sent = send_heartbeat(&mut connection, writer, known);
            if is_tried {
                known.note_outcome(begun, &sent);
            }
            sent
        });
        interval = match sent {
            Some(Ok(())) => settings.heartbeat,
            // The connection has its own back-off. While a new epoch forms, the next heartbeat follows soon.
            Some(Err(_)) | None => settings.heartbeat.min(RETRY.max(connection.delay())),
        };
    }
    let mut command = connection.script(&LEAVE, 1, writer.len());
    command.arg(writer);
    // If this fails, other processes notice that heartbeats are missing.
    catch_panic(|| drop(connection.call(&LEAVE, &command)));
    heartbeat_timer.end();
}

fn send_heartbeat(
    connection: &mut Connection,
    writer: &str,
    known: &KnownState,
) -> Result<(), StoreError> {
    let command = begin(connection, &HEARTBEAT, writer, known, (0, 0));
    let mut reply = Reply::read(connection.call(&HEARTBEAT, &command)?)?;
    if reply.number()? > 0 {
        known.request_reclaim();
    }
    known.set_kept(reply.streams()?);
    known.apply_write_reply(&reply.state)
}
