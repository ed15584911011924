//! Rewrites an event for a reader who may see only a part of it: drops fields, attributes and links, and copies the
//! bytes of the other values unchanged. Pure.

use std::{borrow::Cow, collections::HashSet};

use crate::span::{
    event::{SpanId, TraceId},
    json,
};

/// The fields of a visible span that a view passes on, besides its attributes and its status. Scope and service are
/// left out because they reveal how a program is built. Events, links, log records, trace state and the details of a
/// panic are left out because they may contain anything.
const PROJECTED_FIELDS: &[&str] = &[
    "type",
    "traceId",
    "spanId",
    "parentSpanId",
    "name",
    "kind",
    "process",
    "state",
    "startTimestamp",
    "timestamp",
    "parentRemote",
    "lost",
    "cancelled",
    "panicked",
    "durable",
];

/// The fields of an event by which a view decides whether to show its span.
#[derive(Debug)]
pub(crate) struct ViewFields<'a> {
    pub(crate) span: SpanId,
    pub(crate) name: Cow<'a, str>,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) scope: Cow<'a, str>,
}

/// Returns the value of a field, if the event has the field and it is a string.
fn text<'a>(payload: &'a [u8], wanted: &str) -> Option<Cow<'a, str>> {
    let (_, value) = json::fields(payload).find(|(key, _)| *key == wanted.as_bytes())?;
    let plain = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if plain.contains(&b'\\') {
        return serde_json::from_slice(value).ok().map(Cow::Owned);
    }
    str::from_utf8(plain).ok().map(Cow::Borrowed)
}

/// Returns the fields by which a view decides whether to show the event's span, or `None` without a valid span id.
pub(crate) fn view_fields(payload: &[u8]) -> Option<ViewFields<'_>> {
    Some(ViewFields {
        span: text(payload, "spanId")?.parse().ok()?,
        name: text(payload, "name").unwrap_or_default(),
        kind: text(payload, "kind").unwrap_or_default(),
        scope: text(payload, "scope").unwrap_or_default(),
    })
}

/// Returns the id of the event's process.
pub(crate) fn process(payload: &[u8]) -> Option<Cow<'_, str>> {
    text(payload, "process")
}

/// Whether a view shows a span's status message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusMessages {
    Included,
    Omitted,
}

/// Returns the event of a span, reduced to the fields that a view shows and to these attributes.
pub(crate) fn project_span(
    payload: &[u8],
    attributes: &HashSet<String>,
    messages: StatusMessages,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    out.push(b'{');
    for (key, value) in json::fields(payload) {
        if PROJECTED_FIELDS.iter().any(|shown| shown.as_bytes() == key) {
            field(&mut out, key, value);
        } else if key == b"attributes" || key == b"attributeTypes" {
            let kept = filter_fields(value, |key| attributes.contains(key));
            if key == b"attributes" || kept.len() > "{}".len() {
                field(&mut out, key, &kept);
            }
        } else if key == b"status" {
            let status = filter_fields(value, |key| {
                key != "message" || messages == StatusMessages::Included
            });
            field(&mut out, key, &status);
        }
    }
    out.push(b'}');
    out
}

/// Returns the update of a shown span, reduced like [`project_span`]. Returns `None` if that leaves no attribute, no
/// status and no state. A new name is left out, because the view's rule accepted the span under its old name. When the
/// span ends, the rule decides again, by the new name: if it accepts the span, the `ended` event shows the new name.
pub(crate) fn project_update(
    payload: &[u8],
    attributes: &HashSet<String>,
    messages: StatusMessages,
) -> Option<Vec<u8>> {
    let projected = project_span(payload, attributes, messages);
    let mut out = Vec::with_capacity(projected.len());
    out.push(b'{');
    let mut is_shown = false;
    for (key, value) in json::fields(&projected) {
        let is_new = match key {
            b"name" => continue,
            b"attributes" if value == b"{}" => continue,
            b"attributes" | b"status" | b"state" => true,
            _ => false,
        };
        is_shown |= is_new;
        field(&mut out, key, value);
    }
    out.push(b'}');
    is_shown.then_some(out)
}

/// Returns the event without its links to traces outside this set, or `None` if it has no such link and can be sent
/// unchanged.
pub(crate) fn without_foreign_links(payload: &[u8], traces: &HashSet<TraceId>) -> Option<Vec<u8>> {
    let is_own = |link: &[u8]| {
        text(link, "traceId")
            .and_then(|trace| trace.parse().ok())
            .is_some_and(|trace: TraceId| traces.contains(&trace))
    };
    let (_, links) = json::fields(payload).find(|(key, _)| *key == b"links")?;
    if json::elements(links).all(is_own) {
        return None;
    }
    let mut out = Vec::with_capacity(payload.len());
    out.push(b'{');
    for (key, value) in json::fields(payload) {
        if key == b"links" {
            let own: Vec<&[u8]> = json::elements(value).filter(|link| is_own(link)).collect();
            if !own.is_empty() {
                let list = [b"[".as_slice(), &own.join(b",".as_slice()), b"]"].concat();
                field(&mut out, key, &list);
            }
        } else {
            field(&mut out, key, value);
        }
    }
    out.push(b'}');
    Some(out)
}

/// Returns the object, reduced to the fields whose keys `wanted` accepts.
fn filter_fields(object: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (key, value) in json::fields(object) {
        let quoted = [b"\"".as_slice(), key, b"\""].concat();
        let key_text: Option<Cow<'_, str>> = if key.contains(&b'\\') {
            serde_json::from_slice(&quoted).ok().map(Cow::Owned)
        } else {
            str::from_utf8(key).ok().map(Cow::Borrowed)
        };
        if key_text.is_some_and(|key| wanted(&key)) {
            field(&mut out, key, value);
        }
    }
    out.push(b'}');
    out
}

fn field(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key);
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDED: &str = concat!(
        r#"{"type":"ended","traceId":"00000000000000000000000000000001","spanId":"0000000000000002","#,
        r#""parentSpanId":null,"name":"pay \"now\"","kind":"SERVER","process":"p1","service":"shop","scope":"shop::cart","#,
        r#""status":{"code":"ERROR","message":"no } money"},"attributes":{"step":1,"db.statement":"SELECT {","a\"b":[1,{"x":2}]},"#,
        r#""attributeTypes":{"step":"int","n":"int"},"startTimestamp":"T1","timestamp":"T2","#,
        r#""events":[{"name":"exception"}],"links":[{"traceId":"00000000000000000000000000000001","spanId":"1"},"#,
        r#"{"traceId":"00000000000000000000000000000002","spanId":"2","attributes":{"a":"]"}}],"traceState":"a=b","cut":["x"]}"#
    );

    fn shown(attributes: &[&str], messages: StatusMessages) -> String {
        let attributes = attributes.iter().map(|key| (*key).to_owned()).collect();
        String::from_utf8(project_span(ENDED.as_bytes(), &attributes, messages)).unwrap()
    }

    #[test]
    fn a_view_shows_only_the_fields_that_it_names() {
        assert_eq!(
            shown(&[], StatusMessages::Omitted),
            concat!(
                r#"{"type":"ended","traceId":"00000000000000000000000000000001","spanId":"0000000000000002","#,
                r#""parentSpanId":null,"name":"pay \"now\"","kind":"SERVER","process":"p1","status":{"code":"ERROR"},"#,
                r#""attributes":{},"startTimestamp":"T1","timestamp":"T2"}"#
            )
        );
        assert_eq!(
            shown(&["step", "a\"b"], StatusMessages::Included),
            concat!(
                r#"{"type":"ended","traceId":"00000000000000000000000000000001","spanId":"0000000000000002","#,
                r#""parentSpanId":null,"name":"pay \"now\"","kind":"SERVER","process":"p1","#,
                r#""status":{"code":"ERROR","message":"no } money"},"attributes":{"step":1,"a\"b":[1,{"x":2}]},"#,
                r#""attributeTypes":{"step":"int"},"startTimestamp":"T1","timestamp":"T2"}"#
            )
        );
    }

    #[test]
    fn an_update_shows_only_fields_that_an_end_would_show() {
        let shown = |attributes: &[&str], fields: &str| {
            let payload = format!(
                r#"{{"type":"updated","traceId":"1","spanId":"2","process":"p",{fields}}}"#
            );
            let attributes = attributes.iter().map(|key| (*key).to_owned()).collect();
            let out = project_update(payload.as_bytes(), &attributes, StatusMessages::Omitted)?;
            let out = String::from_utf8(out).unwrap();
            Some(out.replace(
                r#"{"type":"updated","traceId":"1","spanId":"2","process":"p","#,
                "{",
            ))
        };
        let all = concat!(
            r#""name":"secret","status":{"code":"ERROR","message":"secret"},"state":"waiting","attributes":{"step":1,"n":"2"},"#,
            r#""attributeTypes":{"n":"int"},"task":{"polls":1},"awaiting":{"name":"secret","since":"T"},"#,
            r#""panic":{"message":"secret"},"timestamp":"T","events":[{"name":"secret"}],"links":[{}],"cut":["secret"]"#
        );
        assert_eq!(
            shown(&["step"], all).unwrap(),
            r#"{"status":{"code":"ERROR"},"state":"waiting","attributes":{"step":1},"timestamp":"T"}"#
        );
        assert_eq!(
            shown(
                &["n"],
                r#""attributes":{"step":1,"n":"2"},"attributeTypes":{"n":"int"},"timestamp":"T""#
            )
            .unwrap(),
            r#"{"attributes":{"n":"2"},"attributeTypes":{"n":"int"},"timestamp":"T"}"#
        );
        for hidden in [
            r#""name":"secret","timestamp":"T""#,
            r#""attributes":{"step":1},"timestamp":"T""#,
            r#""awaiting":null,"timestamp":"T""#,
            r#""panic":{"message":"secret"},"timestamp":"T","events":[{"name":"secret"}]"#,
        ] {
            assert_eq!(shown(&["n"], hidden), None, "{hidden}");
        }
    }

    #[test]
    fn links_to_other_traces_are_removed_and_nothing_else() {
        let trace = |number: u128| TraceId::from_bytes(number.to_be_bytes()).unwrap();
        let rest = |traces: &[u128]| {
            let traces = traces.iter().map(|number| trace(*number)).collect();
            without_foreign_links(ENDED.as_bytes(), &traces)
                .map(|out| String::from_utf8(out).unwrap())
        };
        assert_eq!(rest(&[1, 2]), None);
        let one = r#""links":[{"traceId":"00000000000000000000000000000001","spanId":"1"}],"#;
        let start = ENDED.split(r#""links""#).next().unwrap();
        let end = ENDED.split("}}],").nth(1).unwrap();
        assert_eq!(rest(&[1]).unwrap(), format!("{start}{one}{end}"));
        assert_eq!(rest(&[3]).unwrap(), format!("{start}{end}"));
        assert_eq!(
            without_foreign_links(br#"{"type":"started"}"#, &HashSet::new()),
            None
        );
    }

    #[test]
    fn the_fields_for_a_views_rule_are_unescaped() {
        let fields = view_fields(ENDED.as_bytes()).unwrap();
        assert_eq!(
            (&*fields.name, &*fields.kind, &*fields.scope),
            ("pay \"now\"", "SERVER", "shop::cart")
        );
        assert_eq!(process(ENDED.as_bytes()).unwrap(), "p1");
        assert!(view_fields(b"{}").is_none());
        assert!(view_fields(b"nonsense").is_none());
    }
}
