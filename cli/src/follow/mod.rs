//! Follows other livespans: reads their streams and appends each event to our log. A gap of the other log becomes a
//! report of drops. A [`Follower`] reads the stream of one livespan. The [`listener`] receives the announcements of
//! programs that join.

mod follower;
pub(crate) mod listener;
mod positions;
pub(crate) mod saved;
mod stored_before;

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use livespan::LiveSpans;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    console,
    follow::{follower::Follower, listener::Invitation, positions::Positions, saved::Saved},
    http::{Address, Client},
};

/// Upper bound on the livespans that are followed at the same time.
pub(crate) const FOLLOWED_MAX: usize = 256;

/// The time after which [`Followers::wait_until_quiet`] gives up.
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);
/// The interval at which changed positions are saved.
const SAVE_INTERVAL: Duration = Duration::from_millis(100);

/// The kind of a followed livespan. It decides what a refused connection means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A program on this machine that joined. If its address refuses a connection, the program is
    /// gone.
    Joined,
    /// A livespan elsewhere. It may come back.
    Remote,
}

/// The combined progress of a log's followers.
#[derive(Debug, Default)]
struct Progress {
    positions: Positions,
    /// The number of stored batches.
    batches: AtomicU64,
}

/// The livespans that this log follows. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Followers {
    live: LiveSpans,
    addresses: Arc<Mutex<HashSet<String>>>,
    count: Arc<watch::Sender<usize>>,
    progress: Arc<Progress>,
    kept: Arc<Kept>,
}

/// The state for a later run of this program.
#[derive(Debug, Default)]
struct Kept {
    /// `None` if our log does not outlive this program.
    file: Option<PathBuf>,
    invitation: Mutex<Option<Invitation>>,
    has_warned: AtomicBool,
    /// Locked while the file is written.
    writing: tokio::sync::Mutex<()>,
}

impl Followers {
    pub(crate) fn new(live: &LiveSpans) -> Self {
        Self {
            live: live.clone(),
            addresses: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
            progress: Arc::default(),
            kept: Arc::default(),
        }
    }

    /// Resumes from an earlier run's state, and keeps the file up to date for the next run. Again
    /// follows the programs that had joined.
    pub(crate) fn resume(live: &LiveSpans, file: PathBuf, saved: Saved) -> Self {
        let followers = Self {
            kept: Arc::new(Kept {
                file: Some(file),
                invitation: Mutex::new(saved.invitation),
                ..Kept::default()
            }),
            ..Self::new(live)
        };
        let mut joined = Vec::new();
        for position in saved.logs {
            let address = Address::parse(&position.address).ok();
            let token = position.joined.as_ref().map(|joined| joined.token.clone());
            joined.extend(address.zip(token));
            followers.progress.positions.restore(position);
        }
        for (address, token) in joined {
            followers.follow(Client::new(address, Some(token)), Source::Joined);
        }
        let saving = followers.clone();
        tokio::spawn(async move {
            let mut turns = interval(SAVE_INTERVAL);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                saving.save().await;
            }
        });
        followers
    }

    /// Saves the positions if they have changed.
    pub(crate) async fn save(&self) {
        let Some(file) = self.kept.file.clone() else {
            return;
        };
        let _writing = self.kept.writing.lock().await;
        let Some(logs) = self.progress.positions.to_save(self.live.status().head) else {
            return;
        };
        let invitation = self.invitation();
        let shown = file.display().to_string();
        let saved = Saved { invitation, logs };
        let problem = match tokio::task::spawn_blocking(move || saved.write(&file)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.progress.positions.save_again();
        if !self.kept.has_warned.swap(true, Ordering::Relaxed) {
            console::print_message(&format!(
                "failed to write {shown}: {problem}; after a crash, followed events may be stored twice"
            ));
        }
    }

    fn invitation(&self) -> Option<Invitation> {
        self.kept_invitation().clone()
    }

    fn save_invitation(&self, invitation: &Invitation) {
        *self.kept_invitation() = Some(invitation.clone());
        self.progress.positions.save_again();
    }

    fn kept_invitation(&self) -> MutexGuard<'_, Option<Invitation>> {
        let invitation = self.kept.invitation.lock();
        invitation.unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a livespan, unless it is already followed. Returns `false` if too many are followed.
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
            Follower::new(&followers, client, source).run().await;
            followers.addresses().remove(&address);
            followers.count.send_modify(|count| *count -= 1);
        });
        true
    }

    /// Waits until no livespan is followed any more, or no event was stored for `quiet_time`. Gives up after about
    /// [`QUIET_TIMEOUT`].
    pub(crate) async fn wait_until_quiet(&self, quiet_time: Duration) {
        let mut count = self.count.subscribe();
        let begun = Instant::now();
        let mut before = None;
        while begun.elapsed() < QUIET_TIMEOUT {
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

    fn addresses(&self) -> MutexGuard<'_, HashSet<String>> {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
