//! Scripts and style sheets as browsers get them: without comments, indentation and blanks that say nothing. Pure: text in,
//! tokens and text out.
//!
//! It knows as much of JavaScript's grammar as it takes to tell text from code: strings, templates with code inside them, and
//! regular expressions. Whatever is between two tokens becomes nothing, one blank or one line break, and a line break stays one
//! wherever it may end a statement.

use std::borrow::Cow;

/// The smallest piece that means something, and what stood before it.
#[derive(Debug, Clone)]
pub(crate) struct Token<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) kind: Kind,
    pub(crate) between: Between,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// A string, a regular expression, or a template up to the code inside it.
    Literal,
    /// One character, or `++` or `--`.
    Sign,
}

/// What stood between the last token and the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Between {
    Nothing,
    Blank,
    Line,
}

/// The tokens of a script.
pub(crate) fn script_tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer::new(text);
    while let Some(next) = lexer.rest.chars().next() {
        if !lexer.skip_between() {
            lexer.token(next);
        }
    }
    lexer.tokens
}

/// A script of these tokens, each as near to the one before as it can be.
pub(crate) fn script(tokens: Vec<Token<'_>>) -> String {
    written(&join_declarations(bare_parameters(tokens)), apart_in_script)
}

/// `(one) =>` without its parentheses.
fn bare_parameters(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut kept: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let is_arrow = token.text == ">" && kept.last().is_some_and(|last| last.text == "=");
        if is_arrow
            && let [.., open, one, close, _] = &mut kept[..]
            && (&*open.text, one.kind, &*close.text) == ("(", Kind::Word, ")")
        {
            one.between = open.between.max(Between::Blank);
            let at = kept.len();
            kept.remove(at - 2);
            kept.remove(at - 4);
        }
        kept.push(token);
    }
    kept
}

/// Declarations that follow one another as one.
fn join_declarations(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut kept: Vec<Token<'_>> = Vec::with_capacity(tokens.len());
    // For each open bracket, and the file, the word that the statement in it began with.
    let mut begun: Vec<Cow<'_, str>> = vec![Cow::Borrowed("")];
    let mut begins = true;
    for token in tokens {
        if is_closing(&token) {
            begun.pop();
        }
        let last = begun.last().cloned().unwrap_or_default();
        if begins
            && ["const", "let"].contains(&&*token.text)
            && last == token.text
            && kept.last().is_some_and(|last| last.text == ";")
        {
            if let Some(end) = kept.last_mut() {
                end.text = Cow::Borrowed(",");
            }
            begins = false;
            continue;
        }
        if begins
            && token.kind == Kind::Word
            && let Some(first) = begun.last_mut()
        {
            first.clone_from(&token.text);
        }
        begins = token.kind == Kind::Sign && [";", "{", "}"].contains(&&*token.text);
        if is_opening(&token) {
            begun.push(Cow::Borrowed(""));
        }
        kept.push(token);
    }
    kept
}

pub(crate) fn is_opening(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => false,
        Kind::Literal => token.text.ends_with("${"),
        Kind::Sign => ["(", "[", "{"].contains(&&*token.text),
    }
}

pub(crate) fn is_closing(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Word => false,
        Kind::Literal => token.text.starts_with('}'),
        Kind::Sign => [")", "]", "}"].contains(&&*token.text),
    }
}

/// A style sheet without comments and line breaks.
pub(crate) fn style(text: &str) -> String {
    let mut lexer = Lexer::new(text);
    while let Some(next) = lexer.rest.chars().next() {
        if lexer.rest.starts_with("/*") || next.is_whitespace() {
            lexer.skip_between();
            // A blank may stand for "inside of" or separate two values; a line break is no more than a blank.
            lexer.between = Between::Blank;
        } else if next == '"' || next == '\'' {
            lexer.take(quoted(lexer.rest, next), Kind::Literal);
        } else {
            lexer.take(next.len_utf8(), Kind::Sign);
        }
    }
    written(&lexer.tokens, apart_in_style)
}

/// `apart`: whether a blank between these two characters means something.
fn written(tokens: &[Token<'_>], apart: fn(char, char) -> bool) -> String {
    let mut text = String::new();
    for (at, token) in tokens.iter().enumerate() {
        if tokens
            .get(at + 1)
            .is_some_and(|next| is_needless(token, next, text.chars().next_back()))
        {
            continue;
        }
        let joined = text.chars().next_back().zip(token.text.chars().next());
        match (token.between, joined) {
            (Between::Line, Some((before, after))) if may_end_statement(before, after) => {
                text.push('\n');
            }
            (Between::Line | Between::Blank, Some((before, after))) if apart(before, after) => {
                text.push(' ');
            }
            _ => {}
        }
        text.push_str(&token.text);
    }
    text
}

struct Lexer<'a> {
    rest: &'a str,
    tokens: Vec<Token<'a>>,
    between: Between,
    /// The last token of code, which decides whether a slash divides or begins a regular expression.
    last: &'a str,
    /// For each open brace, whether it is one of a template's.
    braces: Vec<Brace>,
}

#[derive(PartialEq, Eq)]
enum Brace {
    Block,
    Template,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            tokens: Vec::new(),
            between: Between::Nothing,
            last: "",
            braces: Vec::new(),
        }
    }

    /// Leaves out blanks and comments here; false if there are none.
    fn skip_between(&mut self) -> bool {
        let length = if self.rest.starts_with("//") {
            self.rest.find('\n').unwrap_or(self.rest.len())
        } else if self.rest.starts_with("/*") {
            let end = self.rest.find("*/").map(|at| at + 2);
            end.unwrap_or(self.rest.len())
        } else {
            let code = self.rest.find(|next: char| !next.is_whitespace());
            code.unwrap_or(self.rest.len())
        };
        let (skipped, rest) = self.rest.split_at(length);
        self.rest = rest;
        if skipped.contains('\n') {
            self.between = Between::Line;
        } else if !skipped.is_empty() {
            self.between = self.between.max(Between::Blank);
        }
        !skipped.is_empty()
    }

    /// Takes the token that begins here.
    fn token(&mut self, next: char) {
        match next {
            '"' | '\'' => self.literal(quoted(self.rest, next)),
            '`' => self.template(),
            '}' if self.braces.last() == Some(&Brace::Template) => {
                self.braces.pop();
                self.template();
            }
            '/' if self.begins_expression() => self.literal(regular_expression(self.rest)),
            _ if is_word(next) => {
                let end = self.rest.find(|next: char| !is_word(next));
                self.code(end.unwrap_or(self.rest.len()), Kind::Word);
            }
            // After a value they belong to it, and a slash divides; before one they do not.
            '+' | '-' if self.rest[1..].starts_with(next) => {
                if self.begins_expression() {
                    self.code(2, Kind::Sign);
                } else {
                    self.take(2, Kind::Sign);
                }
            }
            _ => {
                match next {
                    '{' => self.braces.push(Brace::Block),
                    '}' => drop(self.braces.pop()),
                    _ => {}
                }
                self.code(next.len_utf8(), Kind::Sign);
            }
        }
    }

    /// A template from its quote, or from the brace that closes a piece of code in it, to its end or the next such piece.
    fn template(&mut self) {
        let mut escaped = false;
        let mut before = ' ';
        for (at, next) in self.rest.char_indices().skip(1) {
            if !escaped && next == '`' {
                return self.literal(at + 1);
            }
            if !escaped && next == '{' && before == '$' {
                self.braces.push(Brace::Template);
                self.literal(at + 1);
                self.last = "{";
                return;
            }
            before = if escaped { ' ' } else { next };
            escaped = !escaped && next == '\\';
        }
        self.literal(self.rest.len());
    }

    /// Whether an expression may begin after the last token.
    fn begins_expression(&self) -> bool {
        const BEFORE: [&str; 13] = [
            "", "return", "typeof", "case", "in", "of", "delete", "void", "throw", "new", "else",
            "await", "yield",
        ];
        BEFORE.contains(&self.last)
            || self
                .last
                .ends_with(|last: char| "(,=:[!&|?{};+-*%~^<>".contains(last))
    }

    fn literal(&mut self, length: usize) {
        self.take(length, Kind::Literal);
        // As after any value, a slash now divides.
        self.last = ")";
    }

    fn code(&mut self, length: usize, kind: Kind) {
        self.last = &self.rest[..length];
        self.take(length, kind);
    }

    /// Takes so many bytes as a token.
    fn take(&mut self, length: usize, kind: Kind) {
        let (text, rest) = self.rest.split_at(length);
        self.tokens.push(Token {
            text: Cow::Borrowed(text),
            kind,
            between: self.between,
        });
        self.between = Between::Nothing;
        self.rest = rest;
    }
}

/// Whether a comma or a semicolon ends what a bracket ends anyway. After a parenthesis, it may be an empty statement.
fn is_needless(token: &Token<'_>, next: &Token<'_>, before: Option<char>) -> bool {
    match &*token.text {
        "," => [")", "]", "}"].contains(&&*next.text),
        ";" => next.text == "}" && before != Some(')'),
        _ => false,
    }
}

/// Whether a line break between these two may end a statement, where no semicolon does.
fn may_end_statement(before: char, after: char) -> bool {
    !";{,([=&|?:".contains(before) && !")]},;.?:&|=".contains(after)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || "_$#".contains(letter)
}

fn apart_in_script(before: char, after: char) -> bool {
    (is_word(before) && is_word(after))
        || (before == after && "+-".contains(before))
        || before == '/'
        || after == '/'
        || (before.is_ascii_digit() && after == '.')
        || matches!((before, after), ('<', '!') | ('-', '>'))
}

fn apart_in_style(before: char, after: char) -> bool {
    !"{};,:".contains(before) && !"{};,".contains(after)
}

/// The length of the text that begins with this quote.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        if !escaped && next == quote {
            return at + 1;
        }
        escaped = !escaped && next == '\\';
    }
    text.len()
}

/// The length of the regular expression that begins here, with its flags.
fn regular_expression(text: &str) -> usize {
    let (mut escaped, mut in_class) = (false, false);
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => {}
            '[' => in_class = true,
            ']' => in_class = false,
            '/' if !in_class => {
                let flags = text[at + 1..].find(|next: char| !is_word(next));
                return flags.map_or(text.len(), |length| at + 1 + length);
            }
            _ => {}
        }
        escaped = !escaped && next == '\\';
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::{script_tokens, style};

    fn script(text: &str) -> String {
        super::script(script_tokens(text))
    }

    #[test]
    fn comments_and_indentation_go() {
        let text = "// @ts-check\n\n/**\n * What it does.\n */\nexport function f(a) {\n  // Why.\n  const b = /** @type {any} */ (a); // kept\n\n  \
             return a /* so */ - -b;\n}\n";
        assert_eq!(
            script(text),
            "export function f(a){const b=(a);return a- -b}"
        );
    }

    #[test]
    fn a_comment_of_many_lines_is_still_a_line_break() {
        assert_eq!(script("a = b /*\n*/ ++c"), "a=b\n++c");
        assert_eq!(script("let a;\n\n\nlet b;"), "let a,b;");
        assert_eq!(script(""), "");
    }

    #[test]
    fn texts_stay_as_they_are() {
        for text in [
            r#""a // b  /* c */ \" d";"#,
            r"'it\'s  //';",
            "`a\n   // b ${c}  /* d */\n`;",
            "`${`  ${ [1,2]}  // `}  `;",
            r"`\${  //`;",
            "/[/\"]  \\/ */.test(a);",
        ] {
            let kept = text.replace("${ [", "${[");
            assert_eq!(script(text), kept);
        }
    }

    #[test]
    fn code_inside_of_a_template_is_code() {
        assert_eq!(
            script("`${ { a : 1 }.a /* b */ } // c ${ d }`"),
            "`${{a:1}.a} // c ${d}`"
        );
    }

    #[test]
    fn a_parameter_that_is_alone_needs_no_parentheses() {
        assert_eq!(
            script("f((a) => (b) => c, (d, e) => d, (...g) => g, ({ h }) => h);"),
            "f(a=>b=>c,(d,e)=>d,(...g)=>g,({h})=>h);"
        );
        assert_eq!(
            script("async (a) => a; return (b) => b;"),
            "async a=>a;return b=>b;"
        );
        assert_eq!(script("if ((a) >= b) c;"), "if((a)>=b)c;");
    }

    #[test]
    fn declarations_that_follow_one_another_become_one() {
        assert_eq!(
            script(
                "const a = 1;\nconst { b } = { c: 2 };\nlet d;\nlet e = () => {\n  const f = 1;\n  const g = `${f}`;\n};\nconst h = 1;"
            ),
            "const a=1,{b}={c:2};let d,e=()=>{const f=1,g=`${f}`};const h=1;"
        );
        assert_eq!(
            script("const a = 1;\nif (a) {\n  b();\n}\nconst c = 1;\nb();\nconst d = 1;"),
            "const a=1;if(a){b();}\nconst c=1;b();const d=1;"
        );
        assert_eq!(
            script("for (const a of b) {\n  const c = 1;\n}\nfor (const d of b) const e = 1;"),
            "for(const a of b){const c=1}\nfor(const d of b)const e=1;"
        );
    }

    #[test]
    fn a_slash_after_a_value_divides() {
        assert_eq!(script("a++ / 2; // \" b"), "a++ / 2;");
        assert_eq!(script("(a) / b[0] / 2 // '"), "(a) / b[0] / 2");
        assert_eq!(script("return /  \"/.test(b)"), "return /  \"/.test(b)");
        assert_eq!(script("f( /'  /g, x )"), "f( /'  /g,x)");
    }

    #[test]
    fn what_would_become_another_token_stays_apart() {
        assert_eq!(script("a + +b - --c in d"), "a+ +b- --c in d");
        assert_eq!(script("1 .toFixed( ) < !x"), "1 .toFixed()< !x");
    }

    #[test]
    fn blanks_of_a_style_sheet_that_mean_something_stay() {
        let text = "/* Rows. */\n.a .b > c,\n#d :is(e, f) {\n  margin: 1px -2px calc(1px + 2px);\n  content: \"a  /* b */\";\n}\n\n@media (width < 9px) { g { h: i; } }\n";
        assert_eq!(
            style(text),
            ".a .b > c,#d :is(e,f){margin:1px -2px calc(1px + 2px);content:\"a  /* b */\"}@media (width < 9px){g{h:i}}"
        );
    }
}
