//! Valid, damaged and forged safetensors files.

use super::*;
use std::io::Cursor;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn parse(bytes: &[u8]) -> std::result::Result<StateDict, String> {
    super::parse(Cursor::new(bytes), bytes.len() as u64, &mut |_| true).map_err(|failure| match failure {
        Failure::Format(reason) => reason,
        Failure::Io(_) | Failure::Foreign(_) => panic!("memory has no errors of its own"),
    })
}

#[test]
fn the_order_is_that_of_the_data_and_some_can_be_read() {
    let header = r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},
                    "__metadata__":{"c":"b","d":"b","e":"f"}}"#;
    let bytes = file(header, &[255, 255]);
    let state = parse(&bytes).unwrap();
    assert_eq!(state.names().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    assert_eq!((state["a"].to_vec::<i32>().unwrap(), state["d"].to_vec::<i32>().unwrap()), (vec![-1], vec![255]));
    assert_eq!(state.metadata.into_iter().collect::<Vec<_>>(), [("e".to_string(), "f".to_string())]);
    let state = super::parse(Cursor::new(&bytes), bytes.len() as u64, &mut |name| name == "d").ok().unwrap();
    assert_eq!((state.len(), state["d"].to_string().as_str()), (1, "[1] uint8"));
    let mut clash = parse(&bytes).unwrap();
    clash.metadata.insert("d".into(), "mine".into());
    let error = clash.to_bytes().unwrap_err().to_string();
    assert_eq!(error, "the metadata cannot hold a text called d, a tied tensor");
}

#[test]
fn bad_files_are_errors_of_one_line() {
    let f32s =
        |shape: &str, offsets: &str| format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let quarter = 1usize << 61; // bytes; eight such tensors end at 2^64 - small
    let wrapping: String = (0..8usize)
        .map(|i| {
            format!(
                r#""{i}":{{"dtype":"U8","shape":[{quarter}],"data_offsets":[{},{}]}}"#,
                i * quarter,
                (i + 1).wrapping_mul(quarter).wrapping_sub(1)
            )
        })
        .collect::<Vec<_>>()
        .join(",");
    let whole = file(&f32s("[2]", "[0,8]"), &[0; 8]);
    let empty = f32s("[0]", "[0,0]");
    for (what, bytes, reason) in [
        ("empty", vec![], "not a valid"),
        ("short", vec![1, 2, 3], "not a valid"),
        ("length of 2^63", [(1u64 << 63).to_le_bytes().to_vec(), vec![b'{'; 9]].concat(), "not a valid"),
        ("length past the end", [100u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat(), "not a valid"),
        ("not JSON", file("hello, file", &[]), "not a valid"),
        ("not UTF-8", [1u64.to_le_bytes().to_vec(), vec![0xff]].concat(), "not a valid"),
        ("cut short", whole[..whole.len() - 1].to_vec(), "not a valid"),
        ("trailing", [whole.clone(), vec![0]].concat(), "not a valid"),
        ("shape and offsets differ", file(&f32s("[3]", "[0,8]"), &[0; 8]), "not a valid"),
        ("product overflows", file(&f32s("[99999999999,99999999999]", "[0,8]"), &[0; 8]), "not a valid"),
        ("negative size", file(&f32s("[-1]", "[0,8]"), &[0; 8]), "not a valid"),
        ("wrapping offsets", file(&format!("{{{wrapping}}}"), &[0; 8]), "10^15"),
        ("2^64 - 1", file(&f32s("[18446744073709551615]", "[0,8]"), &[0; 8]), "10^15"),
        ("one name twice", file(&format!("{}, {}", &empty[..empty.len() - 1], &empty[1..]), &[]), "occurs twice"),
        ("an escape in a name", file(&f32s("[2]", "[0,4]").replace('w', r"\u001b[2J\r"), &[0; 4]), "not a valid"),
        ("an escape in a type", file(&f32s("[1]", "[0,4]").replace("F32", r"\u001b[2J"), &[0; 4]), r"\u{1b}[2J"),
        ("a long name", file(&f32s("[2]", "[0,4]").replace("w", &"w".repeat(9000)), &[0; 4]), "not a valid"),
    ] {
        let error = parse(&bytes).expect_err(what);
        assert!(error.contains(reason) && !error.contains(char::is_control), "{what}: {error}");
        assert!(error.len() < 600, "{what}: {error}");
    }
}

#[test]
fn no_damaged_byte_panics() {
    let header = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let whole = file(header, &[0; 8]);
    assert!(parse(&whole).is_ok());
    for at in 0..whole.len() {
        for value in [0, b'"', b'\\', b'9', b'{', whole[at] ^ 0x80, whole[at].wrapping_add(1)] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            let _ = parse(&damaged);
        }
        assert!(parse(&whole[..at]).is_err());
    }
}

/// Valid files of other programs, with tensors that are not read.
#[test]
fn tensors_that_are_not_read_are_reported_when_asked_for() {
    let good = r#""good":{"dtype":"F32","shape":[],"data_offsets":[0,4]}"#;
    for (dtype, shape, size, reason) in [
        ("F8_E4M3", "[2]", 2, "the element type F8_E4M3 is not supported"),
        ("C64", "[1]", 8, "the element type C64 is not supported"),
        ("F32", "[1,1,1,1,1,1,1]", 4, "the shape [1, 1, 1, 1, 1, 1, 1] is beyond 6 dimensions"),
        ("F32", "[0,999999999999,999999999999]", 0, "or the address space"),
        ("F32", &format!("[1{}]", ",1".repeat(8999)), 4, "of 9000 dimensions"),
    ] {
        let name = "w".repeat(9000);
        let end = 4 + size;
        let header = format!(r#"{{{good},"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[4,{end}]}}}}"#);
        let state = parse(&file(&header, &vec![0; end])).unwrap();
        assert_eq!(state.names().collect::<Vec<_>>(), ["good"]);
        let error = state.tensor(&name).unwrap_err().to_string();
        assert!(error.contains("\".. (9000 bytes): ") && error.contains(reason) && error.len() < 600, "{error}");
    }
}

/// Valid files of other programs, with other element types or unusual names.
#[test]
fn other_types_are_loaded_and_other_names_are_errors() -> Result<()> {
    use crate::state::Strict;
    use crate::{Linear, Module};
    use minitorch_conformance::doc::{Plain, device};
    let mut linear = Linear::<Plain>::new(3, 2, &device());
    let weights = |dtype: &str, size: usize, prefix: &str| {
        let (bias, all) = (2 * size, 8 * size);
        let header = format!(
            r#"{{"{prefix}bias":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{bias}]}},"{prefix}weight":{{"dtype":"{dtype}","shape":[2,3],"data_offsets":[{bias},{all}]}}}}"#
        );
        let data: Vec<u8> = (0..8).flat_map(|_| [vec![0; size - 1], vec![0x40]].concat()).collect();
        StateDict::from_bytes(&file(&header, &data))
    };
    let missing = "missing: weight [2, 3], bias [2]";
    for (file, reasons) in [
        (
            weights("F8_E5M2", 1, "")?,
            ["missing: weight [2, 3] (the element type F8_E5M2 is not", "bias [2] (the element"],
        ),
        (weights("F32", 4, "module.")?, [missing, "unexpected: module.bias [2], module.weight [2, 3]"]),
        (weights("F32", 4, r"\u001b]0;x\u0007")?, [missing, r#"unexpected: "\u{1b}]0;x\u{7}bias" [2]"#]),
        (weights("F32", 4, &"x".repeat(300))?, [missing, "(306 bytes)"]),
    ] {
        let before = linear.state()?;
        let error = linear.load_state(&file, Strict::Yes).unwrap_err().to_string();
        assert!(reasons.iter().all(|reason| error.contains(reason)) && !error.contains(char::is_control), "{error}");
        assert_eq!(linear.state()?, before);
    }
    for (dtype, size, value) in
        [("F16", 2, 2.0), ("BF16", 2, 2.0), ("F64", 8, 2.0), ("U8", 1, 64.0), ("I16", 2, 16384.0)]
    {
        linear.load_state(&weights(dtype, size, "")?, Strict::Yes)?;
        assert_eq!(linear.weight.to_vec::<f32>()?, [value; 6], "{dtype}");
    }
    Ok(())
}

#[test]
fn a_tensor_beyond_the_device_limits_is_an_error() {
    use minitorch_conformance::doc::device;
    for (tensor, reason) in [
        (HostTensor { shape: vec![3], data: vec![0.0f32].into() }, "1 elements for the shape [3]"),
        (HostTensor { shape: vec![1; 9], data: vec![0.0f32].into() }, "beyond 6 dimensions"),
        (HostTensor { shape: vec![1 << 40, 0, 1 << 40], data: Vec::<f32>::new().into() }, "the address space"),
    ] {
        let error = tensor.to_tensor(&device()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
