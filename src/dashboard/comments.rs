//! Scripts without their comments: what a browser gets is two thirds of what people read. Pure: text in, text out.
//!
//! Only whole lines are left out, and an empty one stands for each, so that a line number in a browser is that of the file.

/// The text without lines that are comments.
///
/// What is a comment is told by how a line begins, so no text literal may hold a line that begins like one; the files are
/// ours, and a test looks at them.
pub(crate) fn without_comments(script: &str) -> String {
    let mut slim = String::with_capacity(script.len());
    let mut inside = false;
    for line in script.split_inclusive('\n') {
        let begin = line.trim_start();
        let begins = begin.starts_with("/*");
        if inside || begins || begin.starts_with("//") {
            slim.push('\n');
            inside = (inside || begins) && !begin.trim_end().ends_with("*/");
        } else {
            slim.push_str(line);
        }
    }
    slim
}

#[cfg(test)]
mod tests {
    use super::without_comments;

    #[test]
    fn comments_leave_empty_lines_and_code_stays_as_it_is() {
        let script = "// @ts-check\n\n/**\n * What it does.\n * @param {string} a\n */\nexport function f(a) {\n  // Why.\n  \
             /** @type {any} */\n  const b = /** @type {any} */ (a); // kept\n  return `${b} // kept */`;\n}\n";
        let slim = "\n\n\n\n\n\nexport function f(a) {\n\n\n  const b = /** @type {any} */ (a); // kept\n  return `${b} // kept */`;\n}\n";
        assert_eq!(without_comments(script), slim);
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        assert_eq!(without_comments("let a;\nlet b;"), "let a;\nlet b;");
        assert_eq!(without_comments(""), "");
    }
}
