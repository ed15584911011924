//! Sorts the open spans of a trace into tree order. Pure; it does not recurse, so any depth is
//! safe.

use std::collections::HashMap;

use crate::{
    report::running::span_now::{ParentState, SpanNow},
    util::hash::Set,
};

/// Returns the spans in tree order, with their depths set: parents come first, and siblings keep
/// the given order. A span whose parent is not in the list is at the top.
pub(crate) fn in_tree_order(spans: Vec<SpanNow>) -> Vec<SpanNow> {
    let ids: Set<String> = spans.iter().map(|span| span.span_id.clone()).collect();
    let mut children: HashMap<String, Vec<usize>> = HashMap::new();
    let mut tops = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        match &span.parent_span_id {
            Some(parent) if ids.contains(parent) => {
                children.entry(parent.clone()).or_default().push(index);
            }
            _ => tops.push(index),
        }
    }
    let mut spans: Vec<Option<SpanNow>> = spans.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(spans.len());
    // Spans whose parents form a cycle are below no top span. They come last: the first span of
    // each cycle becomes a top span, and the other spans of the cycle are below it.
    let tops: Vec<usize> = tops.into_iter().chain(0..spans.len()).collect();
    for top in tops {
        let mut next = vec![(top, 0)];
        while let Some((index, depth)) = next.pop() {
            let Some(mut span) = spans.get_mut(index).and_then(Option::take) else {
                continue;
            };
            span.depth = depth;
            let is_below = depth > 0;
            span.parent_state = span.parent_span_id.as_ref().map(|_| {
                if is_below {
                    ParentState::Open
                } else {
                    ParentState::Closed
                }
            });
            let below = children.remove(&span.span_id).unwrap_or_default();
            next.extend(below.into_iter().rev().map(|child| (child, depth + 1)));
            ordered.push(span);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>) -> SpanNow {
        SpanNow {
            span_id: id.to_owned(),
            parent_span_id: parent.map(str::to_owned),
            ..SpanNow::default()
        }
    }

    fn ordered(spans: &[(&str, Option<&str>)]) -> String {
        let spans = spans.iter().map(|(id, parent)| span(id, *parent));
        let ordered = in_tree_order(spans.collect());
        let shown = ordered
            .iter()
            .map(|span| format!("{}{}", span.span_id, span.depth));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_parent_comes_before_its_children_and_siblings_stay_in_their_order() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        assert_eq!(
            ordered(&[
                ("a", None),
                ("c", a),
                ("b", a),
                ("d", b),
                ("e", c),
                ("f", Some("x"))
            ]),
            "a0 c1 e2 b1 d2 f0"
        );
        assert_eq!(ordered(&[("a", b), ("b", a), ("c", b)]), "a0 b1 c2");
    }

    #[test]
    fn a_deep_tree_needs_no_stack() {
        let spans: Vec<SpanNow> = (0..100_000)
            .map(|depth: u32| {
                let parent = depth.checked_sub(1).map(|parent| parent.to_string());
                span(&depth.to_string(), parent.as_deref())
            })
            .collect();
        let ordered = in_tree_order(spans);
        assert!(
            ordered
                .iter()
                .enumerate()
                .all(|(place, span)| span.depth == place)
        );
    }
}
