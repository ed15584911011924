//! All modules of the dashboard as one script: a browser asks for one file instead of seventy, one after the other. Pure: text in,
//! text out.
//!
//! Their top levels become one, so no two modules may give the same name to different things there; a test of the assets holds
//! them to it. Modules that nobody imports are entries: each becomes a function, which a page or a worker calls.

use std::collections::{HashMap, HashSet};

use crate::dashboard::{
    names::{self, Words},
    slim::{self, Between, Kind, Token},
};

/// The modules as a script that exports `entries`, a function by name for each of these; without those that no entry needs.
pub(crate) fn link(texts: &HashMap<&str, &str>, entries: &[&str]) -> String {
    let mut modules = collect(texts, entries);
    let words: Vec<Words> = modules
        .iter()
        .map(|module| names::words(&module.tokens, module.imports.iter().cloned()))
        .collect();
    let both: Vec<(&[Token<'_>], &Words)> = modules
        .iter()
        .map(|module| &*module.tokens)
        .zip(&words)
        .collect();
    let table = names::table(&both);
    for (module, words) in modules.iter_mut().zip(&words) {
        names::rename(&mut module.tokens, words, &table);
    }
    let (ends, shared): (Vec<Module<'_>>, Vec<Module<'_>>) = modules
        .into_iter()
        .partition(|module| entries.contains(&module.name));
    let text = |module: Module<'_>| slim::script(module.tokens);
    let shared: Vec<String> = shared.into_iter().map(text).collect();
    let ends: Vec<String> = ends
        .into_iter()
        .map(|end| (end.name, text(end)))
        .map(|(name, text)| format!("{name:?}(){{{text}}}"))
        .collect();
    format!(
        "{}\nexport const entries={{{}}};\n",
        shared.join("\n"),
        ends.join(",")
    )
}

/// The modules that are in that script, in the order in which they run.
#[cfg(test)]
pub(crate) fn order<'a>(texts: &HashMap<&'a str, &'a str>, entries: &[&str]) -> Vec<&'a str> {
    let modules = collect(texts, entries).into_iter();
    modules.map(|module| module.name).collect()
}

/// What is served under an entry's own name.
pub(crate) fn entry(script: &str, name: &str) -> String {
    format!("import{{entries}}from\"./{script}\";entries[{name:?}]();\n")
}

/// A file's name, without its folder.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

struct Module<'a> {
    name: &'a str,
    tokens: Vec<Token<'a>>,
    /// The names that it imports.
    imports: Vec<String>,
}

/// The entries, each after the modules that it needs, and each of these once: the order in which a browser runs them.
fn collect<'a>(texts: &HashMap<&'a str, &'a str>, entries: &[&str]) -> Vec<Module<'a>> {
    let (mut seen, mut modules) = (HashSet::new(), Vec::new());
    for entry in entries {
        visit(texts, entry, &mut seen, &mut modules);
    }
    modules
}

fn visit<'a>(
    texts: &HashMap<&'a str, &'a str>,
    name: &str,
    seen: &mut HashSet<&'a str>,
    modules: &mut Vec<Module<'a>>,
) {
    let Some((name, text)) = texts.get_key_value(name) else {
        return;
    };
    if !seen.insert(*name) {
        return;
    }
    let (module, needed) = read(name, text);
    for one in needed {
        visit(texts, &one, seen, modules);
    }
    modules.push(module);
}

/// A module without its imports and exports, and the names of those it needs.
fn read<'a>(name: &'a str, text: &'a str) -> (Module<'a>, Vec<String>) {
    let mut module = Module {
        name,
        tokens: Vec::new(),
        imports: Vec::new(),
    };
    let mut needed = Vec::new();
    let mut depth = 0_usize;
    let mut all = slim::script_tokens(text).into_iter().peekable();
    while let Some(mut token) = all.next() {
        let next = all.peek().map_or("", |next| &*next.text);
        let is_statement = depth == 0 && token.kind == Kind::Word;
        let is_from_elsewhere =
            (token.text == "import" && next == "{") || (token.text == "export" && next == "*");
        if is_statement && is_from_elsewhere {
            for token in all.by_ref().take_while(|token| token.text != ";") {
                match token.kind {
                    Kind::Literal => {
                        needed.push(self::name(token.text.trim_matches('"')).to_owned());
                    }
                    Kind::Word => module.imports.push(token.text.into_owned()),
                    Kind::Sign => {}
                }
            }
            continue;
        }
        if is_statement && token.text == "export" {
            let Some(exported) = all.next() else { break };
            token = exported;
            token.between = Between::Line;
        }
        match &*token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        module.tokens.push(token);
    }
    (module, needed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{entry, link, order};

    #[test]
    fn modules_become_one_script_in_the_order_in_which_they_need_each_other() {
        let texts = HashMap::from([
            (
                "main.mjs",
                "import { show } from \"./view.mjs\";\nimport { total } from \"./sums.mjs\";\n\nshow(total([1, 2]));\n",
            ),
            (
                "view.mjs",
                "import { total } from \"./sums.mjs\";\n\n/** Shows it. */\nexport function show(sum) {\n  document.title = `${sum} of ${total([3])}`;\n}\n",
            ),
            (
                "sums.mjs",
                "export * from \"./one.mjs\";\nconst START = 0;\nexport const total = (list) => list.reduce((sum, one) => sum + one, START);\n",
            ),
            ("one.mjs", "export const ONE = 1;\n"),
            (
                "worker.mjs",
                "import { total } from \"./sums.mjs\";\naddEventListener(\"message\", ({ data }) => postMessage(total(data)));\n",
            ),
            ("nobody.mjs", "export const nothing = 0;\n"),
        ]);
        let entries = ["main.mjs", "worker.mjs"];
        assert_eq!(
            order(&texts, &entries),
            ["one.mjs", "sums.mjs", "view.mjs", "main.mjs", "worker.mjs"]
        );
        let expected = [
            "const o=1;",
            "const a=0,t=r=>r.reduce((e,i)=>e+i,a);",
            "function s(e){document.title=`${e} of ${t([3])}`}",
            "export const entries={\"main.mjs\"(){s(t([1,2]));},\"worker.mjs\"(){addEventListener(\"message\",({data:n})=>postMessage(t(n)));}};\n",
        ];
        assert_eq!(link(&texts, &entries), expected.join("\n"));
        assert_eq!(
            entry("all.mjs", "main.mjs"),
            "import{entries}from\"./all.mjs\";entries[\"main.mjs\"]();\n"
        );
    }
}
