//! Chooses the spans of a tree that a short text shows: first those that the caller marks as
//! important, with the spans above them, then the others in order. Of siblings with one name, only
//! the first three are chosen in order. The omitted spans are counted at the nearest shown span
//! above them. Pure.

use std::collections::HashMap;

use crate::report::text::{Count, SpanText};

/// The number of siblings with one name that are shown. Further ones are only counted.
const SIBLINGS_SHOWN: usize = 3;

/// The properties of a span on which the choice depends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutlineSpan<'a> {
    /// The number of spans above this span.
    pub(crate) depth: usize,
    pub(crate) name: &'a str,
    /// The span's age or duration.
    pub(crate) nanos: u64,
}

/// The shown spans, and the places where the others are counted.
#[derive(Debug)]
pub(crate) struct Outline {
    shown: Vec<bool>,
    /// The counts by the index of the span after which they are printed.
    hidden: HashMap<usize, Vec<HiddenSpans>>,
}

/// A count of omitted spans below one shown span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HiddenSpans {
    pub(crate) depth: usize,
    pub(crate) count: u64,
    /// The most frequent name of the omitted spans. `named` counts the spans with this name.
    pub(crate) name: String,
    pub(crate) named: u64,
    pub(crate) longest: u64,
    pub(crate) shortest: u64,
}

impl Outline {
    /// Chooses at most `max` of these spans, which are in tree order. The spans at the indexes
    /// `first` are chosen before all others.
    pub(crate) fn of(
        spans: &[OutlineSpan<'_>],
        first: impl Iterator<Item = usize>,
        max: usize,
    ) -> Self {
        let parents = parents(spans);
        let mut shown = vec![false; spans.len()];
        let mut left = max;
        let mut show = |index: usize, shown: &mut Vec<bool>| {
            let path = path_to_shown(index, &parents, shown);
            let fits = path.len() <= left;
            if fits {
                left -= path.len();
                for step in path {
                    if let Some(is_shown) = shown.get_mut(step) {
                        *is_shown = true;
                    }
                }
            }
        };
        for index in first {
            show(index, &mut shown);
        }
        let mut siblings: HashMap<(Option<usize>, &str), usize> = HashMap::new();
        let mut is_folded = vec![false; spans.len()];
        for (index, span) in spans.iter().enumerate() {
            let parent = parents.get(index).copied().flatten();
            let earlier = siblings.entry((parent, span.name)).or_default();
            *earlier += 1;
            let below_folded =
                parent.is_some_and(|parent| is_folded.get(parent).copied().unwrap_or(false));
            if *earlier > SIBLINGS_SHOWN || below_folded {
                if let Some(folded) = is_folded.get_mut(index) {
                    *folded = true;
                }
            } else {
                show(index, &mut shown);
            }
        }
        let hidden = count_hidden(spans, &parents, &shown);
        Self { shown, hidden }
    }

    pub(crate) fn is_shown(&self, index: usize) -> bool {
        self.shown.get(index).copied().unwrap_or(false)
    }

    /// Returns the number of shown spans.
    pub(crate) fn shown(&self) -> u64 {
        self.shown.iter().filter(|shown| **shown).count() as u64
    }

    /// Returns the counts that are printed after this span.
    pub(crate) fn hidden_after(&self, index: usize) -> &[HiddenSpans] {
        self.hidden.get(&index).map_or(&[], Vec::as_slice)
    }
}

/// Returns the index of each span's parent.
fn parents(spans: &[OutlineSpan<'_>]) -> Vec<Option<usize>> {
    let mut above: Vec<usize> = Vec::new();
    let mut parents = Vec::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        above.truncate(span.depth);
        parents.push(above.last().copied());
        above.push(index);
    }
    parents
}

/// Returns the path from the span upwards, up to the first span that is already shown.
fn path_to_shown(index: usize, parents: &[Option<usize>], shown: &[bool]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut next = Some(index);
    while let Some(step) = next.filter(|step| shown.get(*step) == Some(&false)) {
        path.push(step);
        next = parents.get(step).copied().flatten();
    }
    path
}

/// Counts the omitted spans. Each counts at its nearest shown ancestor, and is printed after the
/// last span below that ancestor.
fn count_hidden(
    spans: &[OutlineSpan<'_>],
    parents: &[Option<usize>],
    shown: &[bool],
) -> HashMap<usize, Vec<HiddenSpans>> {
    let mut groups: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for index in (0..spans.len()).filter(|index| shown.get(*index) == Some(&false)) {
        let path = path_to_shown(index, parents, shown);
        let top = path
            .last()
            .and_then(|last| parents.get(*last).copied().flatten());
        groups.entry(top).or_default().push(index);
    }
    let mut hidden: HashMap<usize, Vec<HiddenSpans>> = HashMap::new();
    for (top, members) in groups {
        let depth = top
            .and_then(|top| spans.get(top))
            .map_or(0, |top| top.depth + 1);
        let first = top.map_or(0, |top| top + 1);
        let below = spans
            .iter()
            .skip(first)
            .take_while(|span| span.depth >= depth);
        let behind = (first + below.count()).saturating_sub(1);
        let members = members.iter().filter_map(|index| spans.get(*index));
        hidden
            .entry(behind)
            .or_default()
            .push(HiddenSpans::of(depth, members));
    }
    for groups in hidden.values_mut() {
        // The deepest come first, in the order in which the levels of a tree close.
        groups.sort_by_key(|group| std::cmp::Reverse(group.depth));
    }
    hidden
}

impl HiddenSpans {
    /// Returns the count and the most frequent name: `96 more (95 fetch)`.
    pub(crate) fn what(&self) -> String {
        let (count, named, name) = (Count(self.count), Count(self.named), SpanText(&self.name));
        if self.named == self.count {
            format!("{count} more {name}")
        } else if self.named > 1 {
            format!("{count} more ({named} {name})")
        } else {
            format!("{count} more")
        }
    }

    fn of<'a>(depth: usize, spans: impl Iterator<Item = &'a OutlineSpan<'a>>) -> Self {
        let mut hidden = Self {
            depth,
            shortest: u64::MAX,
            ..Self::default()
        };
        let mut names: HashMap<&str, u64> = HashMap::new();
        for span in spans {
            hidden.count += 1;
            hidden.longest = hidden.longest.max(span.nanos);
            hidden.shortest = hidden.shortest.min(span.nanos);
            *names.entry(span.name).or_default() += 1;
        }
        let most = names
            .into_iter()
            .max_by_key(|(name, count)| (*count, *name));
        if let Some((name, count)) = most {
            name.clone_into(&mut hidden.name);
            hidden.named = count;
        }
        hidden
    }
}
