//! Runs the bodies of the fuzz targets on their seeds and on mutations of the seeds. `cargo fuzz`
//! runs the same code.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config, TestRunner},
};

#[path = "../../fuzz/bodies.rs"]
mod bodies;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/seeds")
        .join(target);
    let files = fs::read_dir(&folder).unwrap();
    let mut seeds: Vec<_> = files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 5, "{}", folder.display());
    seeds
}

/// Runs each seed unchanged, then this many mutations: replaced bytes, a removed piece, the end of another seed.
fn over_seeds(target: &str, cases: u32, body: fn(&[u8])) {
    let seeds = seeds(target);
    for seed in &seeds {
        body(seed);
    }
    let strategy = (
        any::<(usize, usize)>(),
        vec((any::<usize>(), any::<u8>()), 0..4),
        any::<(usize, u8)>(),
        any::<usize>(),
    );
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mutated = |((first, second), changes, (at, cut), joint)| {
        let mut data = Vec::clone(&seeds[first % seeds.len()]);
        let other: &Vec<u8> = &seeds[second % seeds.len()];
        let cut: u8 = cut;
        let place = |index: usize, data: &[u8]| index % (data.len() + 1);
        if cut.is_multiple_of(3) {
            data.truncate(place(at, &data));
            data.extend_from_slice(&other[place(joint, other)..]);
        } else if cut.is_multiple_of(2) {
            let start = place(at, &data);
            let end = (start + usize::from(cut)).min(data.len());
            data.drain(start..end);
        }
        for (index, byte) in changes {
            let index: usize = index;
            if !data.is_empty() {
                let index = index % data.len();
                data[index] = byte;
            }
        }
        body(&data);
        Ok(())
    };
    TestRunner::new(config).run(&strategy, mutated).unwrap();
}

#[test]
fn ids_from_anywhere() {
    over_seeds("ids", 5000, bodies::ids);
}

#[test]
fn requests_from_anyone() {
    over_seeds("requests", 2000, bodies::requests);
}

#[test]
fn readers_without_credentials_get_nothing() {
    over_seeds("readers", 2000, bodies::readers);
}

#[test]
fn a_ticket_has_one_spelling() {
    over_seeds("tickets", 2000, bodies::tickets);
}

#[test]
fn searches_of_anyone() {
    over_seeds("searches", 2000, bodies::searches);
}

#[cfg(feature = "otlp")]
#[test]
fn requests_of_senders() {
    over_seeds("otlp", 2000, bodies::otlp);
}

#[cfg(feature = "otlp")]
#[test]
fn files_of_anyone() {
    over_seeds("files", 5000, bodies::files);
}

#[test]
fn damaged_rows_of_a_store() {
    over_seeds("rows", 150, bodies::rows);
}
