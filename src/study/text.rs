//! Words and numbers as reports and shells want them.

/// So many of something.
pub fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A command line as a shell reads it back.
pub fn command_line(program: &str, arguments: &[String]) -> String {
    let words = std::iter::once(program).chain(arguments.iter().map(String::as_str));
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// The command this process was started with, as it is to be run to have all that it reports.
pub fn this_command() -> String {
    command_line("td-koopman", &words().skip(1).filter(|word| word != "--report").collect::<Vec<_>>())
}

/// The program as it was called, for commands that others are to start.
pub fn this_program() -> String {
    words().next().unwrap_or_else(|| "td-koopman".into())
}

/// The words of this process's command; `std::env::args` would panic at a folder whose name is not UTF-8.
fn words() -> impl Iterator<Item = String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned())
}

/// A name that is safe as a folder's.
pub fn slug(text: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.=".contains(c) { c } else { '-' };
    text.chars().map(safe).collect()
}

/// A return with as many digits as a reader wants.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => "–".into(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// A cell of a Markdown table: one line, no column separators.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "seed")), ["0 seeds", "1 seed", "2 seeds"]);
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_change_them() {
        for (word, expected) in [
            ("planner.num_samples=64", "planner.num_samples=64"),
            ("a;b", "'a;b'"),
            ("[16, 16]", "'[16, 16]'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn numbers_have_three_digits_or_so() {
        for (value, text) in [(1234.56, "1235"), (-12.34, "-12.3"), (0.12345, "0.123"), (f64::NAN, "–")] {
            assert_eq!(number(value), text);
        }
    }
}
