//! Splits Rust source into code, literals and comments, so that a rule looks only where its words have meaning.
//!
//! A scanner, not a parser: it knows comments (nested), string literals (plain, raw, byte, C) and character
//! literals, and keeps line numbers. It must not fail on any input: text it misreads is a missed finding, and the
//! planted violations show that the rules still see what they must.

/// One source file, taken apart.
#[derive(Debug, Default)]
pub(crate) struct RustText {
    /// The text with comments and the insides of literals blanked; the lines are those of the file.
    pub(crate) code: String,
    /// Each string literal: line of its start (1-based) and its contents, escapes left as written.
    pub(crate) literals: Vec<(usize, String)>,
    /// Each comment: line of its start (1-based) and its text.
    pub(crate) comments: Vec<(usize, String)>,
}

impl RustText {
    /// Takes a file apart.
    pub(crate) fn scan(text: &str) -> Self {
        let mut scanner = Scanner { rest: text, line: 1, found: Self::default() };
        while scanner.step() {}
        scanner.found
    }

    /// The code without its inline test modules (`#[cfg(test)] mod x { … }` to the end of the file).
    pub(crate) fn code_without_tests(&self) -> &str {
        let mut from = 0;
        while let Some(at) = self.code.get(from..).and_then(|rest| rest.find("#[cfg(test)]")) {
            let start = from + at;
            let after = self.code.get(start + "#[cfg(test)]".len()..).unwrap_or_default().trim_start();
            let first_line = after.lines().next().unwrap_or_default().trim_end();
            if first_line.starts_with("mod ") && first_line.ends_with('{') {
                return self.code.get(..start).unwrap_or_default();
            }
            from = start + 1;
        }
        &self.code
    }
}

#[derive(Debug)]
struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    found: RustText,
}

impl Scanner<'_> {
    /// Consumes one comment, literal or character; `false` at the end.
    fn step(&mut self) -> bool {
        let rest = self.rest;
        if rest.is_empty() {
            return false;
        }
        if rest.starts_with("//") {
            let end = rest.find('\n').unwrap_or(rest.len());
            self.comment(end);
        } else if rest.starts_with("/*") {
            self.comment(block_comment_length(rest));
        } else if let Some((open, close)) = raw_string_bounds(rest, self.found.code.chars().last()) {
            self.literal(open, close, rest.len().min(close + open_hashes(rest) + 1));
        } else if rest.starts_with('"') {
            let close = plain_string_end(rest);
            self.literal(1, close, rest.len().min(close + 1));
        } else if let Some(length) = character_length(rest) {
            self.code(1, false);
            self.code(length.saturating_sub(2), true);
            self.code(1, false);
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            self.code(length, false);
        }
        true
    }

    /// Moves `bytes` of the text to the code, blanked or as they are.
    fn code(&mut self, bytes: usize, blank: bool) {
        let (head, tail) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        for character in head.chars() {
            self.line += usize::from(character == '\n');
            self.found.code.push(if blank && character != '\n' { ' ' } else { character });
        }
        self.rest = tail;
    }

    fn comment(&mut self, bytes: usize) {
        let text = self.rest.get(..bytes).unwrap_or(self.rest).to_owned();
        self.found.comments.push((self.line, text));
        self.code(bytes, true);
    }

    /// A literal whose contents lie at `open..close` and which ends at `end`.
    fn literal(&mut self, open: usize, close: usize, end: usize) {
        let text = self.rest.get(open..close).unwrap_or_default().to_owned();
        self.found.literals.push((self.line, text));
        self.code(open, false);
        self.code(close.saturating_sub(open), true);
        self.code(end.saturating_sub(close), false);
    }
}

fn block_comment_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    while at < bytes.len() {
        let pair = bytes.get(at..at + 2).unwrap_or_default();
        if pair == b"/*" {
            depth += 1;
            at += 2;
        } else if pair == b"*/" {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Number of hash signs between the `r` and the quote of a raw string that starts here.
fn open_hashes(text: &str) -> usize {
    let start = text.find('r').map_or(0, |at| at + 1);
    text.get(start..).unwrap_or_default().bytes().take_while(|byte| *byte == b'#').count()
}

/// Where the contents of a raw string that starts here begin and end.
fn raw_string_bounds(text: &str, before: Option<char>) -> Option<(usize, usize)> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
    })?;
    let hashes = open_hashes(text);
    let open = prefix.len() + hashes + 1;
    let closing = format!("\"{}", "#".repeat(hashes));
    let body = text.get(open..)?;
    Some((open, body.find(&closing).map_or(text.len(), |at| open + at)))
}

/// Where the closing quote of a plain string literal that starts here is.
fn plain_string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// Length of the character literal that starts here, quotes included; `None` for a lifetime.
fn character_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        let end = inside.get(2..)?.find('\'')?;
        return Some(end + 4);
    }
    let first = inside.chars().next()?;
    inside.get(first.len_utf8()..)?.starts_with('\'').then(|| first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::RustText;

    #[test]
    fn code_literals_and_comments_come_apart() {
        let text =
            RustText::scan("let a = \"x // \\\" y\"; // why \"not\"\n/* a /* b */ c */ let b = r#\"q\"q\"#;");
        assert_eq!(text.literals, [(1, "x // \\\" y".to_owned()), (2, "q\"q".to_owned())]);
        assert_eq!(text.comments, [(1, "// why \"not\"".to_owned()), (2, "/* a /* b */ c */".to_owned())]);
        assert!(!text.code.contains("why") && !text.code.contains("a /*"));
        assert!(text.code.contains("let b ="));
    }

    #[test]
    fn lifetimes_are_no_character_literals() {
        let text =
            RustText::scan("fn f<'a>(x: &'a str) -> char { if x == \"'\" { '\"' } else { '\\'' } } // z");
        assert_eq!(text.literals, [(1, "'".to_owned())]);
        assert_eq!(text.comments.len(), 1);
    }

    #[test]
    fn inline_tests_are_cut_off() {
        let text = RustText::scan("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n");
        assert_eq!(text.code_without_tests(), "fn a() {}\n");
        let own_file = RustText::scan("fn a() {}\n#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert!(own_file.code_without_tests().contains("fn c"));
    }

    #[test]
    fn any_text_is_accepted() {
        for text in ["", "\"", "r#\"", "'", "/*", "'\\", "b'", "ä'ö'", "\"\\"] {
            let scanned = RustText::scan(text);
            assert!(scanned.code.len() <= text.len());
        }
    }
}
