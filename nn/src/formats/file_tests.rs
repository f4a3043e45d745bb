//! Recognition of formats, and round trips between them.

use super::*;
use crate::formats::{Elements, HostTensor};

fn state() -> StateDict {
    let mut state = StateDict::from_iter([
        ("a.weight", HostTensor::new([2, 2], vec![1.5f32, -0.0, 1e-45, f32::INFINITY])),
        ("b", HostTensor::new([], vec![std::f64::consts::PI])),
        ("half", HostTensor::new([2], vec![half::f16::from_f32(0.1); 2])),
        ("i", HostTensor::new([3], vec![i64::MIN, 0, i64::MAX])),
        ("u", HostTensor::new([1], vec![u64::MAX])),
        ("bytes", HostTensor::new([2, 1], vec![255u8, 0])),
        ("mask", HostTensor::new([2, 1], vec![true, false])),
        ("empty", HostTensor::new([0, 4], Elements::U16(vec![]))),
    ]);
    state.metadata.insert("note".into(), "a\n\"b\"".into());
    state
}

#[test]
fn values_of_all_types_round_trip() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no extension");
    let mut state = state();
    state.insert("brain", HostTensor::new([1], vec![half::bf16::from_f32(3e38)]));
    state.write(&path)?;
    assert_eq!(StateDict::read(&path)?, state);
    assert_eq!(StateDict::from_bytes(&state.to_bytes()?)?, state);
    assert_eq!(std::fs::read(&path).unwrap(), state.to_bytes()?);
    let some = StateDict::read_where(&path, |name| name == "mask")?;
    assert_eq!((some.names().collect::<Vec<_>>(), &some.metadata), (vec!["mask"], &state.metadata));

    let error = state.write_npz(&path).unwrap_err().to_string();
    assert_eq!(error, "brain is [1] bfloat16, which NumPy does not have; convert it to float32");
    assert_eq!(StateDict::read(&path)?, state, "a failed write leaves the file as it was");
    state.remove("brain");
    state.write_npz(&path)?;
    let back = StateDict::read(&path)?;
    assert_eq!(back.names().collect::<Vec<_>>(), state.names().collect::<Vec<_>>());
    state.metadata.clear();
    assert_eq!(back, state);
    Ok(())
}

#[test]
fn names_are_in_order_and_unique() -> Result<()> {
    let mut state = state();
    let one = || HostTensor::new([1], vec![1.0f32]);
    assert_eq!(state.insert("i", one()).map(|old| old.to_string()), Some("[3] int64".to_string()));
    assert_eq!(state.remove("b").map(|old| old.to_string()), Some("[] float64".to_string()));
    assert_eq!((state.remove("b"), state.len(), state.contains("b")), (None, 7, false));
    state.insert("b", one());
    let names = ["a.weight", "half", "i", "u", "bytes", "mask", "empty", "b"];
    assert_eq!(state.names().collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(state.get(name), state.iter().find(|(other, _)| *other == name).map(|(_, tensor)| tensor));
    }
    state.get_mut("i").unwrap().shape = vec![1, 1];
    assert_eq!(state["i"].shape, [1, 1]);

    let error = state.clone().rename(|name| name.chars().next().unwrap()).unwrap_err().to_string();
    assert_eq!(error, "rename: two tensors would be called b");
    let weights = state.clone().add_prefix("m.").subset("m.a.");
    assert_eq!(weights.names().collect::<Vec<_>>(), ["weight"]);
    assert_eq!(state.clone().add_prefix("m.").strip_prefix("m.")?, state);
    assert_eq!(state.tensor("none").unwrap_err().to_string(), "there is no tensor called none");
    assert_eq!(state.clone().into_iter().rev().collect::<StateDict>().metadata.len(), 0);
    Ok(())
}

#[test]
fn what_a_file_cannot_hold_is_an_error() {
    let error = |name: &str, tensor| StateDict::from_iter([(name, tensor)]).to_bytes().unwrap_err().to_string();
    let one = || HostTensor::new([1], vec![1.0f32]);
    assert!(error("__metadata__", one()).contains("cannot hold a tensor called __metadata__"));
    let broken = HostTensor { shape: vec![3], data: vec![1i32].into() };
    assert_eq!(error("w", broken.clone()), "w has 1 elements for the shape [3]");
    let path = std::env::temp_dir().join("minitorch-never-written.npz");
    for (name, tensor) in [("", one()), ("a\0", one()), (&"x".repeat(60_001), one()), ("w", broken)] {
        assert!(StateDict::from_iter([(name, tensor)]).write_npz(&path).is_err(), "{name:.9}");
    }
    assert!(!path.exists());
}

#[test]
fn other_formats_are_named() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "not a valid safetensors file, and no zip"),
        (b"rubbish, and more of it", "not a valid safetensors file, and no zip"),
        (b"\x93NUMPY\x01\0v\0{'descr'", "one array of NumPy, without a name"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", "torch.save wrote before version 1.6"),
        (b"PK\x03\x04\0\0\0\0\0\0\0", "not a valid zip archive"),
        (b"\x80\x02\0\0\0\0\0\0{\"a\":1}", "not a valid safetensors file: "),
    ];
    for (bytes, reason) in cases {
        let error = StateDict::from_bytes(bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    assert!(
        StateDict::from_bytes(b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0").is_ok_and(|state| state.is_empty())
    );
    // A header whose length begins as a pickle does.
    let mut state = state();
    state.metadata.insert("note".into(), String::new());
    while state.to_bytes().unwrap()[..2] != [0x80, 4] {
        state.metadata.get_mut("note").unwrap().push('x');
    }
    assert_eq!(StateDict::from_bytes(&state.to_bytes().unwrap()).unwrap(), state);
}
