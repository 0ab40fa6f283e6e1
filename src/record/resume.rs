//! Rolling a CSV file back to a checkpoint.

use super::say;
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::Path,
};

/// Drops the rows past `last` (all rows if `None`), and a half-written last line, from a CSV file whose first column is
/// `env_step`.
///
/// A run that was killed may have written rows after its last checkpoint; the resumed run writes them again. The
/// rows kept are kept byte for byte. The file is replaced atomically, so that a kill in the middle of this leaves
/// the old one. A missing file is left missing. Whoever lost rows that the checkpoint knows of is warned.
pub(super) fn keep_rows_up_to(path: &Path, last: Option<u64>) -> Result<()> {
    let has = keep(path, last)?;
    if has < last {
        let said = has.map_or("nothing".into(), |step| format!("nothing behind step {step}"));
        say(format_args!(
            "warning: {} has {said}, though a row of step {} was written: rows were lost",
            path.display(),
            last.unwrap_or_default()
        ));
    }
    Ok(())
}

/// Does that without a word, and returns the step of the last row that is left.
pub(super) fn keep(path: &Path, last: Option<u64>) -> Result<Option<u64>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let (kept, has) = rows_up_to(&bytes, last).with_context(|| {
        format!(
            "cannot roll {} back to the checkpoint; repair or remove that line and run again",
            path.display()
        )
    })?;
    if kept != bytes {
        replace(path, &kept).with_context(|| format!("cannot rewrite {}", path.display()))?;
    }
    Ok(has)
}

/// The header and the complete rows with a first column of at most `last`, and that of the last of them.
fn rows_up_to(bytes: &[u8], last: Option<u64>) -> Result<(Vec<u8>, Option<u64>)> {
    // A line without its newline was being written when the process died. It cannot be told by its content: half of
    // "12000" is a fine number.
    let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(&[][..], |end| &bytes[..=end]);
    let mut reader = csv::Reader::from_reader(complete);
    let header = reader.byte_headers().context("its header cannot be read")?;
    ensure!(
        complete.is_empty() || header.get(0) == Some(b"env_step"),
        "its first column is not called env_step"
    );
    let mut start = reader.position().byte() as usize;
    let mut kept = complete[..start].to_vec();
    let (mut record, mut has) = (csv::StringRecord::new(), None);
    while reader.read_record(&mut record).context("a row cannot be read")? {
        let end = reader.position().byte() as usize;
        let step: u64 = record[0].parse().with_context(|| {
            format!("the row {:?} does not begin with an environment step", record.as_slice())
        })?;
        if Some(step) <= last {
            kept.extend_from_slice(&complete[start..end]);
            has = Some(step);
        }
        start = end;
    }
    Ok((kept, has))
}

/// Writes a file under another name beside `path`, and moves it into place when it is on the disk.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("csv.partial");
    let mut file = File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str, env_step: u64) -> String {
        String::from_utf8(rows_up_to(text.as_bytes(), Some(env_step)).unwrap().0).unwrap()
    }

    #[test]
    fn rows_past_the_checkpoint_go_and_the_others_stay_byte_for_byte() {
        let text = "env_step,x\n0,1.50\n200,\n400,3e-7\n600,4\n";
        assert_eq!(kept(text, 400), "env_step,x\n0,1.50\n200,\n400,3e-7\n");
        assert_eq!(kept(text, 399), "env_step,x\n0,1.50\n200,\n");
        assert_eq!(kept(text, 1_000), text);
    }

    #[test]
    fn a_checkpoint_before_the_first_row_keeps_the_header_only() {
        assert_eq!(rows_up_to(b"env_step,x\n0,1\n", None).unwrap(), (b"env_step,x\n".into(), None));
    }

    /// The trap: "20", the half of "2000,7", looks like an early step.
    #[test]
    fn a_half_line_goes_even_if_it_reads_like_an_early_row() {
        assert_eq!(kept("env_step,x\n100,1\n20", 500), "env_step,x\n100,1\n");
        assert_eq!(kept("env_step,x\n100,1\n200,3", 500), "env_step,x\n100,1\n");
        assert_eq!(kept("env_st", 500), "");
        assert_eq!(kept("", 500), "");
    }

    #[test]
    fn a_spoilt_file_is_an_error_that_shows_the_row() {
        let error = |text: &str| format!("{:#}", rows_up_to(text.as_bytes(), Some(500)).unwrap_err());
        assert!(
            error("env_step,x\n100,1\nhello,2\n").contains("hello"),
            "{}",
            error("env_step,x\nhello,2\n")
        );
        assert!(error("env_step,x\n100\n").contains("line: 2"), "{}", error("env_step,x\n100\n"));
        assert!(error("time,x\n100,1\n").contains("env_step"));
    }

    #[test]
    fn the_file_is_replaced_and_a_missing_one_is_left_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        keep_rows_up_to(&path, Some(10)).unwrap();
        assert!(!path.exists());

        fs::write(&path, "env_step,x\n10,1\n20,2\n3").unwrap();
        assert_eq!(keep(&path, Some(10)).unwrap(), Some(10));
        assert_eq!(keep(&path, Some(30)).unwrap(), Some(10), "a row of step 30 is gone");
        assert_eq!(fs::read_to_string(&path).unwrap(), "env_step,x\n10,1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the partial file was left behind");
    }

    #[test]
    fn the_error_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eval.csv");
        fs::write(&path, "env_step,x\nhello,1\n").unwrap();
        let error = format!("{:#}", keep_rows_up_to(&path, Some(10)).unwrap_err());
        assert!(error.contains("eval.csv") && error.contains("hello"), "{error}");
    }
}
