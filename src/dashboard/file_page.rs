//! The page as one file that needs no server: it contains its script, its styles, its icon and the data that it
//! shows. A Content-Security-Policy inside the file forbids every connection, and every other script and style.
//!
//! A browser that opens the file from a disk may refuse to load modules, to start workers and to read other files. So
//! the file refers to no other file, and its script is a classic script, without modules.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use crate::dashboard::asset::{bundled, served_name};

const PAGE: &str = include_str!("bundle/index.html");
/// The page's script.
const SCRIPT: &str = include_str!("bundle/file.js");

/// The two parts of the file. The data goes between them, as gzip in base64. Base64 has no `<`, so the data
/// cannot end its `<script>` element.
#[derive(Debug)]
pub(crate) struct FilePage {
    pub(crate) before_data: String,
    pub(crate) after_data: String,
}

/// Returns the parts of the file, which are made once.
pub(crate) fn file_page() -> &'static FilePage {
    static FILE_PAGE: LazyLock<FilePage> = LazyLock::new(FilePage::new);
    &FILE_PAGE
}

impl FilePage {
    fn new() -> Self {
        let (script, style) = (SCRIPT, bundled("app.css"));
        let icon = STANDARD.encode(bundled("favicon.svg"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; base-uri 'none'; \
             form-action 'none'",
            STANDARD.encode(Sha256::digest(script)),
            STANDARD.encode(Sha256::digest(style)),
        );
        // The policy comes first, because it applies only to what follows it. The script comes last, because it uses
        // the elements before it.
        let page = PAGE
            .replacen("<html lang=\"en\">", "<html lang=\"en\" data-embedded>", 1)
            .replacen(
                "<head>\n",
                &format!(
                    "<head>\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n"
                ),
                1,
            )
            .replacen(
                &format!("assets/{}", served_name("favicon.svg")),
                &format!("data:image/svg+xml;base64,{icon}"),
                1,
            )
            .replacen(
                &format!(
                    "<link rel=\"stylesheet\" href=\"assets/{}\">",
                    served_name("app.css")
                ),
                &format!("<style>{style}</style>"),
                1,
            )
            .replacen(
                &format!(
                    "<link rel=\"modulepreload\" href=\"assets/{}\">\n<script type=\"module\" src=\"assets/{}\"></script>\n",
                    served_name("core.js"),
                    served_name("app.js")
                ),
                "",
                1,
            );
        let (before, after) = page.rsplit_once("</body>").unwrap_or((&page, ""));
        Self {
            before_data: format!("{before}<script id=\"embedded-data\" type=\"application/gzip\">"),
            after_data: format!("</script>\n<script>{script}</script>\n</body>{after}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns every tag that could embed or load something, and the end tags of scripts and styles.
    fn references(text: &str) -> Vec<&str> {
        let markup = text.split('<').skip(1);
        let tags = markup.filter_map(|tag| tag.split_once('>').map(|(tag, _)| tag));
        tags.filter(|tag| {
            [
                "script",
                "/script",
                "style",
                "/style",
                "link",
                "meta http-equiv",
                "base",
                "iframe",
            ]
            .iter()
            .any(|start| tag.starts_with(start))
        })
        .collect()
    }

    #[test]
    fn the_file_has_everything_inside_and_allows_nothing_else() {
        let page = file_page();
        let text = format!("{}DATA{}", page.before_data, page.after_data);
        let (script, style) = (SCRIPT, bundled("app.css"));
        // Each of these inside the script would change where the HTML parser ends the script element.
        for forbidden in ["</script", "<!--", "<script"] {
            assert!(
                !script.to_ascii_lowercase().contains(forbidden),
                "{forbidden}"
            );
        }
        assert!(!style.to_ascii_lowercase().contains("</style"));
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{}'; \
             style-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'\"",
            hash(script),
            hash(style)
        );
        let outside = text
            .replacen(script, "SCRIPT", 1)
            .replacen(style, "STYLE", 1);
        let icon = format!(
            "link rel=\"icon\" href=\"data:image/svg+xml;base64,{}\" type=\"image/svg+xml\"",
            STANDARD.encode(bundled("favicon.svg"))
        );
        assert_eq!(
            references(&outside),
            [
                policy.as_str(),
                &icon,
                "style",
                "/style",
                "script id=\"embedded-data\" type=\"application/gzip\"",
                "/script",
                "script",
                "/script",
            ]
        );
        assert!(!outside.contains("assets/"));
        assert!(outside.contains("<style>STYLE</style>"));
        assert!(outside.ends_with(
            "type=\"application/gzip\">DATA</script>\n<script>SCRIPT</script>\n</body>\n</html>\n"
        ));
        assert!(outside.starts_with("<!doctype html>"));
        assert!(outside.contains("<html lang=\"en\" data-embedded>"));
    }

    /// Safari refuses modules, workers and other files to a page that it opened from a disk. Chromium and Firefox allow
    /// some of them.
    #[test]
    fn the_script_of_the_file_needs_nothing_that_a_browser_refuses_from_a_disk() {
        let refused = [
            "import(",
            "import{",
            "import.meta",
            "export{",
            "new Worker(\"",
            ".js\"",
            ".css\"",
        ];
        let found: Vec<&str> = refused
            .into_iter()
            .filter(|refused| SCRIPT.contains(refused))
            .collect();
        assert_eq!(found, Vec::<&str>::new());
        assert!(!file_page().after_data.contains("type=\"module\""));
    }
}
