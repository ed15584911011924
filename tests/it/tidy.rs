//! The house rules that a machine can check: the direction of dependencies, and text that a release
//! must not contain.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The rooms of the library, from the bottom up, as ARCHITECTURE.md draws them. A room may use only rooms before it.
const ROOMS: &[&str] = &[
    "error",
    "util",
    "wire",
    "log",
    "store",
    "ingest",
    "engine",
    "reader",
    "sse",
    "span",
    "trace",
    "access",
    "encoder",
    "otel",
    "otlp",
    "live_spans",
    "workflow",
    "report",
    "dashboard",
    "http",
    "local_workflow",
    "init",
    "testing",
    "_guide",
];

/// Upper bound on the `.rs` files in one folder. A folder with more contains two things.
const FILES_OF_A_FOLDER_MAX: usize = 12;

/// Every module, from the bottom up. Each may use only modules before it. Moving a module up or adding one is a design
/// decision, whose reason belongs in the commit.
const MODULES: &[&str] = &[
    "error",
    "util::hash",
    "util::hex",
    "util::query",
    "util::sync",
    "util::sync::locks",
    "util::sync::spin",
    "util::time",
    "util::block_on",
    "util",
    "wire::id",
    "wire::frame",
    "wire::control",
    "wire",
    "log::event",
    "log::retention",
    "log::batch",
    "log::waker",
    "log::stream_index::entry",
    "log::stream_index",
    "log::block",
    "log::dedup",
    "log::tail::carried",
    "log::tail::state",
    "log::tail",
    "log::tail::merge",
    "log::tail::keep",
    "log",
    "store",
    "store::threads",
    "store::memory",
    "store::kind",
    "store::null",
    "store::validated",
    "store::redis::config",
    "store::redis::client::scripts",
    "store::redis::client::error",
    "store::redis::client::connection",
    "store::redis::client::reply",
    "store::redis::client",
    "store::redis::heartbeat_timer",
    "store::redis::known_state",
    "store::redis::open_events",
    "store::redis::append",
    "store::redis::takeover",
    "store::redis::heartbeat",
    "store::redis::queries",
    "store::redis::blocking_read",
    "store::redis::read_pool",
    "store::redis::store",
    "store::redis",
    "store::sqlite::file::errors",
    "store::sqlite::file::descriptor",
    "store::sqlite::file::path",
    "store::sqlite::file::write_lock",
    "store::sqlite::file::check",
    "store::sqlite::file",
    "store::sqlite::schema",
    "store::sqlite::carried",
    "store::sqlite::open_events",
    "store::sqlite::stream_ids",
    "store::sqlite::state",
    "store::sqlite::retention::evict",
    "store::sqlite::retention::kept",
    "store::sqlite::retention",
    "store::sqlite::queries",
    "store::sqlite::writer",
    "store::sqlite::read_pool",
    "store::sqlite::maintenance",
    "store::sqlite::follow",
    "store::sqlite",
    "ingest::write_buf",
    "ingest::envelope",
    "ingest::buffer::class",
    "ingest::buffer::shard",
    "ingest::buffer::push",
    "ingest::buffer::drain",
    "ingest::buffer::flush",
    "ingest::buffer::acks",
    "ingest::buffer::probe",
    "ingest::buffer::overflow",
    "ingest::buffer::wake",
    "ingest::buffer",
    "ingest",
    "engine::outage",
    "engine::shared::demand",
    "engine::shared::blocked_readers",
    "engine::encoder",
    "engine::diagnostics",
    "engine::reader_registry",
    "engine::threads",
    "engine::log",
    "engine::resume",
    "engine::append_timeout",
    "engine::warm_up",
    "engine::shared::merge",
    "engine::shared::follower",
    "engine::shared",
    "engine::committer",
    "engine::worker",
    "engine",
    "reader::scope",
    "reader::page",
    "reader::cursor",
    "reader::resume",
    "reader::gaps",
    "reader::paging",
    "reader",
    "reader::subscription",
    "sse::body",
    "sse::target",
    "sse",
    "span::event",
    "span::ending",
    "span::severity",
    "span::shown_event",
    "span::updates::changes",
    "span::updates::poll_counters",
    "span::updates::slot",
    "span::updates::queue",
    "span::updates",
    "span::json::primitives",
    "span::json::value",
    "span::json::fields",
    "span::json::size_limits",
    "span::json::repeated_keys",
    "span::json::writer",
    "span::json::scan",
    "span::json::log",
    "span::json::merged_update",
    "span::json::derived::lost",
    "span::json::derived::end_from_start",
    "span::json::updated",
    "span::json::events",
    "span::json::derived::start_template",
    "span::json::derived",
    "span::json",
    "span::encoded_event",
    "span::dropped_ends",
    "span::delta::slots",
    "span::record::layout",
    "span::record::types",
    "span::record::writer",
    "span::record::changes",
    "span::record::write",
    "span::record::log::layout",
    "span::record::log::any_value",
    "span::record::log::write",
    "span::record::log::pairs",
    "span::record::read",
    "span::record::log::read",
    "span::record::log",
    "span::record::outline",
    "span::record",
    "span::delta::end",
    "span::delta",
    "span::redact::name",
    "span::redact::value",
    "span::redact::user_info",
    "span::redact::patterns",
    "span::redact::redaction",
    "span::redact::text",
    "span::redact::encoded",
    "span::redact",
    "span::process",
    "span::progress",
    "span::root_attributes",
    "span::indexed_attributes",
    "span::own_requests",
    "span",
    "trace::interner",
    "trace::span_change",
    "trace::operations::histogram",
    "trace::operations::rate",
    "trace::operations::operation",
    "trace::operations::table",
    "trace::state::open_spans",
    "trace::state::inside",
    "trace::state::root",
    "trace::state::service",
    "trace::state::trace_state",
    "trace::state",
    "trace::search::folded_text",
    "trace::search",
    "trace::search::event_search",
    "trace::summary",
    "trace::end",
    "trace::operations::summary",
    "trace::filter",
    "trace::parse::plain_span",
    "trace::parse",
    "trace::logs::positions",
    "trace::index",
    "trace::index::matching",
    "trace::index::open_now",
    "trace::logs::filter",
    "trace::logs::page",
    "trace::logs",
    "trace::operations::page",
    "trace::operations",
    "trace::live_list",
    "trace::observer",
    "trace::search::page",
    "trace::stored",
    "trace",
    "access::projection",
    "access::trace_scope",
    "access::view",
    "access",
    "access::config",
    "access::token_signer",
    "access::stream_limits",
    "encoder::eviction_query",
    "encoder::start_cache",
    "encoder::start_templates::template",
    "encoder::start_templates::cache",
    "encoder::start_templates",
    "encoder::updates::schedule",
    "encoder::updates::states",
    "encoder::received::state",
    "encoder::lost_span_updates",
    "encoder::span_encoder",
    "encoder::updates",
    "encoder::start",
    "encoder::end",
    "encoder::workflow",
    "encoder::lost_spans",
    "encoder::logs",
    "encoder::received::events",
    "encoder::received::prepared_spans",
    "encoder::received",
    "encoder",
    "otel::span_override",
    "otel::filter",
    "otel::shared",
    "otel::diagnostics",
    "otel::log_registry",
    "otel::panic_hook",
    "otel::futures::pending_awaits",
    "otel::futures::awaiting",
    "otel::futures::poll_times",
    "otel::futures::live_future",
    "otel::futures",
    "otel::tasks::clock",
    "otel::tasks::span_polls",
    "otel::tasks::entered",
    "otel::tasks::misuse",
    "otel::tasks::runtimes",
    "otel::tasks::watcher",
    "otel::tasks::layer",
    "otel::tasks",
    "otel::start_handoff",
    "otel::limits",
    "otel::processor",
    "otel::log_processor",
    "otel::sampler",
    "otel::provider::shared",
    "otel::provider::key_sketch",
    "otel::provider::unrecorded",
    "otel::provider::live_span",
    "otel::provider::tracer",
    "otel::provider",
    "otel",
    "otlp::fixtures",
    "otlp::config",
    "otlp::budget",
    "otlp::decode::types",
    "otlp::decode::usage",
    "otlp::decode::wire",
    "otlp::decode::attributes",
    "otlp::decode::span_view",
    "otlp::decode::protobuf",
    "otlp::decode::trace_request",
    "otlp::decode::json::reader",
    "otlp::decode::json::scalars",
    "otlp::decode::json::values",
    "otlp::decode::json::fields",
    "otlp::decode::json::document",
    "otlp::decode::json",
    "otlp::decode::body",
    "otlp::decode",
    "otlp::mapping::values",
    "otlp::mapping::span",
    "otlp::mapping::log",
    "otlp::mapping::process",
    "otlp::mapping",
    "otlp::senders",
    "otlp::sender_activity",
    "otlp::request",
    "otlp::recent::recent_keys",
    "otlp::recent::ends",
    "otlp::recent::logs",
    "otlp::recent",
    "otlp::followed_spans",
    "otlp::deferred_updates",
    "otlp::queue",
    "otlp::encoder::preparer",
    "otlp::encoder::otlp_encoder",
    "otlp::encoder::spans",
    "otlp::encoder",
    "otlp::receiver",
    "otlp::import::compact",
    "otlp::import::left_out",
    "otlp::import::values",
    "otlp::import::otlp_events",
    "otlp::import::jaeger",
    "otlp::import::zipkin",
    "otlp::import::document",
    "otlp::import::file",
    "otlp::import",
    "otlp",
    "live_spans::completion",
    "live_spans",
    "live_spans::read_permits",
    "live_spans::trace_ends",
    "live_spans::builder",
    "live_spans::metrics",
    "live_spans::keep",
    "live_spans::encoded",
    "workflow::attributes",
    "workflow::ids",
    "workflow::step",
    "workflow::outcome",
    "workflow::export",
    "workflow::run",
    "workflow::span",
    "workflow::cancel",
    "workflow::handle",
    "workflow::workflows",
    "workflow",
    "report::blocking",
    "report::event_fields",
    "report::progress_rate",
    "report::text",
    "report::outline",
    "report::trace_events",
    "report::running::span_now",
    "report::running::tree",
    "report::running::collect",
    "report::running::text",
    "report::running",
    "report::running_text",
    "report::signal",
    "report::trace::spans",
    "report::trace::critical_path",
    "report::trace::tree",
    "report::trace::details",
    "report::trace::compare",
    "report::trace",
    "report::problems::lost_events",
    "report::problems::report",
    "report::problems::ended_spans",
    "report::problems::error_logs",
    "report::problems::collect",
    "report::problems",
    "report::found",
    "report::wait",
    "report",
    "dashboard::representation",
    "dashboard::asset",
    "dashboard::file_page",
    "dashboard::page",
    "dashboard",
    "http::response",
    "http::error",
    "http::event_filter",
    "http::blocking",
    "http::task_body",
    "http::auth::host_port",
    "http::auth::cors",
    "http::auth::host_check",
    "http::auth::authorize",
    "http::query_params",
    "http::stream_guard",
    "http::auth::login",
    "http::auth",
    "http::routes::durations",
    "http::routes::keep",
    "http::routes::status",
    "http::routes::otlp::answer",
    "http::routes::otlp::body",
    "http::routes::otlp::writer_access",
    "http::routes::otlp::route",
    "http::routes::otlp::grpc",
    "http::routes::otlp",
    "http::routes::otlp_json",
    "http::routes::trace_snapshot::latest",
    "http::routes::trace_snapshot::read",
    "http::routes::trace_snapshot::overview",
    "http::routes::trace_snapshot::open_updates",
    "http::routes::trace_snapshot::document",
    "http::routes::trace_snapshot::lines",
    "http::routes::trace_snapshot::shortened_ends",
    "http::routes::trace_snapshot::html",
    "http::routes::trace_snapshot::route",
    "http::routes::trace_snapshot::file",
    "http::routes::trace_snapshot",
    "http::routes::trace_list",
    "http::routes::running",
    "http::routes::mcp::tools",
    "http::routes::mcp::arguments",
    "http::routes::mcp::rpc",
    "http::routes::mcp::call",
    "http::routes::mcp::route",
    "http::routes::mcp",
    "http::routes::logs",
    "http::routes::operations",
    "http::routes",
    "http::router",
    "http::request_line",
    "http::connection",
    "http::server",
    "http",
    "local_workflow::error",
    "local_workflow::inbox",
    "local_workflow::task",
    "local_workflow::step_options",
    "local_workflow::instance",
    "local_workflow::engine",
    "local_workflow",
    "local_workflow::id_rewrite",
    "local_workflow::routes",
    "init::console",
    "init::duration_text",
    "init::environment",
    "init::log_layer::event_fields",
    "init::linger",
    "init::join",
    "init::guard",
    "init::log_layer",
    "init::setup",
    "init::init",
    "init::layer",
    "init",
    "testing::test_name",
    "testing::active_test",
    "testing::thread_context",
    "testing::both_subscribers",
    "testing::test_log",
    "testing::failure_report",
    "testing::panics",
    "testing::report_thread",
    "testing::signals",
    "testing::guard",
    "testing",
    "_guide",
];

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for (module, Source { code, .. }) in modules() {
        let Some(place) = MODULES.iter().position(|known| *known == module) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        for used in uses(&module, &code) {
            let used = longest_known(&used);
            // The file of a folder declares and re-exports the items of the folder.
            let inside = used.starts_with(&format!("{module}::"));
            let above = MODULES
                .iter()
                .position(|known| *known == used)
                .is_none_or(|at| at >= place);
            if above && used != module && !inside {
                wrong.push(format!(
                    "{module} uses {used}, which does not stand below it"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn unit_tests_use_their_own_room_and_those_below() {
    let place = |room: &str| ROOMS.iter().position(|known| *known == room);
    let mut wrong = Vec::new();
    for (module, Source { tests, .. }) in modules() {
        let own = place(room_of(&module));
        for used in uses(&module, &tests) {
            let used = room_of(&used);
            if place(used).is_some_and(|used| Some(used) > own) {
                wrong.push(format!(
                    "the tests of {module} use {used}, which is above it"
                ));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn the_table_has_the_rooms_in_their_order() {
    let mut rooms: Vec<&str> = MODULES.iter().map(|module| room_of(module)).collect();
    rooms.dedup();
    assert_eq!(rooms, ROOMS);
}

#[test]
fn a_folder_has_a_dozen_files_at_most() {
    let mut counts: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in ["src", "conformance"]
        .map(|folder| files(folder, "rs"))
        .concat()
    {
        *counts.entry(file.parent().unwrap().to_owned()).or_default() += 1;
    }
    counts.retain(|_, count| *count > FILES_OF_A_FOLDER_MAX);
    assert_eq!(counts, BTreeMap::new());
}

/// A word has one meaning. If two types have one name, a comment beside one of them says why: ``// Same name as
/// `path::Type`: why``.
#[test]
fn no_two_types_have_one_name_without_a_reason() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files("src", "rs") {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().display().to_string();
        for name in types_without_reason(&text) {
            places.entry(name).or_default().push(path.clone());
        }
    }
    // If only one type of a name has no reason, the reasons of the others suffice.
    places.retain(|_, places| places.len() > 1);
    assert_eq!(places, BTreeMap::new());
}

/// Returns the types that a file declares outside of traits and impls. Omits types with a reason
/// for their name.
fn types_without_reason(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut has_reason = false;
    for whole in text.lines() {
        let line = whole.trim_start();
        if line.starts_with("//") || line.starts_with('#') {
            has_reason |= line.starts_with("// Same name as `");
            continue;
        }
        let mut words = line.split_whitespace();
        let mut word = words.next().unwrap_or_default();
        while word.starts_with("pub") || word == "unsafe" || word.ends_with(')') {
            word = words.next().unwrap_or_default();
        }
        // A type inside a trait or an impl is indented. Its name is given by the trait.
        let declares = ["struct", "enum", "trait", "union"].contains(&word)
            || (word == "type" && whole == line);
        if let Some(name) = words.next().filter(|_| declares && !has_reason) {
            let end = |character: char| !(character.is_alphanumeric() || character == '_');
            found.extend(name.split(end).next().map(str::to_owned));
        }
        has_reason = false;
    }
    found
}

/// Words that have several meanings, or stand for something that has a standard term. Names use the standard term:
/// `report`, `record`, `last_heard`, `permit`, `transcript`, `registry`.
const METAPHORS: &[&str] = &[
    "bell", "complain", "desk", "goodbye", "greet", "greeted", "hear", "hurry", "keeper", "lapse",
    "mould", "nap", "rare", "said", "seat", "seats", "sight", "story", "told", "unheard", "world",
];

#[test]
fn no_type_function_or_field_is_named_by_a_metaphor() {
    for folder in ["src", "cli", "conformance", "tests", "benches", "examples"] {
        for file in files(folder, "rs") {
            let text = fs::read_to_string(&file).unwrap();
            for name in text.lines().flat_map(declared_names) {
                let word = words_of(name).find(|word| METAPHORS.contains(&word.as_str()));
                assert_eq!(word, None, "{name} in {}", file.display());
            }
        }
    }
}

/// Returns the names of the items, variables and fields that a line declares.
fn declared_names(line: &str) -> Vec<&str> {
    const KEYWORDS: &[&str] = &[
        "const", "enum", "fn", "let", "mod", "mut", "static", "struct", "trait", "type",
    ];
    let line = line.trim_start();
    if line.starts_with("//") {
        return Vec::new();
    }
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let words: Vec<&str> = line.split(|character| !is_word(character)).collect();
    let pairs = words.windows(2).filter(|pair| KEYWORDS.contains(&pair[0]));
    let mut names: Vec<&str> = pairs.map(|pair| pair[1]).collect();
    let field = line.strip_prefix("pub").map_or(line, |rest| {
        let visibility = rest.trim_start().strip_prefix('(');
        let rest = visibility.and_then(|rest| rest.split_once(')'));
        rest.map_or(line, |(_, field)| field)
    });
    let field = field.trim_start().trim_start_matches("pub ");
    names.extend(
        field
            .split_once(':')
            .filter(|(name, rest)| name.chars().all(is_word) && !rest.starts_with(':'))
            .map(|(name, _)| name),
    );
    names
}

/// Returns the words of a name in lower case.
fn words_of(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        if character == '_' || (character.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = character.is_lowercase();
        let last = words.last_mut().unwrap();
        last.extend(character.to_lowercase().filter(|lower| *lower != '_'));
    }
    words.into_iter()
}

#[test]
fn the_table_of_modules_has_every_module_and_no_other() {
    let found: BTreeSet<String> = modules().into_keys().collect();
    let listed: BTreeSet<String> = MODULES.iter().map(|module| (*module).to_owned()).collect();
    assert_eq!(found, listed);
}

#[test]
fn the_core_knows_no_opentelemetry_and_no_axum() {
    for (module, Source { code: text, .. }) in modules() {
        if [
            "error", "util", "wire", "log", "store", "ingest", "engine", "reader", "sse",
        ]
        .contains(&module.split("::").next().unwrap_or_default())
        {
            for foreign in [
                "opentelemetry::",
                "opentelemetry_sdk::",
                "axum::",
                "tracing::",
            ] {
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                assert_eq!(
                    code.filter(|line| line.contains(foreign)).count(),
                    0,
                    "{module}: {foreign}"
                );
            }
        }
    }
}

#[test]
fn the_root_exports_what_an_app_names_and_no_constants() {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let compact: String = code.flat_map(str::split_whitespace).collect();
    let mut exported = BTreeSet::new();
    for rest in compact.split("pubuse").skip(1) {
        expand("", rest, &mut exported);
    }
    let names: Vec<&str> = exported
        .iter()
        .filter_map(|path| path.rsplit("::").next())
        .collect();
    assert!(names.contains(&"LiveSpans"), "{names:?}");
    // The two crates that are re-exported add no names of ours.
    let own = |name: &&&str| !name.starts_with("opentelemetry");
    let count = names.iter().filter(own).count();
    assert!(count <= 30, "{count} names: {names:?}");
    let is_constant = |name: &&&str| !name.contains(char::is_lowercase);
    assert_eq!(
        names.iter().filter(is_constant).collect::<Vec<_>>(),
        Vec::<&&str>::new()
    );
}

#[test]
fn the_log_knows_no_feature_of_the_layers_above() {
    let features = ["spans", "http", "metrics", "dashboard", "tracing"];
    let mut found = Vec::new();
    for room in [
        "util", "wire", "log", "ingest", "engine", "reader", "sse", "store",
    ] {
        for file in files(&format!("src/{room}"), "rs") {
            let text = fs::read_to_string(&file).expect("a source file cannot be read");
            let cfgs = text
                .lines()
                .filter(|line| line.trim_start().starts_with("#[cfg"));
            let named = cfgs.filter(|line| {
                let is_named = |feature: &&str| line.contains(&format!("feature = \"{feature}\""));
                features.iter().any(is_named)
            });
            found.extend(named.map(|line| format!("{}: {}", file.display(), line.trim())));
        }
    }
    assert_eq!(
        found, [""; 0],
        "make the item plainly pub(crate), or move it up"
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["src", "conformance", "examples", "tests"] {
        for file in files(folder, "rs") {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//!"), "{}", file.display());
        }
    }
}

#[test]
fn this_version_has_a_heading_in_the_changelog() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(
        changelog.lines().any(|line| line.starts_with(&heading)),
        "{heading}"
    );
}

#[test]
fn the_code_has_no_marks_of_unfinished_work() {
    // Joined here, so that this file itself does not contain them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|parts| parts.concat());
    for folder in ["src", "conformance", "examples", "tests", "scripts"] {
        for extension in ["rs", "mjs", "css", "html", ""] {
            for file in files(folder, extension) {
                let Ok(text) = fs::read_to_string(&file) else {
                    continue;
                };
                for mark in &marks {
                    assert!(!text.contains(mark.as_str()), "{}: {mark}", file.display());
                }
            }
        }
    }
}

#[test]
fn only_init_the_signal_report_and_failed_tests_print() {
    let mut printed = Vec::new();
    for (module, Source { code: text, .. }) in modules() {
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        printed.extend(
            code.filter(|line| {
                ["print!(", "println!(", "dbg!(", "stdout()", "stderr()"]
                    .iter()
                    .any(|call| line.contains(call))
            })
            .map(|line| format!("{module}: {}", line.trim())),
        );
    }
    assert_eq!(
        printed,
        [
            "init::environment: drop(std::io::stderr().write_all(line.as_bytes()));",
            "report::signal: drop(io::stderr().lock().write_all(text.as_bytes()));",
            "testing::failure_report: let report = || eprint!(\"{}\", report(test, cause, write_file_here(test)));",
            "testing::failure_report: let stderr = io::stderr();",
        ]
    );
}

/// The text of one module: the code of the library, and its unit tests.
struct Source {
    code: String,
    tests: String,
}

impl Source {
    /// Counts every item after a `#[cfg(test)]` as a test.
    fn of(text: &str) -> Self {
        let (mut code, mut tests) = (String::new(), String::new());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(indent) = line.strip_suffix("#[cfg(test)]") else {
                code.push_str(line);
                code.push('\n');
                continue;
            };
            for line in lines.by_ref() {
                tests.push_str(line);
                tests.push('\n');
                // rustfmt puts the end of an item into the same column as its beginning.
                let item = line.strip_prefix(indent).unwrap_or_default();
                let is_whole = item.ends_with(';') || item.ends_with('}');
                if is_whole && !item.starts_with([' ', '#', '/']) {
                    break;
                }
            }
        }
        Self { code, tests }
    }
}

/// Returns every module of the library with its text. A folder `tests` is not a module of the library.
fn modules() -> BTreeMap<String, Source> {
    let source = root().join("src");
    let mut modules = BTreeMap::new();
    for file in files("src", "rs") {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        if parts == ["lib"] || parts.contains(&"tests") {
            continue;
        }
        if parts.last() == Some(&"mod") {
            parts.pop();
        }
        let text = fs::read_to_string(&file).unwrap();
        let declared = file.with_file_name("mod.rs");
        let name = parts.last().copied().unwrap_or_default();
        let only_for_tests = format!("#[cfg(test)]\nmod {name};");
        if fs::read_to_string(declared).is_ok_and(|declared| declared.contains(&only_for_tests)) {
            continue;
        }
        modules.insert(parts.join("::"), Source::of(&text));
    }
    modules
}

/// Returns the modules that a module's text names as `crate::…` or `super::…`, in paths and in groups.
fn uses(module: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let compact: String = code.split_whitespace().collect();
    // `pub(in crate::room)` opens an item to its room, and does not use the room.
    let mut parts = compact.split("pub(in");
    let first = parts.next().unwrap_or_default();
    let others = parts.filter_map(|part| part.split_once(')'));
    let used: String = std::iter::once(first)
        .chain(others.map(|(_, used)| used))
        .collect();
    for rest in used.split("crate::").skip(1) {
        expand("", rest, &mut found);
    }
    // Each `super` in a path leads one folder up. In a module of unit tests, `super::*` is the file
    // itself.
    let mut rest = used.as_str();
    while let Some(at) = rest.find("super::") {
        let mut folder = module;
        rest = rest.get(at..).unwrap_or_default();
        while let Some(path) = rest.strip_prefix("super::") {
            folder = folder.rsplit_once("::").map_or("", |(folder, _)| folder);
            rest = path;
        }
        if !folder.is_empty() && !rest.starts_with('*') {
            expand(&format!("{folder}::"), rest, &mut found);
        }
    }
    found
}

/// Parses one path, which may end in a group of paths.
fn expand(prefix: &str, text: &str, found: &mut BTreeSet<String>) {
    let end =
        text.find(|character: char| !(character.is_alphanumeric() || "_:".contains(character)));
    let (path, rest) = text.split_at(end.unwrap_or(text.len()));
    let path = format!("{prefix}{path}");
    match rest.strip_prefix('{') {
        Some(group) if path.is_empty() || path.ends_with("::") => {
            let (mut depth, mut start) = (0_usize, 0);
            for (at, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        expand(&path, &group[start..at], found);
                        return;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        expand(&path, &group[start..at], found);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
        // A group may end with a comma.
        _ if path.is_empty() || path.ends_with("::") => {}
        _ => {
            found.insert(path);
        }
    }
}

fn room_of(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

/// Returns the module that contains the last names of the path.
fn longest_known(path: &str) -> String {
    let mut path = path.trim_end_matches("::");
    loop {
        if MODULES.contains(&path) {
            return path.to_owned();
        }
        match path.rsplit_once("::") {
            Some((shorter, _)) => path = shorter,
            None => return path.to_owned(),
        }
    }
}

/// Returns the root folder of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .expect("these tests are not in the workspace")
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The target folder of an example that is a crate of its own is not part of the sources.
                folders.extend(Some(path).filter(|path| !path.ends_with("target")));
            } else if path.extension().unwrap_or_default() == extension {
                found.push(path);
            }
        }
    }
    found
}
