//! Files that are whole or, after a kill, the ones before.

use crate::config::ConfigError;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Writes a file that is whole or, after a kill, the one before. What is no file, `/dev/stdout` say, is written to, not replaced.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
            return fs::write(path, bytes);
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // several processes may write the same file at the same time, each its own partial one
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = folder.join(name);
        let fill = || -> std::io::Result<()> {
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&partial, path)
        };
        fill().inspect_err(|_| {
            // on a full disk it takes room, and nothing else would remove it
            let _ = fs::remove_file(&partial);
        })
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Refuses a name that promises another kind of picture; what is no file is nobody's promise.
pub fn require_svg(path: &Path) -> Result<(), ConfigError> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(other) if !other.eq_ignore_ascii_case("svg") => Err(ConfigError(format!(
            "{} would be a picture of another kind: pictures are SVG, so give FILE.svg",
            path.display()
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that could not be written left its partial one behind.
    #[test]
    fn atomic_files_replace_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/a.csv");
        write_atomically(&path, b"1").unwrap();
        write_atomically(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        let in_the_way = folder.path().join("new/folder");
        fs::create_dir(&in_the_way).unwrap();
        assert!(write_atomically(&in_the_way, b"3").unwrap_err().to_string().contains("new/folder"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    /// `plot --out /dev/stdout` would have put a file in the place of it.
    #[test]
    fn what_a_link_points_to_is_written_and_the_link_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"after").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"after");
    }
}
