//! Shorter names for what the dashboard's own scripts name. Pure: tokens in, tokens out.
//!
//! One name becomes another one everywhere, in all modules, wherever it names a variable; so no scope has to be understood, and
//! two that were different stay different. Properties keep their names, and so does what some module uses without binding it:
//! that is the browser's. What is left to know of the grammar is which word is a property, and which binds.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use crate::dashboard::slim::{Kind, Token, is_closing, is_opening};

/// Words that name no variable.
const KEYWORDS: [&str; 48] = [
    "arguments",
    "async",
    "await",
    "break",
    "case",
    "catch",
    "class",
    "const",
    "constructor",
    "continue",
    "delete",
    "do",
    "else",
    "export",
    "extends",
    "false",
    "finally",
    "for",
    "function",
    "if",
    "import",
    "in",
    "instanceof",
    "let",
    "new",
    "null",
    "of",
    "return",
    "static",
    "super",
    "switch",
    "this",
    "throw",
    "true",
    "try",
    "typeof",
    "undefined",
    "void",
    "while",
    "with",
    "yield",
    "NaN",
    "Infinity",
    "globalThis",
    "eval",
    "as",
    "is",
    "get",
];

/// Letters by how often scripts have them, so that what is repeated is what compresses.
const LETTERS: &str = "etanrisoulcdmphfgybvwkxjqzETANRISOULCDMPHFGYBVWKXJQZ";

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A keyword, a number, a property: it stays.
    Fixed,
    Variable,
    /// A variable, and the property of the same name: `{ trace }`.
    Shorthand,
}

/// The words of one module.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) roles: Vec<Role>,
    /// What it binds or imports.
    pub(crate) bound: HashSet<String>,
}

/// The words of a module with these imports.
pub(crate) fn words(tokens: &[Token<'_>], imports: impl IntoIterator<Item = String>) -> Words {
    let mut reader = Reader {
        tokens,
        closes: closes(tokens),
        open: Vec::new(),
        is_class_due: false,
    };
    let mut words = Words {
        roles: Vec::with_capacity(tokens.len()),
        bound: imports.into_iter().collect(),
    };
    for (at, token) in tokens.iter().enumerate() {
        let role = reader.step(at, token);
        if role != Role::Fixed && reader.binds(at) {
            words.bound.insert(token.text.clone().into_owned());
        }
        words.roles.push(role);
    }
    words
}

/// The new name of each name that all modules agree is theirs; the shortest for what is named most.
pub(crate) fn table(modules: &[(&[Token<'_>], &Words)]) -> HashMap<String, String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut foreign: HashSet<&str> = KEYWORDS.into();
    for (tokens, words) in modules {
        for (token, role) in tokens.iter().zip(&words.roles) {
            let name = &*token.text;
            if *role != Role::Fixed {
                *counts.entry(name).or_default() += 1;
                if !words.bound.contains(name) {
                    foreign.insert(name);
                }
            }
        }
    }
    let mut names: Vec<(&str, usize)> = counts
        .into_iter()
        .filter(|(name, _)| !foreign.contains(name))
        .collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let short = short_names().filter(|name| !foreign.contains(&**name));
    names
        .into_iter()
        .zip(short)
        .map(|((name, _), short)| (name.to_owned(), short))
        .collect()
}

/// The tokens with their names as the table has them.
pub(crate) fn rename(tokens: &mut [Token<'_>], words: &Words, table: &HashMap<String, String>) {
    for (token, role) in tokens.iter_mut().zip(&words.roles) {
        let Some(short) = table.get(&*token.text) else {
            continue;
        };
        match role {
            Role::Fixed => {}
            Role::Variable => token.text = Cow::Owned(short.clone()),
            Role::Shorthand if *short == token.text => {}
            Role::Shorthand => token.text = Cow::Owned(format!("{}:{short}", token.text)),
        }
    }
}

/// All names of one letter, then all of two.
fn short_names() -> impl Iterator<Item = String> {
    let one = LETTERS.chars().map(String::from);
    let two = LETTERS.chars().flat_map(|first| {
        LETTERS
            .chars()
            .map(move |second| format!("{first}{second}"))
    });
    one.chain(two)
}

/// What a bracket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Block,
    Class,
    /// An object, or a pattern that takes one apart.
    Object,
    /// Anything in parentheses or square brackets, or the code inside of a template.
    Values,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    group: Group,
    /// What it holds is bound: parameters, or a pattern.
    binds: bool,
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    /// For each opening bracket, where it closes.
    closes: HashMap<usize, usize>,
    open: Vec<Open>,
    /// The next brace is that of a class.
    is_class_due: bool,
}

impl Reader<'_> {
    /// What stands so many tokens from here; nothing beyond the ends.
    fn text(&self, at: usize, by: isize) -> &str {
        let token = at.checked_add_signed(by).and_then(|at| self.tokens.get(at));
        token.map_or("", |token| &token.text)
    }

    fn is_word(&self, at: usize) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|token| token.kind == Kind::Word)
    }

    fn top(&self) -> Open {
        let file = Open {
            group: Group::Block,
            binds: false,
        };
        self.open.last().copied().unwrap_or(file)
    }

    fn step(&mut self, at: usize, token: &Token<'_>) -> Role {
        if token.kind == Kind::Word {
            self.is_class_due |= token.text == "class" && self.is_word(at + 1);
            return self.role(at);
        }
        if is_closing(token) {
            self.open.pop();
        }
        if is_opening(token) {
            let open = self.opened(at);
            self.open.push(open);
        }
        Role::Fixed
    }

    fn opened(&mut self, at: usize) -> Open {
        let group = if self.text(at, 0) != "{" {
            Group::Values
        } else if std::mem::take(&mut self.is_class_due) {
            Group::Class
        } else if self.begins_object(at) {
            Group::Object
        } else {
            Group::Block
        };
        let binds = match self.text(at, 0) {
            "(" => self.begins_parameters(at),
            "[" | "{" => group != Group::Block && group != Group::Class && self.is_pattern(at),
            _ => false,
        };
        Open { group, binds }
    }

    fn begins_object(&self, at: usize) -> bool {
        let before = self.text(at, -1);
        match before {
            ">" => self.text(at, -2) != "=",
            "." | "return" | "const" | "let" | "of" | "in" | "typeof" | "yield" | "case" => true,
            _ => before.ends_with("${") || (before.len() == 1 && "(,=:[?&|+<".contains(before)),
        }
    }

    /// Whether it is taken apart: after `const`, or inside of what is.
    fn is_pattern(&self, at: usize) -> bool {
        let before = self.text(at, -1);
        ["const", "let"].contains(&before)
            || (self.top().binds && ["(", ",", "[", "{", ":", "."].contains(&before))
    }

    fn begins_parameters(&self, at: usize) -> bool {
        let Some(&close) = self.closes.get(&at) else {
            return false;
        };
        let is_arrow = self.text(close, 1) == "=" && self.text(close, 2) == ">";
        let before = self.text(at, -1);
        is_arrow
            || (self.text(close, 1) == "{"
                && !["if", "for", "while", "switch", "with"].contains(&before))
    }

    fn role(&self, at: usize) -> Role {
        let word = self.text(at, 0);
        if word.starts_with(|first: char| first.is_ascii_digit() || first == '#')
            || KEYWORDS.contains(&word)
        {
            return Role::Fixed;
        }
        let (before, after) = (self.text(at, -1), self.text(at, 1));
        // Three dots spread a value, one asks for a property.
        if before == "." && self.text(at, -2) != "." {
            return Role::Fixed;
        }
        match self.top().group {
            Group::Class if self.begins_member(at, &["{", ";", "}"]) => Role::Fixed,
            Group::Object if self.begins_member(at, &["{", ","]) => match after {
                "," | "}" | "=" => Role::Shorthand,
                _ => Role::Fixed,
            },
            _ => Role::Variable,
        }
    }

    /// Whether a member of a class or an object is named here; `after`: what stands between two members.
    fn begins_member(&self, at: usize, after: &[&str]) -> bool {
        let before = self.text(at, -1);
        after.contains(&before)
            || (["*", "async", "get", "set", "static"].contains(&before)
                && after.contains(&self.text(at, -2)))
    }

    fn binds(&self, at: usize) -> bool {
        let before = self.text(at, -1);
        let is_declared = ["const", "let", "class", "function"].contains(&before)
            || (before == "*" && self.text(at, -2) == "function");
        let is_parameter = self.text(at, 1) == "=" && self.text(at, 2) == ">";
        is_declared
            || is_parameter
            || (self.top().binds && ["(", ",", "[", "{", ":", "."].contains(&before))
    }
}

/// For each opening bracket, where it closes.
fn closes(tokens: &[Token<'_>]) -> HashMap<usize, usize> {
    let mut closes = HashMap::new();
    let mut open = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if is_closing(token)
            && let Some(from) = open.pop()
        {
            closes.insert(from, at);
        }
        if is_opening(token) {
            open.push(at);
        }
    }
    closes
}

#[cfg(test)]
mod tests {
    use crate::dashboard::slim;

    /// The script with its names as one module alone would have them.
    fn renamed(text: &str) -> String {
        let mut tokens = slim::script_tokens(text);
        let words = super::words(&tokens, []);
        let table = super::table(&[(&tokens, &words)]);
        super::rename(&mut tokens, &words, &table);
        slim::script(tokens)
    }

    #[test]
    fn what_is_bound_gets_another_name_and_what_is_the_browsers_keeps_its_own() {
        assert_eq!(
            renamed("const longer = performance.now() + longer;"),
            "const e=performance.now()+e;"
        );
        assert_eq!(
            renamed(
                "function walk(tree, { depth = 1, ...rest }, [first]) { return depth + rest + first + tree + later; }"
            ),
            "function r(n,{depth:e=1,...a},[t]){return e+a+t+n+later}"
        );
        assert_eq!(
            renamed("try { f(); } catch (problem) { log(problem); }"),
            "try{f();}catch(e){log(e);}"
        );
        assert_eq!(
            renamed("for (const [key, value] of map) if (key < value) stop;"),
            "for(const[e,t]of map)if(e<t)stop;"
        );
        assert_eq!(
            renamed("const ask = async (where) => await where(undefined, NaN);"),
            "const t=async e=>await e(undefined,NaN);"
        );
    }

    #[test]
    fn properties_keep_their_names() {
        assert_eq!(
            renamed(
                "const width = box.width; f({ width, height: width, [width]: 1, deep() { return width; } }, box?.width, ...width);"
            ),
            "const e=box.width;f({width:e,height:e,[e]:1,deep(){return e}},box?.width,...e);"
        );
        assert_eq!(
            renamed("const { start, end: last } = stretch; open ? { start } : start;"),
            "const{start:e,end:t}=stretch;open?{start:e}:e;"
        );
        assert_eq!(
            renamed(
                "const size = 1; f({ class: size, async size() {}, get size() { return size; } });"
            ),
            "const e=1;f({class:e,async size(){},get size(){return e}});"
        );
    }

    #[test]
    fn members_of_a_class_keep_their_names_and_what_they_use_does_not() {
        let text = "class Rows extends Base { count = count; #size = 1; static make = () => new Rows(count); async *read(count) { yield* count; } get size() { return this.#size * count; } set size(to) { to; } }\nconst count = 1;";
        assert_eq!(
            renamed(text),
            "class t extends Base{count=e;#size=1;static make=()=>new t(e);async*read(e){yield*e}get size(){return this.#size*e}set size(a){a}}\nconst e=1;"
        );
    }

    #[test]
    fn code_inside_of_templates_is_code_and_text_is_text() {
        assert_eq!(
            renamed("const name = 1; f(`name ${name} ${{ name }.name} ${`${name}`}`, \"name\");"),
            "const e=1;f(`name ${e} ${{name:e}.name} ${`${e}`}`,\"name\");"
        );
    }

    #[test]
    fn a_name_that_some_module_takes_from_the_browser_is_nobodys() {
        let (one, other) = (
            "const history = 1; f(history);",
            "history.back(); const place = 2;",
        );
        let both = [slim::script_tokens(one), slim::script_tokens(other)];
        let words = [super::words(&both[0], []), super::words(&both[1], [])];
        let table = super::table(&[(&both[0], &words[0]), (&both[1], &words[1])]);
        assert_eq!(
            table.into_iter().collect::<Vec<_>>(),
            [("place".to_owned(), "e".to_owned())]
        );
    }
}
