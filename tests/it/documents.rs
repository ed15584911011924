//! Checks the form of the documents: links have targets, prose lines fit into 100 columns, and the
//! first pages stay short. Their code is compiled as doc tests, and `scripts/test` checks their
//! spelling.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::root;

const PROSE_COLUMNS_MAX: usize = 100;
const README_LINES_MAX: usize = 220;
const ARCHITECTURE_LINES_MAX: usize = 150;
const CHANGELOG_LINES_MAX: usize = 40;
/// The base of links to items, for readers of the repository. rustdoc uses the targets of
/// `links.rustdoc` instead.
const ITEMS: &str = "https://docs.rs/livespan/latest/livespan/";

#[test]
fn links_lead_to_files_headings_and_items() {
    let items = fs::read_to_string(root().join("docs/guide/links.rustdoc")).unwrap()
        + &fs::read_to_string(root().join("src/_guide.rs")).unwrap();
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let definitions = definitions(&text);
        let labels = references(&text)
            .filter(|label| !definitions.iter().any(|(known, _)| known == label))
            .map(|label| format!("[{label}]"));
        broken.extend(labels.map(|label| (document.display().to_string(), label)));
        let targets = definitions
            .iter()
            .map(|(label, target)| (Some(label.as_str()), target.as_str()))
            .chain(inline_targets(&text).map(|target| (None, target)));
        for (label, target) in targets {
            if !leads_somewhere(&document, label, target, &items) {
                broken.push((document.display().to_string(), target.to_owned()));
            }
        }
    }
    assert_eq!(broken, []);
}

#[test]
fn lines_of_prose_fit_into_a_hundred_columns() {
    let mut long = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for line in prose(&text) {
            let is_free = line.starts_with('|') || line.starts_with('[') || line.starts_with("![");
            if !is_free && line.chars().count() > PROSE_COLUMNS_MAX {
                long.push((document.display().to_string(), line.to_owned()));
            }
        }
    }
    assert_eq!(long, []);
}

#[test]
fn first_pages_can_be_read_in_five_minutes() {
    for (page, lines_max) in [
        ("README.md", README_LINES_MAX),
        ("ARCHITECTURE.md", ARCHITECTURE_LINES_MAX),
        ("CHANGELOG.md", CHANGELOG_LINES_MAX),
    ] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let lines = text.lines().count();
        assert!(lines <= lines_max, "{page}: {lines} lines");
    }
}

#[test]
fn headings_become_the_anchors_of_github() {
    assert_eq!(
        anchor("What happens to my `init()` logs?"),
        "what-happens-to-my-init-logs"
    );
    assert_eq!(
        anchor("CPU time: `cargo bench` -- all"),
        "cpu-time-cargo-bench----all"
    );
}

fn leads_somewhere(document: &Path, label: Option<&str>, target: &str, items: &str) -> bool {
    if let Some(item) = target.strip_prefix(ITEMS) {
        // rustdoc fails if the item of this label does not exist.
        let name = label.and_then(|label| label.rsplit("::").next());
        return name.is_some_and(|name| item.contains(name))
            && label.is_some_and(|label| items.contains(&format!("[{label}]: crate::")));
    }
    if target.starts_with("https://") || target.starts_with("http://") {
        return true;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => document.to_owned(),
        file => document.parent().unwrap().join(file),
    };
    if heading.is_empty() {
        return file.exists();
    }
    let Ok(text) = fs::read_to_string(file) else {
        return false;
    };
    prose(&text)
        .filter_map(|line| line.strip_prefix('#'))
        .any(|title| anchor(title.trim_start_matches('#').trim()) == heading)
}

/// Returns the anchor that GitHub and rustdoc make of a heading: lower case, hyphens for spaces, no other punctuation.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|one| one.is_alphanumeric() || matches!(one, ' ' | '-' | '_'))
        .map(|one| if one == ' ' { '-' } else { one })
        .collect()
}

/// Returns the lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    })
}

/// Returns each `[label]: target` at the start of a line.
fn definitions(text: &str) -> Vec<(String, String)> {
    prose(text)
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
        .map(|(label, target)| (label.to_owned(), target.to_owned()))
        .collect()
}

/// Returns the `target` of each `[text](target)`.
fn inline_targets(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| {
        line.split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0))
    })
}

/// Returns the `label` of each `[text][label]`.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let labels = prose(text).flat_map(|line| {
        line.split("][")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(']')?.0))
    });
    labels.collect::<BTreeSet<_>>().into_iter()
}

fn documents() -> Vec<PathBuf> {
    let mut documents = Vec::new();
    for folder in ["", "docs/guide", "benches"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    documents
}
