//! Entries are read completely or not at all, from a folder that only the user can write to.

use super::*;
use std::sync::Barrier;

const CUBIN: &[u8] = b"\x7fELF and then the code";

fn entry(key: Key) -> Entry {
    Entry::new("reduce", Architecture::new(90), key)
}

/// The content of an entry, and whether it had to be built.
fn get(cache: &Cache, key: Key) -> (Vec<u8>, bool) {
    cache.read(&entry(key)).map_or_else(
        || {
            let _ = cache.write(&entry(key), CUBIN);
            (CUBIN.to_vec(), true)
        },
        |content| (content, false),
    )
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn an_entry_is_built_once() {
    let folder = tempfile::tempdir().unwrap();
    // The folder is created when it is first needed.
    let cache = Cache::at(folder.path().join("a/b"));
    let key = Key::of(["source", "options"]);
    assert_eq!(get(&cache, key), (CUBIN.to_vec(), true));
    assert_eq!(get(&cache, key), (CUBIN.to_vec(), false));
    let name = only_file(&folder.path().join("a/b")).file_name().unwrap().to_owned().into_string().unwrap();
    assert!(name.starts_with("reduce-sm_90-") && name.ends_with(".cubin") && name.len() == 13 + 16 + 6, "{name}");
}

#[test]
fn another_source_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    for key in [Key::of(["ab", "c"]), Key::of(["a", "bc"]), Key::of(["ab", "c", ""]), Key::of([])] {
        assert!(get(&cache, key).1);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_file_that_is_damaged_anywhere_is_built_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let key = Key::of(["source"]);
    get(&cache, key);
    let path = only_file(folder.path());
    let good = fs::read(&path).unwrap();
    let truncated = (0..good.len()).map(|length| good[..length].to_vec());
    let flipped = (0..good.len() * 8).map(|bit| {
        let mut file = good.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        file
    });
    let longer = [good.clone(), vec![0]].concat();
    for bad in truncated.chain(flipped).chain([longer]) {
        fs::write(&path, bad).unwrap();
        assert_eq!(get(&cache, key), (CUBIN.to_vec(), true));
        assert_eq!(fs::read(&path).unwrap(), good, "the bad file was not replaced");
    }
}

#[test]
fn a_file_under_the_name_of_another_entry_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let (key, other) = (Key(7 << 64 | 1), Key(7 << 64 | 2));
    get(&cache, other);
    assert!(get(&cache, key).1, "the names agree and the keys do not");
    only_file(folder.path());
}

#[test]
fn a_folder_that_cannot_be_written_is_no_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // Not even root can create a folder below a file.
    for cache in [Cache::at(file.path().join("cache")), Cache { folder: None }] {
        assert!(get(&cache, Key(1)).1);
        assert!(get(&cache, Key(1)).1);
    }
}

#[test]
fn discarded_entries_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    get(&cache, Key(1));
    get(&cache, Key(2 << 64));
    cache.discard(&entry(Key(1)));
    assert_eq!((cache.read(&entry(Key(1))), cache.read(&entry(Key(2 << 64)))), (None, Some(CUBIN.to_vec())));
    cache.discard(&entry(Key(1))); // nothing there is no error
    Cache { folder: None }.discard(&entry(Key(1)));
}

#[test]
fn concurrent_readers_and_writers_see_complete_files() {
    let folder = tempfile::tempdir().unwrap();
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // One `Cache` per thread, as processes have.
                let cache = Cache::at(folder.path());
                barrier.wait();
                for round in 0..50 {
                    assert_eq!(get(&cache, Key(round << 64)).0, CUBIN);
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 50, "temporary files are left");
}

#[test]
#[cfg(unix)]
fn only_the_owner_can_use_the_folder() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a/b");
    let cache = Cache::at(&folder);
    get(&cache, Key(1));
    assert_eq!((mode(&folder), mode(&only_file(&folder))), (0o700, 0o600));
    for (permissions, used) in [(0o720, false), (0o702, false), (0o777, false), (0o1777, false), (0o755, true)] {
        fs::set_permissions(&folder, fs::Permissions::from_mode(permissions)).unwrap();
        assert_eq!(get(&cache, Key(1)).1, !used, "{permissions:o}: what is there is not read");
        get(&cache, Key(2 << 64));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1 + used as usize, "{permissions:o}: nothing is written");
    }
    // A link is checked as the folder that it points to.
    let link = root.path().join("link");
    symlink(&folder, &link).unwrap();
    assert!(!get(&Cache::at(&link), Key(1)).1);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o733)).unwrap();
    assert!(get(&Cache::at(&link), Key(1)).1);
}

/// Only root can create a folder of another user; tests in containers often run as root.
#[test]
#[cfg(unix)]
fn a_folder_of_another_user_is_not_used() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("theirs");
    get(&Cache::at(&folder), Key(1));
    if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
        let cache = Cache::at(&folder);
        assert!(get(&cache, Key(1)).1 && get(&cache, Key(2 << 64)).1);
        only_file(&folder);
    }
}

#[test]
fn abandoned_temporary_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let (dead, young) = (folder.path().join(".minitorch-dead.tmp"), folder.path().join(".minitorch-young.tmp"));
    fs::write(&young, "").unwrap();
    let file = fs::File::create(&dead).unwrap();
    file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).unwrap();
    get(&cache, Key(1));
    assert!(!dead.exists() && young.exists());
}

#[test]
#[cfg(all(unix, not(target_os = "macos")))]
fn the_folder_follows_the_environment() {
    let with = |variables: &[(&str, &str)]| {
        folder(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    };
    let home = ("HOME", "/home/ada");
    assert_eq!(with(&[]), None);
    assert_eq!(with(&[home]), Some("/home/ada/.cache/minitorch".into()));
    assert_eq!(with(&[home, ("XDG_CACHE_HOME", "")]), Some("/home/ada/.cache/minitorch".into()));
    assert_eq!(with(&[home, ("XDG_CACHE_HOME", "relative")]), Some("/home/ada/.cache/minitorch".into()));
    assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/big")]), Some("/big/minitorch".into()));
    assert_eq!(with(&[home, ("MINITORCH_CACHE_DIR", "here")]), Some("here".into()));
}
