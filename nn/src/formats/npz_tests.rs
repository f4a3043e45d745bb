//! `.npz` archives by NumPy (`scripts/numpy_files.py make`), by this library, damaged and forged ones.

use super::*;
use crate::formats::Elements;
use minitorch_core::f16;
use std::io::Cursor;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn read(bytes: &[u8]) -> std::result::Result<StateDict, String> {
    StateDict::from_bytes(bytes).map_err(|error| error.to_string())
}

/// An archive of these members.
fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// The array that `scripts/numpy_files.py` writes under this name, which encodes element type and shape.
fn promised(name: &str) -> HostTensor {
    let mut words = name.split(' ');
    let (kind, shape) = (words.next().unwrap(), words.nth(1).unwrap());
    let shape = match shape {
        "0" => vec![],
        "1" => vec![5],
        "2" => vec![2, 3],
        "3" => vec![2, 3, 4],
        "6" => vec![1, 2, 1, 3, 2, 1],
        "empty" => vec![0, 4],
        other => panic!("the shape {other}"),
    };
    let k = 0..shape.iter().product::<usize>() as i32;
    let data = match kind {
        "f2" => Elements::F16(k.map(|k| f16::from_f32((k - 3) as f32 / 2.0)).collect()),
        "f4" => Elements::F32(k.map(|k| (k - 3) as f32 / 2.0).collect()),
        "f8" => Elements::F64(k.map(|k| (k - 3) as f64 / 2.0).collect()),
        "b1" => Elements::Bool(k.map(|k| k % 3 == 0).collect()),
        "u1" => Elements::U8(k.map(|k| k as u8).collect()),
        "u2" => Elements::U16(k.map(|k| k as u16).collect()),
        "u4" => Elements::U32(k.map(|k| k as u32).collect()),
        "u8" => Elements::U64(k.map(|k| k as u64).collect()),
        "i1" => Elements::I8(k.map(|k| k as i8 - 3).collect()),
        "i2" => Elements::I16(k.map(|k| k as i16 - 3).collect()),
        "i4" => Elements::I32(k.map(|k| k - 3).collect()),
        "i8" => Elements::I64(k.map(|k| k as i64 - 3).collect()),
        other => panic!("the type {other}"),
    };
    HostTensor::new(shape, data)
}

#[test]
fn archives_of_numpy_are_read() -> Result<()> {
    for file in ["stored.npz", "deflated.npz"] {
        let tensors = StateDict::read(fixture(file))?;
        assert_eq!(tensors.len(), 12 + 9 + 12 + 3, "{file}");
        for (name, tensor) in tensors.iter() {
            assert_eq!(tensor, &promised(name), "{file}: {name}");
        }
    }
    Ok(())
}

#[test]
fn arrays_round_trip_by_name() -> Result<()> {
    let path = std::env::temp_dir().join(format!("minitorch-npz-{}.npz", std::process::id()));
    let tensors = StateDict::from_iter([
        ("w", HostTensor::new([2, 1], Elements::F32(vec![1.5, -2.0]))),
        ("layer.0/bias", HostTensor::new([], Elements::F64(vec![0.1]))),
        ("../../é \"n\"", HostTensor::new([0], Elements::I32(vec![]))),
        ("a.npy", HostTensor::new([1], Elements::Bool(vec![true]))),
    ]);
    tensors.write_npz(&path)?;
    let back = StateDict::read(&path)?;
    assert_eq!(back, tensors);
    let first = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    tensors.write_npz(&path)?;
    assert_eq!(std::fs::read(&path).map_err(|e| Error::io(&path, e))?, first, "the same arrays, the same bytes");
    for name in ["", "a\0b", &"x".repeat(70_000)] {
        let mut bad = tensors.clone();
        bad.insert(name, tensors["w"].clone());
        assert!(matches!(bad.write_npz(&path), Err(Error::Invalid(_))), "{:.9}", name);
    }
    assert_eq!(StateDict::read(&path)?, back, "a failed write leaves the file as it was");
    StateDict::new().write_npz(&path)?;
    assert!(StateDict::read(&path)?.is_empty());
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    assert!(matches!(StateDict::read(&path), Err(Error::Io { .. })));
    Ok(())
}

/// A small archive with two arrays.
fn small(method: CompressionMethod) -> Vec<u8> {
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([2, 2], Elements::F32(vec![1.0; 4]))).unwrap();
    archive(&[("a.npy", &npy), ("b.npy", &npy)], method)
}

#[test]
fn bad_archives_are_errors_of_one_line() {
    let stored = CompressionMethod::Stored;
    let good = small(stored);
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([1], Elements::F32(vec![1.0]))).unwrap();
    let mut damaged = good.clone();
    let at = damaged.windows(4).position(|bytes| bytes == 1f32.to_le_bytes()).unwrap();
    damaged[at] ^= 1; // wrong checksum
    for (what, bytes, reason) in [
        ("cut short", good[..good.len() - 9].to_vec(), "not a valid zip archive"),
        ("no array but for its name", archive(&[("a", &npy[..npy.len() - 1])], stored), "a: cut short"),
        ("twice", archive(&[("a.npy", &npy), ("a", &npy)], stored), "a is there twice"),
        ("a cut member", archive(&[("a.npy", &npy[..npy.len() - 1])], stored), "a.npy: cut short"),
        ("an escape in a name", renamed(&damaged, "a.npy", "\x1b[31m"), "\"\\u{1b}[31m\": damaged"),
        ("a flipped bit", damaged, "a.npy: damaged"),
        ("one name twice", renamed(&good, "b.npy", "a.npy"), "two members have one name"),
        ("many names for one array", overlapping(400), "its members overlap"),
    ] {
        let error = read(&bytes).expect_err(what);
        assert!(error.contains(reason) && !error.contains('\n'), "{what}: {error}");
    }
}

/// The archive with one name replaced by another of the same length.
fn renamed(archive: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = archive.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

/// One deflated array of 8 MiB of zeros under several names.
fn overlapping(names: u16) -> Vec<u8> {
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([1 << 21], Elements::F32(vec![0.0; 1 << 21]))).unwrap();
    let whole = archive(&[("a0000.npy", &npy)], CompressionMethod::Deflated);
    let end = whole.len() - 22; // the end record
    let start = u32::from_le_bytes(whole[end + 16..end + 20].try_into().unwrap()) as usize;
    let mut bytes = whole[..start].to_vec();
    for i in 0..names {
        bytes.extend(renamed(&[&whole[start..end], &[0; 9]].concat(), "a0000.npy", &format!("a{i:04}.npy")));
        bytes.truncate(bytes.len() - 9);
    }
    let directory = (bytes.len() - start) as u32;
    bytes.extend(&whole[end..end + 8]);
    bytes.extend([names.to_le_bytes(), names.to_le_bytes()].concat());
    bytes.extend(directory.to_le_bytes());
    bytes.extend(&whole[end + 16..]);
    bytes
}

#[test]
fn other_readers_inflate_the_overlapping_archive() {
    assert!(read(&overlapping(1)).is_ok_and(|state| state["a0000"].shape == [1 << 21]));
    let archive = ZipArchive::new(Cursor::new(overlapping(3))).unwrap();
    let names: Vec<&[u8]> = archive.file_names_raw().collect();
    assert_eq!(names, [b"a0000.npy", b"a0001.npy", b"a0002.npy"]);
}

#[test]
fn claimed_sizes_are_checked_before_inflating() {
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([64], Elements::F32(vec![0.0; 64]))).unwrap();
    let size = npy.len() as u32;
    let good = archive(&[("a.npy", &npy)], CompressionMethod::Deflated);
    assert!(read(&good).is_ok());
    for (claim, reason) in [(size + 4, "bytes follow the 256"), (size - 4, "cut short"), (u32::MAX - 1, "cannot hold")]
    {
        let forged: Vec<u8> = {
            let (mut bytes, from, to) = (good.clone(), size.to_le_bytes(), claim.to_le_bytes());
            (0..bytes.len() - 4).for_each(|at| {
                if bytes[at..].starts_with(&from) {
                    bytes[at..at + 4].copy_from_slice(&to);
                }
            });
            bytes
        };
        let error = read(&forged).unwrap_err();
        assert!(error.contains(reason), "{claim}: {error}");
    }
}

#[test]
fn members_that_are_no_arrays_are_skipped() -> Result<()> {
    let (mut npy, text) = (Vec::new(), b"hello there");
    write_array(&mut npy, &HostTensor::new([1], Elements::F32(vec![2.5]))).unwrap();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_directory("enc", SimpleFileOptions::default()).unwrap();
    for (name, content) in [("enc/w.npy", &npy[..]), ("notes.txt", text), ("empty", b""), ("bare", &npy)] {
        writer.start_file(name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    let bytes = writer.finish().unwrap().into_inner();
    let state = read(&bytes).unwrap();
    assert_eq!(state.names().collect::<Vec<_>>(), ["enc/w", "bare"], "in the order of the archive");
    assert_eq!(state.skipped().keys().collect::<Vec<_>>(), ["empty", "notes.txt"]);

    // Arrays of text, of objects and of records are reported only when they are asked for.
    let array = |descr: &str| -> Vec<u8> {
        let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n");
        [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes(), &[0; 8]].concat()
    };
    let (texts, objects, records) = (array("'<U2'"), array("'|O'"), array("[('x', '<f4'), ('y', '<f4')]"));
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let mixed = [("t.npy", &texts), ("o.npy", &objects), ("r.npy", &records), ("w.npy", &npy)];
        let mixed = archive(&mixed.map(|(name, bytes)| (name, &bytes[..])), method);
        let state = read(&mixed).unwrap();
        assert_eq!(state.names().collect::<Vec<_>>(), ["w"]);
        for (name, reason) in [
            ("t", "t: the element type <U2 is not supported"),
            ("o", "o: the element type |O is not supported"),
            ("r", "r: not a header of one plain array"),
            ("v\x1b", "there is no tensor called \"v\\u{1b}\""),
        ] {
            let error = state.tensor(name).unwrap_err().to_string();
            assert!(error.starts_with(reason), "{error}");
        }
        // Damage in an array of objects is damage in the file.
        let mut damaged = mixed.clone();
        let at = damaged.windows(2).position(|bytes| bytes == b"|O");
        if let Some(at) = at {
            damaged[at + 40] ^= 1;
            let error = read(&damaged).unwrap_err();
            assert!(error.starts_with("o.npy: damaged"), "{error}");
        }
        assert!(at.is_some() || method == CompressionMethod::Deflated);
    }
    Ok(())
}

#[test]
fn no_damaged_byte_panics() {
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let whole = small(method);
        assert_eq!(read(&whole).unwrap().len(), 2);
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff, whole[at] ^ 0x80, whole[at].wrapping_add(1)] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = read(&damaged);
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
