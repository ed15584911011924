//! Where readers ask: questions go to the store's own threads, the answers come back through a channel, so that a reader
//! never blocks and needs no runtime. The same question of many is asked once.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError},
};

use tokio::sync::oneshot;

use crate::{
    store::redis::{
        blocking_read::Bell,
        config::Settings,
        connection::Link,
        error::{Fault, FaultKind},
        known_state::View,
        queries::{self, Answer, Ask},
    },
    util::sync::{Condvar, Mutex, lock},
};

/// What an asker gets.
pub(crate) type Answered = Result<Arc<Answer>, Fault>;

#[derive(Debug, Default)]
pub(crate) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    /// Who waits for the answer to a question that is not asked yet.
    waiting: HashMap<Ask, Vec<oneshot::Sender<Answered>>>,
    /// Who came while the question was being asked: the answer may be older than what they know of, so it is asked once
    /// more, for all of them.
    late: HashMap<Ask, Vec<oneshot::Sender<Answered>>>,
    stopped: bool,
}

#[derive(Debug)]
enum Job {
    Read(Ask),
    Ring(Arc<Bell>),
}

impl Desk {
    pub(crate) fn ask(&self, ask: Ask) -> oneshot::Receiver<Answered> {
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        if state.stopped {
            drop(sender.send(Err(closed())));
            return receiver;
        }
        if let Some(askers) = state.late.get_mut(&ask) {
            askers.push(sender);
        } else if let Some(askers) = state.waiting.get_mut(&ask) {
            askers.push(sender);
        } else {
            state.waiting.insert(ask.clone(), vec![sender]);
            state.queue.push_back(Job::Read(ask));
            self.changed.notify_one();
        }
        receiver
    }

    /// Has a wait in Redis ended.
    pub(crate) fn ring(&self, bell: &Arc<Bell>) {
        let mut state = lock(&self.state);
        if !state.stopped {
            // Readers may wait for it.
            state.queue.push_front(Job::Ring(Arc::clone(bell)));
            self.changed.notify_one();
        }
    }

    /// Ends the threads; who still waits for an answer gets an error.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.queue.clear();
        let left: Vec<_> = state.waiting.drain().collect();
        drop(state);
        self.changed.notify_all();
        for sender in left.into_iter().flat_map(|(_, askers)| askers) {
            drop(sender.send(Err(closed())));
        }
    }

    /// Runs on each of the threads until they are stopped.
    pub(crate) fn run(&self, settings: &Arc<Settings>, view: &View) {
        let mut link = Link::new(Arc::clone(settings));
        while let Some(job) = self.next() {
            match job {
                Job::Ring(bell) => bell.ring(&mut link),
                Job::Read(ask) => {
                    let askers = self.begin(&ask);
                    // Those who asked may be gone by now.
                    if askers.iter().any(|asker| !asker.is_closed()) {
                        let answer = queries::read(&mut link, view, &ask).map(Arc::new);
                        for asker in askers {
                            drop(asker.send(answer.clone()));
                        }
                    }
                    self.end(ask);
                }
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn begin(&self, ask: &Ask) -> Vec<oneshot::Sender<Answered>> {
        let mut state = lock(&self.state);
        state.late.insert(ask.clone(), Vec::new());
        state.waiting.remove(ask).unwrap_or_default()
    }

    fn end(&self, ask: Ask) {
        let mut state = lock(&self.state);
        let late = state.late.remove(&ask).unwrap_or_default();
        if late.is_empty() {
            return;
        }
        if state.stopped {
            drop(state);
            for asker in late {
                drop(asker.send(Err(closed())));
            }
        } else {
            state.waiting.insert(ask.clone(), late);
            state.queue.push_back(Job::Read(ask));
            self.changed.notify_one();
        }
    }
}

fn closed() -> Fault {
    Fault::new(FaultKind::Refused, "the store is closed")
}
