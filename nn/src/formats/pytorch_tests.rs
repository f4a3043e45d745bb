//! Checkpoints by PyTorch (`scripts/goldens_state.py`), forged and damaged ones.

use super::*;
use crate::formats::Elements;
use minitorch_core::Result;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::path::PathBuf;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/torch").join(name)
}

fn refused(name: &str) -> String {
    let error = StateDict::read(fixture(name)).unwrap_err().to_string();
    error.strip_prefix(&format!("{}: ", fixture(name).display())).unwrap().to_string()
}

#[test]
fn every_layout_and_type_of_pytorch_is_read() -> Result<()> {
    // The same tensors, contiguous, by the safetensors library.
    let expected = StateDict::read(fixture("state.safetensors"))?;
    for file in ["state.pt", "protocol4.pt"] {
        let state = StateDict::read(fixture(file))?;
        assert_eq!(state.len(), expected.len());
        for (name, tensor) in expected.iter() {
            assert_eq!(state.get(name), Some(tensor), "{file}: {name}");
        }
        assert_eq!(state.names().next(), Some("types.float16"), "in the order of the dictionary");
        assert_eq!(state.aliases(), [("tied.b", "tied.a"), ("tied.c", "tied.a")]);
        assert!(state.metadata.is_empty() && state.skipped().is_empty());
    }
    // And against the formulas of the script.
    assert_eq!(expected["transposed"].shape, [6, 4]);
    assert_eq!(expected["strided"].to_vec::<i32>()?, [6, 8, 10, 12, 14, 16, 18, 20, 22]);
    assert_eq!(
        expected["types.bfloat16"].data,
        Elements::BF16((-3..5).map(|k| half::bf16::from_f32(k as f32)).collect())
    );
    assert_eq!(expected["types.uint64"].data, Elements::U64((0..8).collect()));
    Ok(())
}

#[test]
fn a_checkpoint_is_flattened() -> Result<()> {
    let state = StateDict::read(fixture("checkpoint.pt"))?;
    let text = |key: &str| state.metadata.get(key).map(String::as_str);
    assert_eq!(
        (text("epoch"), text("loss"), text("run"), text("done")),
        (Some("5"), Some("0.25"), Some("b\n7"), Some("false"))
    );
    assert_eq!(
        (text("note"), text("seed"), text("history"), text("optimizer.param_groups.1.lr")),
        (None, None, None, Some("0.01"))
    );
    assert_eq!(state["optimizer.state.0.step"].to_vec::<i32>()?, [2]);
    assert_eq!(state["optimizer.state.3.step"].to_vec::<i32>()?, [1], "of the added group");
    assert_eq!(state["optimizer.state.0.exp_avg"].shape, [3, 2]);
    let model = state.subset("state_dict.");
    let names = ["embedding.weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"];
    assert_eq!(model.names().take(5).collect::<Vec<_>>(), names);
    assert_eq!(model["norm.num_batches_tracked"].data, Elements::I64(vec![2]));
    // `save_model` of the same network.
    let tied = StateDict::read(fixture("tied.safetensors"))?;
    assert_eq!(tied.aliases().len(), 1);
    assert_eq!(model.len(), tied.len());
    for (name, tensor) in tied.iter() {
        assert_eq!(model.get(name), Some(tensor), "{name}");
    }
    Ok(())
}

#[test]
fn lone_tensors_and_lists_have_names() -> Result<()> {
    assert_eq!(StateDict::read(fixture("tensor.pt"))?["tensor"].to_vec::<f32>()?, [1.0, 2.0]);
    assert_eq!(StateDict::read(fixture("list.pt"))?.names().collect::<Vec<_>>(), ["0", "1.b"]);
    Ok(())
}

#[test]
fn what_is_not_read_is_refused_by_its_name() -> Result<()> {
    for (file, reason) in [
        ("model.pt", "data.pkl: it names __main__.Net, which is not read"),
        ("set.pt", "data.pkl: it names __builtin__.set, which is not read"),
        ("legacy.pt", "a pickle, such as torch.save wrote before version 1.6"),
    ] {
        let error = refused(file);
        assert!(error.starts_with(reason), "{file}: {error}");
    }
    for (file, names) in [("types.pt", &["complex", "eighth"][..]), ("types.safetensors", &["eighth"])] {
        let state = StateDict::read(fixture(file))?;
        assert_eq!(state.names().collect::<Vec<_>>(), ["good"]);
        assert_eq!(state.skipped().keys().collect::<Vec<_>>(), names);
        let error = state.tensor("eighth").unwrap_err().to_string().to_lowercase();
        assert!(error.starts_with("eighth: the element type f") && error.contains("8_e4m3"), "{error}");
    }
    Ok(())
}

/// An archive of stored members in the folder `a`.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in members {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        writer.start_file(format!("a/{name}"), options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A pickle: a tensor with these tuples as offset, shape and strides of a float storage `0`.
fn tensor(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let head = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ";
    [head, offset, shape, strides, b"\x89}tR"].concat()
}

fn read(members: &[(&str, &[u8])]) -> std::result::Result<StateDict, String> {
    let state = StateDict::from_bytes(&archive(members)).map_err(|error| error.to_string());
    if let Err(error) = &state {
        assert!(!error.contains(char::is_control) && error.len() < 600, "{error}");
    }
    state
}

fn dict(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x01\0\0\0w", value, b"s."].concat()
}

#[test]
fn forged_views_are_errors() {
    let four: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = |offset: &[u8], shape: &[u8], strides: &[u8]| {
        let pickle = dict(&tensor(offset, shape, strides));
        read(&[("data.pkl", &pickle), ("data/0", &four)])
    };
    let good = view(b"K\x01", b"K\x03\x85", b"K\x01\x85").unwrap();
    assert_eq!(good["w"].to_vec::<f32>().unwrap(), [2.0, 3.0, 4.0]);
    // Strides of single elements do not matter, however large.
    let huge = b"J\xff\xff\xff\x7f\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x86";
    assert!(view(b"K\x00", b"K\x01K\x01\x86", huge).is_ok());
    /// Offset, shape and strides, and the reason.
    type View<'c> = (&'c [u8], &'c [u8], &'c [u8], &'c str);
    let cases: &[View] = &[
        (b"K\x02", b"K\x03\x85", b"K\x01\x85", "cut short: 4 elements do not hold [3]"),
        (b"K\x00", b"K\x02\x85", b"K\x04\x85", "cut short"),
        (b"K\x00", b"K\x02\x85", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85", "cut short"),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"K\x01\x85", b"K\x01\x85", "cut short"),
        (b"K\x00", b"M\x00\x01\x85", b"K\x00\x85", "more than 16 times the 16 bytes"),
        (b"K\x00", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86", b"K\x00K\x00\x86", "address space"),
        (b"K\x00", b"J\xff\xff\xff\xff\x85", b"K\x00\x85", "w: its shape is beyond 6 dimensions, or damaged"),
        (b"K\x00", b"K\x01\x85", b")", "w: its shape is beyond 6 dimensions, or damaged"),
        (b"K\x00", b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", "beyond 6"),
        (b"X\x01\0\0\0a", b"K\x01\x85", b"K\x01\x85", "other arguments"),
    ];
    for (offset, shape, strides, reason) in cases {
        let of_tensor =
            |state: StateDict| state.tensor("w").map(HostTensor::to_string).map_err(|error| error.to_string());
        let error = view(offset, shape, strides).and_then(of_tensor).expect_err(reason);
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn forged_archives_are_errors() {
    let pickle = dict(&tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85"));
    let (data, pickle) = (("data/0", &[0; 16][..]), ("data.pkl", &pickle[..]));
    assert!(read(&[pickle, data]).is_ok());
    /// Members, and the reason.
    type Forged<'c> = (&'c [(&'c str, &'c [u8])], &'c str);
    let cases: &[Forged] = &[
        (&[pickle], "a/data/0: the archive has no such member"),
        (&[pickle, data, ("byteorder", b"big")], "the byte order big"),
        (&[pickle, data, ("byteorder", b"\x1b[2J")], "the byte order \"\\u{1b}[2J\""),
        (&[pickle, data, ("constants.pkl", b"")], "a TorchScript archive"),
        (&[("data.pkl", b""), data], "data.pkl: cut short"),
    ];
    for (members, reason) in cases {
        let error = read(members).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("a/data.pkl", SimpleFileOptions::default()).unwrap();
    writer.write_all(&[b'0'; 1000]).unwrap();
    let error = StateDict::from_bytes(&writer.finish().unwrap().into_inner()).unwrap_err().to_string();
    assert_eq!(error, "a/data.pkl: compressed; PyTorch stores its tensors uncompressed");
}

#[test]
fn dictionaries_that_contain_each_other_are_bounded() {
    // d1 = {0: d0, 1: d0}, d2 = {0: d1, 1: d1}, ..: 2^30 paths to a tensor.
    let mut doubled = [&b"\x80\x02"[..], &tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85")[..], b"q\x00"].concat();
    for level in 0..30 {
        doubled.extend([&b"}(K\x00h"[..], &[level], b"K\x01h", &[level], b"uq", &[level + 1]].concat());
    }
    doubled.push(b'.');
    let error = read(&[("data.pkl", &doubled), ("data/0", &[0; 16])]).unwrap_err();
    assert!(error.contains("contain each other") || error.contains("too long"), "{error}");
    // A dictionary in itself.
    let error = read(&[("data.pkl", b"\x80\x02}q\x00K\x01h\x00s.")]).unwrap_err();
    assert!(error.contains("contain each other") || error.contains("more than 32"), "{error}");
    let deep = [b"\x80\x02".to_vec(), b"]".repeat(50_000), b"a".repeat(49_999), b".".to_vec()].concat();
    assert_eq!(
        read(&[("data.pkl", &deep)]).unwrap_err(),
        "data.pkl: more than 32 dictionaries and lists in each other"
    );
    // One long key around many others.
    let mut long = [&b"\x80\x02}X\x00\x01\x00\x00"[..], &[b'k'; 256], b"}("].concat();
    for i in 0..3000u16 {
        long.extend([&b"M"[..], &i.to_le_bytes(), b"K\x01"].concat());
    }
    long.extend(b"us.");
    assert_eq!(read(&[("data.pkl", &long)]).unwrap_err(), "data.pkl: the names of its tensors are too long");
    let twice =
        [&b"\x80\x02"[..], &tensor(b"K\x00", b"K\x01\x85", b"K\x01\x85")[..], b"q\x000}(X\x01\0\0\x001h\0K\x01h\0u."]
            .concat();
    assert_eq!(read(&[("data.pkl", &twice), ("data/0", &[0; 16])]).unwrap_err(), "data.pkl: two tensors are called 1");
}

proptest! {
    /// Any bytes in the place of a checkpoint's pickle, and any change of one.
    #[test]
    fn no_pickle_panics(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let good = dict(&[&tensor(b"K\x01", b"K\x03\x85", b"K\x01\x85")[..], b"q\x01"].concat());
        let mut changed = good.clone();
        for (at, byte) in changes {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        for pickle in [[&good[..5], &noise].concat(), noise, changed] {
            let _ = read(&[("data.pkl", &pickle), ("data/0", &[0; 16])]);
        }
    }
}

#[test]
fn no_damaged_byte_panics() {
    for name in ["list.pt", "tensor.pt"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        assert!(StateDict::from_bytes(&whole).is_ok());
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff, whole[at] ^ 0x80] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = StateDict::from_bytes(&damaged);
            }
            assert!(StateDict::from_bytes(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
