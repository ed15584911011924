//! What a span costs the thread that makes it, in instructions: the same on every run and machine of one kind, so this
//! one is a gate. `cargo bench --bench span_instructions` counts them with valgrind's callgrind and fails when a bound
//! is passed; `-- --annotate <case> <api>` keeps one case's profile, for `callgrind_annotate`.

mod measure;
#[path = "measure/providers.rs"]
mod providers;
#[path = "measure/spans.rs"]
mod spans;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use providers::Case;
use spans::Api;

const SPANS: u32 = 4_000;

/// Instructions per span, added over no processor, that may not be passed: what was measured and up to six in a hundred.
/// Through `tracing` it is ten, because the memory allocator's part, which is large there, hangs on what came before.
const BOUNDS: [(Api, Case, u64); 8] = [
    (Api::Tracer, Case::Plain, 2_860),
    (Api::Tracer, Case::Sampler, 1_800),
    (Api::Tracer, Case::Wrapping, 2_890),
    (Api::Tracer, Case::WrappingSampler, 1_800),
    (Api::Macros, Case::Plain, 5_600),
    (Api::Macros, Case::Sampler, 3_250),
    (Api::Macros, Case::Wrapping, 6_400),
    (Api::Macros, Case::WrappingSampler, 3_900),
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["run", case, api] => {
            run(case_of(case), api_of(api));
            ExitCode::SUCCESS
        }
        ["--annotate", case, api] => {
            let file = Path::new("callgrind.out");
            let count = count(case_of(case), api_of(api), file);
            println!("{count} instructions a span; read {}", file.display());
            ExitCode::SUCCESS
        }
        [] => report(),
        _ => {
            eprintln!("usage: span_instructions [--annotate <case> <api>]");
            ExitCode::FAILURE
        }
    }
}

fn case_of(name: &str) -> Case {
    let found = Case::ALL
        .into_iter()
        .find(|case| format!("{case:?}") == name);
    found.unwrap_or_else(|| panic!("no case is named {name}"))
}

fn api_of(name: &str) -> Api {
    let found = Api::ALL.into_iter().find(|api| format!("{api:?}") == name);
    found.unwrap_or_else(|| panic!("no API is named {name}"))
}

/// Within callgrind: makes the spans that are counted, and before them some that fill caches and buffers.
fn run(case: Case, api: Api) {
    let provider = case.provider();
    api.with(&provider, |make| {
        make(SPANS / 4);
        provider.force_flush().expect("background threads catch up");
        counted(make);
    });
}

/// Callgrind counts between entering and leaving this function, on this thread only.
#[inline(never)]
fn counted(make: &dyn Fn(u32)) {
    make(std::hint::black_box(SPANS));
}

/// Instructions of one span.
fn count(case: Case, api: Api, file: &Path) -> u64 {
    let status = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--quiet",
            "--toggle-collect=span_instructions::counted*",
        ])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe().expect("a bench knows its own file"))
        .args(["run", &format!("{case:?}"), &format!("{api:?}")])
        .stdout(Stdio::null())
        .status()
        .expect("valgrind is installed: `apt-get install valgrind`");
    assert!(status.success(), "valgrind ended with {status}");
    let profile = fs::read_to_string(file).expect("callgrind wrote its profile");
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total
        .and_then(|total| total.trim().parse().ok())
        .expect("a profile ends with its total");
    total / u64::from(SPANS)
}

fn report() -> ExitCode {
    let file = temporary();
    let mut is_within = true;
    println!("instructions a span adds on its own thread, start + end, 4 attributes (bound)");
    for api in Api::ALL {
        let none = count(Case::None, api, &file);
        println!(
            "\n{:<42} {none:>8}",
            format!("{}: {}", api.name(), Case::None.name())
        );
        for case in Case::ALL.into_iter().skip(1) {
            let added = count(case, api, &file).saturating_sub(none);
            let bound = BOUNDS
                .iter()
                .find(|(of, at, _)| *of == api && *at == case)
                .map(|(_, _, bound)| *bound);
            let passed = bound.is_some_and(|bound| added > bound);
            is_within &= !passed;
            let bound = bound.map_or(String::new(), |bound| format!("({bound})"));
            let verdict = if passed { "TOO MANY" } else { "" };
            println!("{:<42} {added:>8} {bound:>8} {verdict}", case.name());
        }
    }
    // It is a temporary file: the next run writes it anew.
    drop(fs::remove_file(&file));
    if is_within {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn temporary() -> PathBuf {
    env::temp_dir().join(format!("span_instructions.{}", std::process::id()))
}
