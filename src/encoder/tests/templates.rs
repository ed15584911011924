//! Checks that a start from a template equals one without, and that a template bypasses neither redaction nor the check
//! for own requests.

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanContext;
use opentelemetry::trace::SpanId;
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::SpanLinks;
use proptest::prelude::any;
use proptest::proptest;
use std::sync::Arc;

use crate::encoder::start_templates::TemplateCache;
use crate::encoder::tests::config;
use crate::encoder::tests::payloads::copied_start;
use crate::encoder::tests::payloads::sampled_start;
use crate::encoder::tests::payloads::written_from_template;
use crate::encoder::tests::strategies::plain_span;
use crate::encoder::tests::strategies::span;
use crate::span::delta::slots::StartSlots;
use crate::span::event::AttributeValue;
use crate::span::own_requests::MountPrefixes;
use crate::span::own_requests::OwnRequestSpans;
use crate::span::record::StartOutline;
use crate::span::redact::RedactAction;
use crate::span::redact::Redaction;

#[test]
fn the_third_start_of_one_shape_is_written_from_its_template() {
    let span = |name: &'static str, pairs: &[(&'static str, &'static str)]| SpanData {
        name: name.into(),
        attributes: pairs
            .iter()
            .map(|(key, value)| KeyValue::new(*key, *value))
            .collect(),
        ..plain_span()
    };
    let mut cache = TemplateCache::default();
    let mut templated = |name, pairs: &[_]| {
        written_from_template(
            &mut cache,
            &Redaction::default(),
            &copied_start(&span(name, pairs), &StartSlots::default()),
        )
    };
    assert!(!templated("GET", &[("http.route", "/a"), ("user", "me")]));
    assert!(!templated("GET", &[("http.route", "/b"), ("user", "you")]));
    assert!(templated("GET", &[("http.route", "/c"), ("user", "")]));
    for (name, pairs, from_template) in [
        ("GET", [("http.route", "/é"), ("user", "me\u{7f}")], true),
        ("GET", [("http.route", "a\"b"), ("user", "me")], false),
        ("GET", [("http.route", "/a\nb"), ("user", "me")], false),
        // Redaction examines this value.
        (
            "GET",
            [("http.route", "/a?token=s3cret"), ("user", "me")],
            false,
        ),
        (
            "GET",
            [("http.route", "x://me:s3cret@b"), ("user", "me")],
            false,
        ),
        ("GET", [("http.route", "/a"), ("customer", "me")], false),
        ("PUT", [("http.route", "/a"), ("user", "me")], false),
        ("GET", [("http.route", "/a"), ("user", "me")], true),
    ] {
        assert_eq!(templated(name, &pairs), from_template, "{name} {pairs:?}");
    }
    for key in ["password", "url.query"] {
        for _ in 0..4 {
            assert!(!templated("GET", &[(key, "token=s3cret")]), "{key}");
        }
    }
}

#[test]
fn a_start_that_redaction_may_change_is_never_written_from_a_template() {
    let mask_all = |_: &str, _: &str, _: &AttributeValue| RedactAction::Mask;
    let keep_all = |_: &str, _: &str, _: &AttributeValue| RedactAction::Keep;
    for (redaction, from_template) in [
        (Redaction::none(), true),
        (Redaction::none().only(["route"]), true),
        (Redaction::none().only(["user"]), false),
        (Redaction::none().deny(["http.*"]), false),
        (Redaction::none().deny(["http.*"]).allow(["route"]), true),
        (Redaction::none().with(mask_all), false),
        (Redaction::none().with(keep_all), false),
    ] {
        let span = SpanData {
            attributes: vec![KeyValue::new("http.route", "/a")],
            ..plain_span()
        };
        let mut cache = TemplateCache::default();
        let mut templated = || {
            written_from_template(
                &mut cache,
                &redaction,
                &copied_start(&span, &StartSlots::default()),
            )
        };
        assert_eq!(
            [templated(), templated(), templated()],
            [false, false, from_template],
            "{redaction:?}"
        );
    }
}

#[test]
fn more_shapes_than_the_cache_holds_are_kept_apart() {
    let mut cache = TemplateCache::default();
    let mut templated = 0;
    for number in (0..900).chain(0..900) {
        let span = SpanData {
            name: format!("{number}").into(),
            attributes: vec![KeyValue::new(format!("key.{}", number % 7), number)],
            ..plain_span()
        };
        for _ in 0..3 {
            let start = copied_start(&span, &StartSlots::default());
            templated += u32::from(written_from_template(
                &mut cache,
                &Redaction::none(),
                &start,
            ));
        }
    }
    assert!(
        templated >= 1800,
        "too few third starts used a template: {templated}"
    );
}

#[test]
fn an_own_request_is_hidden_though_its_shape_has_a_template() {
    let start = |path: &'static str, parent| {
        let span = SpanData {
            attributes: vec![KeyValue::new("url.path", path)],
            parent_span_id: parent,
            span_kind: SpanKind::Server,
            ..plain_span()
        };
        copied_start(&span, &StartSlots::default())
    };
    let mounts = Arc::new(MountPrefixes::default());
    let mut hidden = OwnRequestSpans::new(Arc::clone(&mounts));
    let mut cache = TemplateCache::default();
    let mut is_hidden = |hidden: &OwnRequestSpans, path, parent| {
        let record = start(path, parent);
        while !written_from_template(&mut cache, &Redaction::default(), &record) {}
        let outline = StartOutline::of(&record).unwrap();
        cache.find(&outline).unwrap().is_hidden(hidden, &outline)
    };
    assert!(!is_hidden(&hidden, "/live/sse", SpanId::INVALID));
    mounts.learn("/live/sse", "/sse", None);
    assert!(is_hidden(&hidden, "/live/sse", SpanId::INVALID));
    assert!(!is_hidden(&hidden, "/shop", SpanId::INVALID));
    hidden.hide([0, 0, 0, 0, 0, 0, 0, 9]);
    assert!(is_hidden(&hidden, "/shop", SpanId::from(9)));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_start_from_a_template_equals_one_without_a_template(
        first in span(),
        second in span(),
        peeked in any::<bool>(),
    ) {
        let first = SpanData { dropped_attributes_count: 0, links: SpanLinks::default(), ..first };
        // This start fits the same template, if its values allow it.
        let mut values = second.attributes.iter().map(|pair| pair.value.clone());
        let attributes = first.attributes.iter().map(|pair| {
            KeyValue::new(pair.key.clone(), values.next().unwrap_or_else(|| pair.value.clone()))
        });
        let second = SpanData { attributes: attributes.collect(), start_time: second.start_time, ..first.clone() };
        let mut cache = TemplateCache::default();
        for span in [&first, &first, &second, &first] {
            let slots = StartSlots::default();
            let record = if peeked { sampled_start(span, &SpanContext::NONE, &slots) } else { copied_start(span, &slots) };
            written_from_template(&mut cache, &Redaction::default(), &record);
        }
    }
}
