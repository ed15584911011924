//! Follows other livespans: reads their streams and appends each event to the log here as it is. A [`Follower`] reads one
//! of them; the [`listener`] takes the announcements of programs that join.

mod follower;
pub(crate) mod listener;
mod positions;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use livespan::LiveSpans;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    follow::{follower::Follower, positions::Positions},
    http::Client,
};

/// Upper bound on the livespans that are followed at once.
pub(crate) const FOLLOWED_MAX: usize = 256;

/// Upper bound on the wait for the last events of all of them.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// What it means when nothing listens at the address any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A program of this machine that joined: it is gone.
    Joined,
    /// A livespan that runs elsewhere: it may come back.
    Remote,
}

/// What all followers of one log have read.
#[derive(Debug, Default)]
struct Progress {
    positions: Positions,
    /// Batches that were stored.
    batches: AtomicU64,
}

/// The livespans that this log follows. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Followers {
    live: LiveSpans,
    addresses: Arc<Mutex<HashSet<String>>>,
    count: Arc<watch::Sender<usize>>,
    progress: Arc<Progress>,
}

impl Followers {
    pub(crate) fn new(live: &LiveSpans) -> Self {
        Self {
            live: live.clone(),
            addresses: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
            progress: Arc::default(),
        }
    }

    /// Follows a livespan, unless it is followed already. Returns `false` if there are too many.
    pub(crate) fn follow(&self, client: Client, source: Source) -> bool {
        let address = client.address().to_string();
        {
            let mut addresses = self.addresses();
            if addresses.contains(&address) {
                return true;
            }
            if addresses.len() >= FOLLOWED_MAX {
                return false;
            }
            addresses.insert(address.clone());
        }
        self.count.send_modify(|count| *count += 1);
        let followers = self.clone();
        tokio::spawn(async move {
            let progress = Arc::clone(&followers.progress);
            Follower::new(&followers.live, (client, source), progress)
                .run()
                .await;
            followers.addresses().remove(&address);
            followers.count.send_modify(|count| *count -= 1);
        });
        true
    }

    /// Waits until nothing is followed any more, or nothing has come for a while.
    pub(crate) async fn settled(&self, quiet_time: Duration) {
        let mut count = self.count.subscribe();
        let begun = Instant::now();
        let mut before = None;
        while begun.elapsed() < SETTLE_TIMEOUT {
            let batches = self.progress.batches.load(Ordering::Relaxed);
            if before.replace(batches) == Some(batches) {
                return;
            }
            if timeout(quiet_time, count.wait_for(|count| *count == 0))
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    fn addresses(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
