//! Clients that come, read, stall, are cut, resume and go, until the load is over; then they read what is left.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use livespan::LiveSpans;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    ledger::Ledger,
    load::{LongTraces, dropped},
    random::Random,
    sequence::{Follow, Sequence},
    wire::{Opened, Stream},
};

/// How long the last events may take to reach a client that reads.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    /// The load is over and this is the newest event.
    Drain(u64),
}

/// What all clients share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) live: LiveSpans,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) traces: Arc<LongTraces>,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl World {
    /// Waits, but not longer than the load goes on.
    async fn pause(&mut self, length: Duration) {
        let over = self.phase.wait_for(|phase| *phase != Phase::Load);
        timeout(length, over).await.ok();
    }

    fn is_load(&self) -> bool {
        *self.phase.borrow() == Phase::Load
    }
}

/// What a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Everything,
    OneTrace,
    /// The reports of drops, without a pause.
    Drops,
}

/// Why a client does not read its stream any more.
enum Left {
    /// It comes back and resumes.
    Cut,
    /// There is nothing more for it, or it does not want it.
    Over,
}

pub(crate) struct Client {
    world: World,
    kind: Kind,
    name: String,
    random: Random,
}

impl Client {
    pub(crate) fn new(world: World, kind: Kind, number: usize) -> Self {
        Self {
            world,
            kind,
            name: format!("client {number} ({kind:?})"),
            random: Random::new(number as u64 + 1),
        }
    }

    pub(crate) async fn run(mut self) {
        // They do not all come at once.
        if self.kind != Kind::Drops {
            let wait = self.random.milliseconds(0..4_000);
            self.world.pause(wait).await;
        }
        while self.world.is_load() {
            let follow = match self.kind {
                Kind::Everything => Follow::Everything,
                Kind::Drops => Follow::Drops,
                Kind::OneTrace => {
                    let Some(trace) = self.world.traces.pick(&mut self.random) else {
                        self.world.pause(Duration::from_millis(200)).await;
                        continue;
                    };
                    Follow::Trace(trace)
                }
            };
            self.follow(follow).await;
            let away = self.random.milliseconds(0..3_000);
            self.world.pause(away).await;
        }
    }

    /// Reads one thing, over as many connections as it takes.
    async fn follow(&mut self, follow: Follow) {
        let path = match &follow {
            Follow::Everything => "/sse".to_owned(),
            Follow::Drops => "/sse?type=gap".to_owned(),
            Follow::Trace(trace) => format!("/traces/{}/sse?until=end", trace.id),
        };
        let ledger = Arc::clone(&self.world.ledger);
        let mut sequence = Sequence::new(self.name.clone(), follow, ledger);
        loop {
            let last_id = sequence.last_id();
            let ledger = &self.world.ledger;
            match &last_id {
                None => ledger.fresh.add(1),
                Some(_) => ledger.resumed.add(1),
            }
            let mut stream = match Stream::open(self.world.address, &path, last_id.as_deref()).await
            {
                Ok(Opened::Stream(stream)) => stream,
                Ok(Opened::NoContent) => {
                    sequence.no_content(dropped(&self.world.live));
                    return;
                }
                Err(error) => {
                    let name = &self.name;
                    ledger.violate(format!("{name} cannot open {path}: {error}"));
                    return;
                }
            };
            sequence.connected();
            let left = self.visit(&mut stream, &mut sequence).await;
            self.world.ledger.bytes.add(stream.bytes);
            match left {
                Ok(Left::Over) => return,
                Ok(Left::Cut) => {
                    drop(stream);
                    let away = self.random.milliseconds(50..15_000);
                    self.world.pause(away).await;
                }
                Err(what) => {
                    let (name, last) = (&self.name, sequence.last());
                    let ledger = &self.world.ledger;
                    ledger.violate(format!("{name} after {last}: {what}"));
                    return;
                }
            }
        }
    }

    /// One connection: reads for a while, then stalls and goes on, is cut, or goes.
    async fn visit(
        &mut self,
        stream: &mut Stream,
        sequence: &mut Sequence,
    ) -> Result<Left, String> {
        loop {
            let length = match self.kind {
                Kind::Drops => Duration::from_secs(u64::from(u32::MAX)),
                Kind::Everything | Kind::OneTrace => self.random.milliseconds(500..12_000),
            };
            if self.read(stream, sequence, length).await? {
                return Ok(Left::Over);
            }
            match self.random.below(10) {
                0..=3 => {
                    self.world.ledger.stalls.add(1);
                    let stall = self.random.milliseconds(500..25_000);
                    self.world.pause(stall).await;
                }
                4..=8 => return Ok(Left::Cut),
                _ => return Ok(Left::Over),
            }
        }
    }

    /// Reads for a while, and after the load to the end; whether there is nothing more to come.
    async fn read(
        &mut self,
        stream: &mut Stream,
        sequence: &mut Sequence,
        length: Duration,
    ) -> Result<bool, String> {
        let begun = Instant::now();
        let mut drained = None;
        loop {
            while let Some(frame) = stream.next_frame() {
                sequence.take(&frame?);
            }
            if self.is_over(sequence)? {
                return Ok(true);
            }
            let phase = *self.world.phase.borrow();
            let deadline = if let Phase::Drain(head) = phase {
                if self.kind != Kind::OneTrace && sequence.last() >= head {
                    return Ok(true);
                }
                *drained.get_or_insert_with(Instant::now) + DRAIN_TIMEOUT
            } else {
                begun + length
            };
            let over = self.world.phase.wait_for(|phase| *phase != Phase::Load);
            tokio::select! {
                read = timeout_at(deadline, stream.fill()) => match read {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return Err("the stream ended without saying so".to_owned()),
                    Ok(Err(error)) => return Err(error.to_string()),
                    Err(_) if phase == Phase::Load => return Ok(false),
                    Err(_) => return Err(format!("{phase:?} was not reached in {DRAIN_TIMEOUT:?}")),
                },
                _ = over, if phase == Phase::Load => {}
            }
            // The deadline of a busy stream would never be looked at.
            if phase == Phase::Load && Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// Whether the stream said its end, or will not because its trace is forgotten.
    fn is_over(&self, sequence: &Sequence) -> Result<bool, String> {
        match sequence.end.as_deref() {
            None => Ok(sequence.forgotten),
            Some("complete") => {
                sequence.check_complete(dropped(&self.world.live));
                Ok(true)
            }
            Some(reason) => Err(format!("it ended as {reason}")),
        }
    }
}
