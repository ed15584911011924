//! What this process knows of the log: its lives, its head, its oldest event. Every answer refreshes it; reading it never
//! blocks. What is known here is what no later life of the log may contradict.

use std::sync::Arc;

use crate::{
    store::{
        Life,
        redis::{
            error::Fault,
            heartbeat_timer::Pulse,
            reply::{self, News},
        },
    },
    util::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        lock,
    },
    wire::id::{Epoch, Sequence},
};

#[derive(Debug)]
pub(crate) struct View {
    known: Mutex<Known>,
    oldest: AtomicU64,
    /// Whether the log in Redis contradicts what is known: the next heartbeat settles it.
    contradicted: AtomicBool,
    pulse: Arc<Pulse>,
    /// Whether Redis had given this writer up, or has lost what it wrote.
    retake: AtomicBool,
}

/// The lives, and the newest sequence that was seen with the epoch that it was seen in.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) lives: Arc<[Life]>,
    pub(crate) lives_text: String,
    pub(crate) epoch: String,
    pub(crate) head: u64,
}

impl View {
    pub(crate) fn new(pulse: Arc<Pulse>) -> Self {
        // Until the log is open nothing has a number, so this life names nothing.
        let life = Life {
            epoch: Epoch::random(),
            first: Sequence::new(1),
        };
        Self {
            known: Mutex::new(Known {
                lives: Arc::new([life]),
                lives_text: String::new(),
                epoch: String::new(),
                head: 0,
            }),
            oldest: AtomicU64::new(1),
            contradicted: AtomicBool::new(false),
            pulse,
            retake: AtomicBool::new(false),
        }
    }

    pub(crate) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    pub(crate) fn lives(&self) -> Arc<[Life]> {
        Arc::clone(&lock(&self.known).lives)
    }

    pub(crate) fn oldest(&self) -> Sequence {
        Sequence::new(self.oldest.load(Ordering::Acquire))
    }

    pub(crate) fn want_retake(&self) {
        self.retake.store(true, Ordering::Release);
    }

    pub(crate) fn take_retake(&self) -> bool {
        self.retake.swap(false, Ordering::AcqRel)
    }

    /// Takes what a script that writes said: it has settled what this process knew.
    pub(crate) fn settled(&self, news: &News) -> Result<(), Fault> {
        let mut known = lock(&self.known);
        if let Some(text) = &news.lives {
            let first_time = known.epoch.is_empty();
            known.learn(text)?;
            if !first_time {
                // Openings of this writer may be lost with the life before.
                self.want_retake();
            }
        }
        // A slower answer of another thread may be older than what is known.
        known.head = known.head.max(news.head);
        self.oldest.fetch_max(news.oldest, Ordering::AcqRel);
        self.contradicted.store(false, Ordering::Release);
        Ok(())
    }

    /// Takes what a read said.
    pub(crate) fn read(&self, news: &News) -> Result<(), Fault> {
        let mut known = lock(&self.known);
        let lives = match &news.lives {
            Some(text) => reply::lives(text)?.into(),
            None => Arc::clone(&known.lives),
        };
        if known.is_contradicted_by(&lives, news) {
            if !self.contradicted.swap(true, Ordering::AcqRel) {
                self.pulse.hasten();
            }
            // What is read now belongs to these lives all the same.
            known.lives = lives;
        } else {
            if let Some(text) = &news.lives {
                known.learn(text)?;
                self.want_retake();
            }
            known.head = known.head.max(news.head);
        }
        self.oldest.fetch_max(news.oldest, Ordering::AcqRel);
        Ok(())
    }
}

impl Known {
    fn learn(&mut self, text: &str) -> Result<(), Fault> {
        let lives = reply::lives(text)?;
        let last = lives.last().ok_or_else(Fault::unexpected)?;
        let newest = self.lives.last().map_or(0, |life| life.first.get());
        if !self.epoch.is_empty() && last.first.get() < newest {
            // An answer that was overtaken by a newer one.
            return Ok(());
        }
        last.epoch.as_str().clone_into(&mut self.epoch);
        text.clone_into(&mut self.lives_text);
        self.lives = lives.into();
        Ok(())
    }

    fn is_contradicted_by(&self, lives: &[Life], news: &News) -> bool {
        let place = lives
            .iter()
            .position(|life| life.epoch.as_str() == self.epoch);
        match place.map(|place| lives.get(place + 1)) {
            None => self.head > 0,
            Some(Some(next)) => next.first.get() <= self.head,
            // An answer that was overtaken by a newer one looks the same: to ask once more costs little.
            Some(None) => news.head < self.head,
        }
    }
}
