//! `.npz` archives that NumPy wrote (`scripts/numpy_files.py make`), archives of ours, damaged and forged ones.

use super::*;
use minitorch_core::HostData;
use std::io::Cursor;
use std::path::PathBuf;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn read(bytes: &[u8]) -> std::result::Result<BTreeMap<String, HostTensor>, String> {
    parse_archive(Cursor::new(bytes)).map_err(|wrong| match wrong {
        Wrong::Format(reason) => reason,
        Wrong::Io(error) => panic!("memory has no errors of its own: {error}"),
    })
}

/// An archive of members as they come.
fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// What `scripts/numpy_files.py` puts into an array of this name: the element type, then the shape.
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
        "f2" | "f4" => HostData::F32(k.map(|k| (k - 3) as f32 / 2.0).collect()),
        "f8" => HostData::F64(k.map(|k| (k - 3) as f64 / 2.0).collect()),
        "b1" => HostData::Bool(k.map(|k| k % 3 == 0).collect()),
        unsigned if unsigned.starts_with('u') => HostData::I32(k.collect()),
        _ => HostData::I32(k.map(|k| k - 3).collect()),
    };
    HostTensor::new(shape, data)
}

#[test]
fn archives_of_numpy_hold_what_it_put_there() -> Result<()> {
    for file in ["stored.npz", "deflated.npz"] {
        let tensors = read_npz(fixture(file))?;
        assert_eq!(tensors.len(), 12 + 9 + 12 + 3, "{file}");
        for (name, tensor) in &tensors {
            assert_eq!(tensor, &promised(name), "{file}: {name}");
        }
    }
    Ok(())
}

#[test]
fn arrays_come_back_by_name() -> Result<()> {
    let path = std::env::temp_dir().join(format!("minitorch-npz-{}.npz", std::process::id()));
    let tensors: Vec<(String, HostTensor)> = [
        ("w", HostTensor::new([2, 1], HostData::F32(vec![1.5, -2.0]))),
        ("layer.0/bias", HostTensor::new([], HostData::F64(vec![0.1]))),
        ("../../é \"n\"", HostTensor::new([0], HostData::I32(vec![]))),
        ("a.npy", HostTensor::new([1], HostData::Bool(vec![true]))),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor))
    .to_vec();
    write_npz(&path, &tensors)?;
    let back = read_npz(&path)?;
    assert_eq!(back, tensors.iter().cloned().collect());
    let first = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    write_npz(&path, &tensors)?;
    assert_eq!(std::fs::read(&path).map_err(|e| Error::io(&path, e))?, first, "the same arrays, the same bytes");
    for name in ["", "w", "a\0b", &"x".repeat(70_000)] {
        let bad = [tensors[0].clone(), (name.to_string(), tensors[0].1.clone())];
        assert!(matches!(write_npz(&path, &bad), Err(Error::Invalid(_))), "{:.9}", name);
    }
    assert_eq!(read_npz(&path)?, back, "a failed write leaves the file as it was");
    write_npz(&path, &[])?;
    assert!(read_npz(&path)?.is_empty());
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    assert!(matches!(read_npz(&path), Err(Error::Io { .. })));
    Ok(())
}

/// A small archive with two arrays.
fn small(method: CompressionMethod) -> Vec<u8> {
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([2, 2], HostData::F32(vec![1.0; 4]))).unwrap();
    archive(&[("a.npy", &npy), ("b.npy", &npy)], method)
}

#[test]
fn bad_archives_are_errors_of_one_line() {
    let stored = CompressionMethod::Stored;
    let good = small(stored);
    let mut npy = Vec::new();
    write_array(&mut npy, &HostTensor::new([1], HostData::F32(vec![1.0]))).unwrap();
    let mut damaged = good.clone();
    let at = damaged.windows(4).position(|bytes| bytes == 1f32.to_le_bytes()).unwrap();
    damaged[at] ^= 1; // the checksum of the member knows
    for (what, bytes, reason) in [
        ("empty", vec![], "not a .npz file"),
        ("an array", npy.clone(), "not a .npz file"),
        ("cut short", good[..good.len() - 9].to_vec(), "not a .npz file"),
        ("a text", archive(&[("notes.txt", b"hello there")], stored), "notes.txt: not a .npy file"),
        ("a short text", archive(&[("notes.txt", b"hi")], stored), "notes.txt: cut short"),
        ("twice", archive(&[("a.npy", &npy), ("a", &npy)], stored), "a is there twice"),
        ("a cut member", archive(&[("a.npy", &npy[..npy.len() - 1])], stored), "a.npy: cut short"),
        ("a flipped bit", damaged, "a.npy: damaged"),
    ] {
        let error = read(&bytes).expect_err(what);
        assert!(error.contains(reason) && !error.contains('\n'), "{what}: {error}");
    }
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
