//! The critical path of a trace: the spans that determined its duration. The search begins with the root, and goes
//! backwards from the end of each span on the path. At each point it adds the child that ended last before that point
//! to the path, and continues at that child's start. Pure.

use crate::{report::trace::spans::TraceSpans, util::hash::Map};

/// Returns for each span whether it is on the critical path.
pub(crate) fn critical_path(trace: &TraceSpans) -> Vec<bool> {
    let mut children: Map<usize, Vec<usize>> = Map::default();
    for (index, span) in trace.spans.iter().enumerate() {
        let parent = span.parent.and_then(|parent| trace.index_of(parent));
        if let Some(parent) = parent.filter(|parent| *parent != index) {
            children.entry(parent).or_default().push(index);
        }
    }
    let end_of = |index: usize| {
        let span = trace.spans.get(index);
        span.map_or(0, |span| span.end.unwrap_or(trace.at).nanos())
    };
    let start_of = |index: usize| trace.spans.get(index).map_or(0, |span| span.start.nanos());
    for below in children.values_mut() {
        below.sort_by_key(|index| end_of(*index));
    }
    let mut is_on = vec![false; trace.spans.len()];
    let root = trace.root().and_then(|root| trace.index_of(root.id));
    let mut next: Vec<usize> = root.into_iter().collect();
    while let Some(index) = next.pop() {
        match is_on.get_mut(index) {
            Some(mark) if !*mark => *mark = true,
            _ => continue,
        }
        let mut until = end_of(index);
        // The children are sorted by their ends. A child that outlives its parent did not delay it.
        for child in children
            .remove(&index)
            .unwrap_or_default()
            .into_iter()
            .rev()
        {
            if end_of(child) <= until && start_of(child) < until {
                next.push(child);
                until = start_of(child);
            }
        }
    }
    is_on
}
