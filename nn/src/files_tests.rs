//! Replacing links and devices, concurrent writers, and files of killed processes.

use super::*;
use std::io::Write;
use std::time::SystemTime;

/// Replaces a file by a text.
fn put(path: &Path, text: &str) -> Result<()> {
    replace_file(path, |file| file.write_all(text.as_bytes()))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn failures_leave_only_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    fs::write(&path, "old").unwrap();
    let failed = replace_file(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no"))
    });
    assert_eq!(failed.unwrap_err().to_string(), format!("{}: no", path.display()));
    assert_eq!(text(&path), "old");
    put(&path, "new").unwrap();
    assert_eq!((text(&path), names(folder.path())), ("new".into(), vec!["out".into()]));
    let nowhere = folder.path().join("nowhere/out");
    let gone = put(&nowhere, "").unwrap_err().to_string();
    assert!(gone.starts_with(&format!("{}: ", nowhere.display())) && !gone.contains(PREFIX), "{gone}");
    let is_folder = put(folder.path(), "").unwrap_err().to_string();
    assert!(is_folder.contains("is a directory"), "{is_folder}");
}

#[test]
fn a_temporary_file_is_created_exclusively_with_a_random_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        replace_file(&path, |_| {
            let name = names(folder.path()).into_iter().find(|name| name.starts_with(PREFIX)).unwrap();
            let random = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(SUFFIX)).unwrap();
            assert!(random.len() == RANDOM && !name.contains(&std::process::id().to_string()), "{name}");
            seen.insert(name);
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(seen.len(), 20);
}

#[test]
fn temporary_files_of_killed_processes_are_removed_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let long_ago = SystemTime::now() - 2 * ABANDONED;
    let make = |name: &str, time: Option<SystemTime>| {
        let file = File::create(folder.path().join(name)).unwrap();
        time.into_iter().for_each(|time| file.set_modified(time).unwrap());
        file
    };
    let [dead, young, held] = ["a", "b", "c"].map(|letter| format!("{PREFIX}{}{SUFFIX}", letter.repeat(RANDOM)));
    make(&dead, Some(long_ago));
    make(&young, None);
    let holder = make(&held, Some(long_ago));
    holder.try_lock().unwrap();
    let others = [".minitorch-notes.tmp", ".minitorch-aaaaaaaaaaaaaaa-.tmp", "x.tmp"];
    others.iter().for_each(|name| drop(make(name, Some(long_ago))));
    put(&folder.path().join("out"), "").unwrap();
    let mut left: Vec<String> = [&young, &held].into_iter().cloned().collect();
    left.extend(others.iter().map(|name| name.to_string()));
    left.push("out".into());
    left.sort();
    assert_eq!(names(folder.path()), left);
    drop(holder);
    put(&folder.path().join("out"), "").unwrap();
    assert!(!names(folder.path()).contains(&held));
}

#[test]
fn many_writers_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let path = &path;
            scope.spawn(move || (0..20).for_each(|_| put(path, &format!("{writer}").repeat(1000)).unwrap()));
        }
    });
    let text = text(&path);
    assert!(text.len() == 1000 && text.bytes().all(|b| b == text.as_bytes()[0]), "{text}");
    assert_eq!(names(folder.path()), ["out"]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn permissions_are_preserved_and_new_files_have_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        for permissions in [0o600, 0o640, 0o644, 0o666, 0o751] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(permissions)).unwrap();
            put(&path, "new").unwrap();
            assert_eq!((text(&path).as_str(), mode(&path)), ("new", permissions), "{permissions:o}");
        }
        let [ours, any] = ["ours", "any"].map(|name| folder.path().join(name));
        put(&ours, "").unwrap();
        fs::write(&any, "").unwrap();
        assert_eq!(mode(&ours), mode(&any), "others may read it as they may any file");
    }

    #[test]
    fn a_link_is_preserved_and_its_target_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let (target, link, far) = (inner.join("target"), folder.path().join("link"), folder.path().join("far"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("inner/target", &link).unwrap();
        symlink(&link, &far).unwrap();
        put(&far, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::symlink_metadata(&far).unwrap().is_symlink());
        assert_eq!((text(&target).as_str(), mode(&target)), ("new", 0o640));
        assert_eq!(
            (names(&inner), names(folder.path())),
            (vec!["target".into()], vec!["far".into(), "inner".into(), "link".into()])
        );

        fs::remove_file(&target).unwrap();
        let dangling = put(&link, "").unwrap_err().to_string();
        assert!(dangling.contains("a symbolic link to a file that does not exist"), "{dangling}");
        assert!(!target.exists());
    }

    #[test]
    fn irregular_files_are_neither_replaced_nor_read() {
        let folder = tempfile::tempdir().unwrap();
        let [fifo, socket, link] = ["fifo", "socket", "link"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let _listener = UnixListener::bind(&socket).unwrap();
        symlink("/dev/null", &link).unwrap();
        let before = names(folder.path());
        for path in [&fifo, &socket, &link, Path::new("/dev/zero")] {
            let written = put(path, "").unwrap_err().to_string();
            let read = open(path).unwrap_err().to_string();
            assert!(written.contains("not a regular file") && read == "not a regular file", "{written}; {read}");
        }
        assert!(fs::symlink_metadata(&fifo).is_ok_and(|m| !m.is_file()) && names(folder.path()) == before);
        assert_eq!(open(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }
}

#[test]
fn allocations_are_bounded_by_what_arrives() {
    let bytes = read_up_to(&mut &[7; 100][..], usize::MAX).unwrap();
    assert!(bytes == [7; 100] && bytes.capacity() <= FIRST_READ);
    let bytes = read_up_to(&mut io::repeat(1), 1_000_003).unwrap();
    assert_eq!((bytes.len(), bytes.capacity()), (1_000_003, 1_000_003));
    assert!(read_up_to(&mut io::repeat(1), 0).unwrap().is_empty());
}
