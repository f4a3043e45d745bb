//! Queries the Python on PATH for its package folders, which finds a virtual environment that is not activated.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Prints the interpreter's search path, one folder per line. It imports nothing that a folder on that path could replace, and
/// skips the current folder, which is an empty entry.
const SCRIPT: &str = "import os, sys; sys.stdout.buffer.write(b'\\n'.join(map(os.fsencode, filter(None, sys.path))))";

/// The maximum length of the output.
const MAX_OUTPUT: u64 = 1 << 20;

/// The first Python 3 of a `PATH`. Relative entries are skipped: they depend on the current folder.
pub(super) fn on_path(path: &OsStr) -> Option<PathBuf> {
    let name = if cfg!(windows) { "python.exe" } else { "python3" };
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

/// The folders in which an interpreter searches for packages. It is killed if it takes longer than `limit`.
pub(super) fn packages(python: &Path, limit: Duration) -> Result<Vec<PathBuf>, String> {
    let deadline = Instant::now() + limit;
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Running(command.spawn().map_err(|why| format!("does not start: {why}"))?);
    let (sender, answer) = mpsc::channel();
    let stdout = child.0.stdout.take();
    // In a thread, since a read from a pipe has no timeout. It ends when the last process closes the pipe.
    let reader = std::thread::Builder::new().name("python".to_owned()).spawn(move || {
        let mut text = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_OUTPUT).read_to_end(&mut text));
        let _ = sender.send(read.is_some_and(|read| read.is_ok()).then_some(text));
    });
    reader.map_err(|why| format!("cannot be read: {why}"))?;
    let late = || format!("did not answer within {} s", limit.as_secs_f32());
    let text = answer.recv_timeout(limit).map_err(|_| late())?.ok_or("cannot be read")?;
    loop {
        match child.0.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(folders(&text)),
            Ok(Some(status)) => return Err(format!("failed ({status})")),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => return Err(late()),
            Err(why) => return Err(format!("cannot be waited for: {why}")),
        }
    }
}

/// The absolute folders of an output.
fn folders(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.map(path).filter(|folder| folder.is_absolute()).collect()
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> PathBuf {
    <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// A child process that is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(all(test, unix))]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with a shell script named `python3`.
    pub(in crate::nvrtc) fn python(script: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("python3");
        // Written by another process: an executable that this process, or a child forked by a parallel test, has open for writing
        // does not start.
        let mut writer = Command::new("sh");
        writer.args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", script]).arg(&file);
        assert!(writer.status().unwrap().success());
        (folder, file)
    }

    #[test]
    fn the_first_program_on_the_path_is_chosen() {
        let (one, first) = python("");
        let (two, second) = python("");
        let (three, text) = python("");
        fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("python3")).unwrap();
        let on = |folders: &[&Path]| on_path(&std::env::join_paths(folders).unwrap());
        assert_eq!(on(&[one.path(), two.path()]), Some(first));
        // A file that is not executable, a folder of that name, a folder that does not exist, a relative one.
        let others = [three.path(), folder.path(), Path::new("/no such folder"), Path::new(".")];
        assert_eq!(on(&others), None);
        assert_eq!(on(&[&others[..], &[two.path()]].concat()), Some(second));
    }

    #[test]
    fn the_output_is_one_folder_per_line() {
        let (_folder, file) = python(r"printf '/a/site-packages\nrelative\n\n/b c/dist-packages'");
        let found = packages(&file, Duration::from_secs(20)).unwrap();
        assert_eq!(found, [Path::new("/a/site-packages"), Path::new("/b c/dist-packages")]);
    }

    #[test]
    fn failures_are_one_line_and_bounded_in_time() {
        let ask = |script: &str, limit| {
            let (_folder, file) = python(script);
            let started = Instant::now();
            let why = packages(&file, Duration::from_millis(limit)).unwrap_err();
            assert!(started.elapsed() < Duration::from_secs(15), "{script}: {:?}", started.elapsed());
            why
        };
        assert!(ask("echo /a; exit 3", 20_000).contains("exit status: 3"));
        // Prints nothing; prints and does not exit; closes its output and does not exit.
        for script in ["exec sleep 30", "echo /a; exec sleep 30 >&-", "exec sleep 30 >&-"] {
            assert!(ask(script, 300).contains("did not answer within 0.3 s"), "{script}");
        }
        assert!(ask("exec cat /dev/zero", 20_000).contains("failed"), "the reader stops, so the writer fails");
        let why = packages(Path::new("/no such program"), Duration::from_secs(1)).unwrap_err();
        assert!(why.starts_with("does not start: ") && why.lines().count() == 1, "{why}");
    }

    /// The real interpreter, if there is one: the output has no current folder.
    #[test]
    fn an_interpreter_runs_the_script() {
        let Some(file) = std::env::var_os("PATH").and_then(|path| on_path(&path)) else { return };
        let found = packages(&file, Duration::from_secs(60)).unwrap();
        assert!(!found.is_empty() && found.iter().all(|folder| folder.is_absolute()), "{found:?}");
        assert!(!found.contains(&std::env::current_dir().unwrap()), "{found:?}");
    }
}
