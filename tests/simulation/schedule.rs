//! Chooses the task that runs next at each point of a run. A seed determines the choices.

use std::collections::HashMap;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use crate::{clock, random::Random};

/// The way in which tasks take turns.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Any task may run next.
    Anyone,
    /// The running task mostly continues, so that others fall far behind.
    Sticky,
    /// The tasks have a random order, which sometimes changes. The first task in this order that
    /// can run runs until it waits.
    Ranked,
}

/// The schedule of one run.
#[derive(Debug)]
pub(crate) struct Seeded {
    random: Random,
    seed: Option<u64>,
    manner: Manner,
    /// Whether time also passes while tasks could run.
    is_eager: bool,
    /// Whether parked tasks have spurious wake-ups. These can hide a missing wake-up.
    is_restless: bool,
    ranks: HashMap<usize, u64>,
    /// The average number of points after which the order changes.
    patience: usize,
}

impl Seeded {
    pub(crate) fn new(seed: u64, is_eager: bool) -> Self {
        let mut random = Random::new(seed);
        let is_restless = random.once_in(4);
        let patience = random.one_of(&[40, 4000]);
        Self {
            manner: random.one_of(&[Manner::Anyone, Manner::Sticky, Manner::Ranked]),
            random,
            seed: Some(seed),
            is_eager,
            is_restless,
            ranks: HashMap::new(),
            patience,
        }
    }

    fn first(&mut self, others: &[TaskId]) -> Option<TaskId> {
        if self.random.once_in(self.patience) {
            self.ranks.clear();
        }
        let (random, ranks) = (&mut self.random, &mut self.ranks);
        let rank = |task: &&TaskId| {
            *ranks
                .entry(usize::from(**task))
                .or_insert_with(|| random.bits())
        };
        others.iter().min_by_key(rank).copied()
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.seed.take().map(Schedule::new)
    }

    fn next_task(
        &mut self,
        runnable_tasks: &[&Task],
        current_task: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let clock = TaskId::from(clock::TASK);
        let wakes_for_nothing = self.is_restless && self.random.once_in(50);
        let others: Vec<TaskId> = runnable_tasks
            .iter()
            .filter(|task| task.id() != clock && (task.runnable() || wakes_for_nothing))
            .map(|task| task.id())
            .collect();
        let time_may_pass = runnable_tasks
            .iter()
            .any(|task| task.id() == clock && task.runnable());
        if time_may_pass && (others.is_empty() || (self.is_eager && self.random.once_in(16))) {
            return Some(clock);
        }
        if others.is_empty() {
            // No task can ever continue. A spurious wake-up would hide this.
            return None;
        }
        let anyone = self.random.one_of(&others);
        let goes_on = current_task.filter(|id| !is_yielding && others.contains(id));
        match self.manner {
            Manner::Anyone => Some(anyone),
            Manner::Sticky if self.random.once_in(10) => Some(anyone),
            Manner::Sticky => Some(goes_on.unwrap_or(anyone)),
            Manner::Ranked if is_yielding => Some(anyone),
            Manner::Ranked => self.first(&others),
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.random.bits()
    }
}
