//! Merges random updates and compares the result with a client that applies them one by one.

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map as JsonMap, Value as Json, json};

use super::*;

/// Returns a client's state of a span after these events, applied one after another.
fn folded(updates: &[Json]) -> Json {
    let mut span = json!({"attributes": {}, "attributeTypes": {}, "events": [], "links": []});
    for update in updates {
        if update["complete"] == json!(true) {
            span = folded(&[]);
        }
        for (key, value) in update.as_object().unwrap() {
            match key.as_str() {
                "attributes" => {
                    for (name, value) in value.as_object().unwrap() {
                        span["attributes"][name] = value.clone();
                        span["attributeTypes"].as_object_mut().unwrap().remove(name);
                    }
                }
                "events" | "links" => {
                    let more = value.as_array().unwrap().clone();
                    span[key].as_array_mut().unwrap().extend(more);
                }
                "attributeTypes" => {}
                _ => span[key] = value.clone(),
            }
        }
        if let Some(types) = update["attributeTypes"].as_object() {
            for (name, kind) in types {
                span["attributeTypes"][name] = kind.clone();
            }
        }
    }
    span
}

fn merged(updates: &[Json]) -> Json {
    let mut merged = MergedUpdate::default();
    for update in updates {
        merged.add(&serde_json::to_vec(update).unwrap());
    }
    let mut out = Vec::new();
    merged.write(&mut out);
    assert!(
        merged.size() >= out.len(),
        "{} of {}",
        merged.size(),
        out.len()
    );
    serde_json::from_slice(&out).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&out)))
}

/// Texts that a scanner of raw JSON might parse wrongly.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{0,2}",
        Just("a\"b\\".to_owned()),
        Just("]},{[\"".to_owned()),
        Just("ä🛒\n".to_owned()),
    ]
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        text().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        vec(text(), 0..3).prop_map(Json::from),
    ]
}

fn attributes() -> impl Strategy<Value = (Json, Json)> {
    let member = (text(), value(), option::of(Just("int")));
    vec(member, 1..4).prop_map(|members| {
        let types = members.iter().map(|(key, _, kind)| (key.clone(), *kind));
        let types: JsonMap<_, _> = types
            .filter_map(|(key, kind)| Some((key, Json::from(kind?))))
            .collect();
        let values = members.into_iter().map(|(key, value, _)| (key, value));
        (Json::Object(values.collect()), Json::Object(types))
    })
}

fn update() -> impl Strategy<Value = Json> {
    let lists = (vec(text(), 0..3), vec(text(), 0..3));
    let awaiting = prop_oneof![
        Just(Json::Null),
        text().prop_map(|name| json!({"name": name, "since": "T"})),
    ];
    let fields = (
        option::of(text()),
        option::of(prop_oneof![Just("OK"), Just("ERROR")]),
        option::of(prop_oneof![Just("waiting"), Just("running")]),
        option::of(awaiting),
        option::of(text()),
        option::of(any::<u32>()),
    );
    (option::of(attributes()), lists, fields, "T[0-9]").prop_map(
        |(attributes, (events, links), (name, status, state, awaiting, panic, polls), time)| {
            let mut update = json!({"type": "updated", "traceId": "1", "spanId": "2", "process": "p", "timestamp": time});
            let mut set = |key: &str, value: Option<Json>| {
                if let Some(value) = value {
                    update[key] = value;
                }
            };
            set("name", name.map(Json::from));
            set("status", status.map(|code| json!({"code": code})));
            set("state", state.map(Json::from));
            set("awaiting", awaiting);
            set("panic", panic.map(|message| json!({"message": message})));
            set("task", polls.map(|polls| json!({"polls": polls, "polling": null})));
            let items = |items: Vec<String>| {
                let items = items.into_iter().map(|name| json!({"name": name, "attributes": {}}));
                Some(Json::from(items.collect::<Vec<_>>())).filter(|all| *all != json!([]))
            };
            set("events", items(events));
            set("links", items(links));
            if let Some((attributes, types)) = attributes {
                update["attributes"] = attributes;
                if types != json!({}) {
                    update["attributeTypes"] = types;
                }
            }
            update
        },
    )
}

proptest! {
    #[test]
    fn one_merged_update_equals_all_updates_applied_in_order(updates in vec(update(), 1..12), at in any::<prop::sample::Index>()) {
        prop_assert_eq!(folded(&[merged(&updates)]), folded(&updates));
        // A part may be written before the rest arrives.
        let (before, after) = updates.split_at(at.index(updates.len()));
        let parts = [before, after].into_iter().filter(|part| !part.is_empty());
        let parts: Vec<Json> = parts.map(merged).collect();
        prop_assert_eq!(folded(&parts), folded(&updates));
        prop_assert_eq!(merged(&parts), merged(&updates));
    }

    #[test]
    fn a_complete_update_replaces_the_updates_that_it_repeats(updates in vec(update(), 1..12), at in any::<prop::sample::Index>()) {
        let (before, after) = updates.split_at(at.index(updates.len()));
        let mut complete = MergedUpdate::default();
        for update in before {
            complete.add(&serde_json::to_vec(update).unwrap());
        }
        let mut out = Vec::new();
        complete.completed().write(&mut out);
        let complete: Json = serde_json::from_slice(&out).unwrap();
        let all = [before, &[complete], after].concat();
        let mut expected = folded(&updates);
        expected["complete"] = json!(true);
        prop_assert_eq!(folded(&all), expected.clone());
        prop_assert_eq!(folded(&[merged(&all)]), expected);
    }
}

#[test]
fn a_single_event_keeps_its_bytes() {
    let event = concat!(
        r#"{"type":"updated","traceId":"1","spanId":"2","process":"p","name":"n","status":{"code":"OK"},"state":"running","#,
        r#""attributes":{"a":1.0,"b":"7"},"attributeTypes":{"b":"int"},"awaiting":null,"panic":{"message":"m"},"timestamp":"T","#,
        r#""events":[{"name":"e"},{"name":"f"}],"links":[{"traceId":"3"}],"cut":["events[2..]","..."]}"#
    );
    let mut merged = MergedUpdate::default();
    merged.add(event.as_bytes());
    let mut out = Vec::new();
    merged.write(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), event);
}

#[test]
fn paths_in_cut_are_renumbered_with_the_values_that_they_name() {
    let updates = [
        json!({"type": "updated", "name": "long", "attributes": {"a": "long", "b": "long"},
            "events": [{"name": "long"}, {"name": "x"}], "cut": ["name", "attributes.a", "attributes.b", "events[0].name"]}),
        json!({"type": "updated", "name": "short", "attributes": {"a": "short"}, "events": [{"name": "x"}, {"name": "long"}],
            "links": [{}], "cut": ["events[1].name", "events[2..]", "links[0].attributes.k"]}),
        json!({"type": "updated", "links": [{}], "cut": ["links[0].attributes.k"]}),
    ];
    assert_eq!(
        merged(&updates)["cut"],
        json!([
            "attributes.b",
            "events[0].name",
            "events[3].name",
            "events[4..]",
            "links[0].attributes.k",
            "links[1].attributes.k"
        ])
    );
}

#[test]
fn the_list_of_cut_paths_is_bounded() {
    let updates: Vec<Json> = (0..100)
        .map(|number| json!({"type": "updated", "cut": [format!("attributes.{number}")]}))
        .collect();
    let cut = merged(&updates)["cut"].clone();
    assert_eq!(cut.as_array().unwrap().len(), CUT_PATHS_MAX + 1);
    assert_eq!(cut[CUT_PATHS_MAX], json!("..."));
}

#[test]
fn input_that_is_not_an_event_adds_nothing() {
    let mut merged = MergedUpdate::default();
    for text in [
        "",
        "null",
        "{",
        r#"{"a""#,
        r#"{"attributes":7,"events":8,"cut":9}"#,
    ] {
        merged.add(text.as_bytes());
    }
    let mut out = Vec::new();
    merged.write(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "{}");
}
