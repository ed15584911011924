//! Clients that connect, read, stall, disconnect, resume and leave until the load is over. Then those that still follow
//! a stream read its remaining events. Each client runs on a task of its own.

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

/// Time limit for the last events to reach a client that reads.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The phase of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Load,
    /// The load is over. The number is the sequence of the newest event.
    Drain(u64),
}

/// The state that all clients share.
#[derive(Clone)]
pub(crate) struct SoakState {
    pub(crate) address: SocketAddr,
    pub(crate) live: LiveSpans,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) traces: Arc<LongTraces>,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl SoakState {
    /// Pauses for this long, but not beyond the end of the load.
    async fn pause(&mut self, length: Duration) {
        let over = self.phase.wait_for(|phase| *phase != Phase::Load);
        timeout(length, over).await.ok();
    }

    fn is_load(&self) -> bool {
        *self.phase.borrow() == Phase::Load
    }
}

/// The stream that a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Everything,
    OneTrace,
    /// The reports of drops, read without a pause.
    Drops,
}

/// The reason why a client stopped reading its stream.
enum Left {
    /// The client disconnects, and resumes later.
    Cut,
    /// The stream has ended, or the client leaves it for good.
    Over,
}

pub(crate) struct Client {
    state: SoakState,
    kind: Kind,
    name: String,
    random: Random,
}

impl Client {
    pub(crate) fn new(state: SoakState, kind: Kind, number: usize) -> Self {
        Self {
            state,
            kind,
            name: format!("client {number} ({kind:?})"),
            random: Random::new(number as u64 + 1),
        }
    }

    pub(crate) async fn run(mut self) {
        // Each client waits for a random time first, so that they do not all connect at once.
        if self.kind != Kind::Drops {
            let wait = self.random.milliseconds(0..4_000);
            self.state.pause(wait).await;
        }
        while self.state.is_load() {
            let follow = match self.kind {
                Kind::Everything => Follow::Everything,
                Kind::Drops => Follow::Drops,
                Kind::OneTrace => {
                    let Some(trace) = self.state.traces.pick(&mut self.random) else {
                        self.state.pause(Duration::from_millis(200)).await;
                        continue;
                    };
                    Follow::Trace(trace)
                }
            };
            self.follow(follow).await;
            let away = self.random.milliseconds(0..3_000);
            self.state.pause(away).await;
        }
    }

    /// Follows one stream, over as many connections as needed.
    async fn follow(&mut self, follow: Follow) {
        let path = match &follow {
            Follow::Everything => "/sse".to_owned(),
            Follow::Drops => "/sse?type=gap".to_owned(),
            Follow::Trace(trace) => format!("/traces/{}/sse?until=end", trace.id),
        };
        let ledger = Arc::clone(&self.state.ledger);
        let mut sequence = Sequence::new(self.name.clone(), follow, ledger);
        loop {
            let last_id = sequence.last_id();
            let ledger = &self.state.ledger;
            match &last_id {
                None => ledger.fresh.add(1),
                Some(_) => ledger.resumed.add(1),
            }
            let mut stream = match Stream::open(self.state.address, &path, last_id.as_deref()).await
            {
                Ok(Opened::Stream(stream)) => stream,
                Ok(Opened::NoContent) => {
                    sequence.no_content(dropped(&self.state.live));
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
            self.state.ledger.bytes.add(stream.bytes);
            match left {
                Ok(Left::Over) => return,
                Ok(Left::Cut) => {
                    drop(stream);
                    let away = self.random.milliseconds(50..15_000);
                    self.state.pause(away).await;
                }
                Err(what) => {
                    let (name, last) = (&self.name, sequence.last());
                    let ledger = &self.state.ledger;
                    ledger.violate(format!("{name} after {last}: {what}"));
                    return;
                }
            }
        }
    }

    /// Runs one connection: reads for a while, then stalls and continues, disconnects, or leaves.
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
                    self.state.ledger.stalls.add(1);
                    let stall = self.random.milliseconds(500..25_000);
                    self.state.pause(stall).await;
                }
                4..=8 => return Ok(Left::Cut),
                _ => return Ok(Left::Over),
            }
        }
    }

    /// Reads for a while, or to the end once the load is over. Returns whether the client needs no more events.
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
            let phase = *self.state.phase.borrow();
            let deadline = if let Phase::Drain(head) = phase {
                if self.kind != Kind::OneTrace && sequence.last() >= head {
                    return Ok(true);
                }
                *drained.get_or_insert_with(Instant::now) + DRAIN_TIMEOUT
            } else {
                begun + length
            };
            let over = self.state.phase.wait_for(|phase| *phase != Phase::Load);
            tokio::select! {
                read = timeout_at(deadline, stream.fill()) => match read {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return Err("the stream ended without an end event".to_owned()),
                    Ok(Err(error)) => return Err(error.to_string()),
                    Err(_) if phase == Phase::Load => return Ok(false),
                    Err(_) => return Err(format!("the client did not catch up within {DRAIN_TIMEOUT:?}: {phase:?}")),
                },
                _ = over, if phase == Phase::Load => {}
            }
            // The timeout of a read never fires on a busy stream, so the deadline is also checked here.
            if phase == Phase::Load && Instant::now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// Returns whether the client needs no more events of its stream. This is the case at the end
    /// of the stream, or if the log has forgotten the trace, because then no end will come. Fails if
    /// the stream ended for a reason other than `complete`.
    fn is_over(&self, sequence: &Sequence) -> Result<bool, String> {
        match sequence.end.as_deref() {
            None => Ok(sequence.forgotten),
            Some("complete") => {
                sequence.check_complete(dropped(&self.state.live));
                Ok(true)
            }
            Some(reason) => Err(format!("the stream ended with the reason {reason}")),
        }
    }
}
