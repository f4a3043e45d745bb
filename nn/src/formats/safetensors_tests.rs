//! Valid, damaged and forged safetensors files.

use super::*;
use std::fs;
use std::path::PathBuf;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("minitorch-file-{}-{name}.safetensors", std::process::id()))
}

#[test]
fn tensors_and_metadata_round_trip() -> Result<()> {
    let path = path("round");
    let tensors: Vec<(String, HostTensor)> = [
        ("a.weight", HostTensor::new([2, 2], HostData::F32(vec![1.5, -0.0, f32::NAN.to_bits() as f32, f32::INFINITY]))),
        ("b", HostTensor::new([], HostData::F64(vec![std::f64::consts::PI]))),
        ("c \"quoted\" 12345678901234567890", HostTensor::new([3], HostData::I32(vec![i32::MIN, 0, i32::MAX]))),
        ("d", HostTensor::new([2, 1], HostData::Bool(vec![true, false]))),
        ("empty", HostTensor::new([0, 4], HostData::F32(vec![]))),
    ]
    .map(|(name, tensor)| (name.to_string(), tensor))
    .to_vec();
    let metadata =
        BTreeMap::from([("step".to_string(), "12".to_string()), ("note".to_string(), "a\n\"b\"".to_string())]);
    write_tensors(&path, &tensors, &metadata)?;
    let back = read_tensors(&path)?;
    assert_eq!(back, Tensors { tensors: tensors.iter().cloned().collect(), metadata });
    let (other, permissions) =
        (path.with_extension("plain"), |path: &Path| fs::metadata(path).map(|m| m.permissions()).ok());
    fs::write(&other, "").map_err(|e| Error::io(&other, e))?;
    assert_eq!(permissions(&path), permissions(&other), "others may read it as they may any file");
    fs::remove_file(&other).map_err(|e| Error::io(&other, e))?;
    let twice = [tensors[1].clone(), tensors[1].clone()];
    assert!(matches!(write_tensors(&path, &twice, &BTreeMap::new()), Err(Error::Invalid(_))));
    assert_eq!(read_tensors(&path)?, back, "a failed write leaves the file as it was");
    fs::remove_file(&path).map_err(|e| Error::io(&path, e))
}

#[test]
fn i64_becomes_i32_in_range() {
    let header = r#"{"n":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#;
    let data = |a: i64, b: i64| [a.to_le_bytes(), b.to_le_bytes()].concat();
    let good = parse(&file(header, &data(-7, i32::MAX as i64))).unwrap();
    assert_eq!(good.tensors["n"], HostTensor::new([2], HostData::I32(vec![-7, i32::MAX])));
    let bad = parse(&file(header, &data(0, 1 << 31))).unwrap_err();
    assert_eq!(bad, "n: the I64 value 2147483648 does not fit I32");
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
        ("hidden by zero", file(&f32s("[0,999999999999,999999999999]", "[0,0]"), &[]), "the shape"),
        ("one name twice", file(&format!("{}, {}", &empty[..empty.len() - 1], &empty[1..]), &[]), "occurs twice"),
        ("an escape in a name", file(&f32s("[2]", "[0,4]").replace('w', r"\u001b[2J\r"), &[0; 4]), "not a valid"),
        ("an escape in a type", file(&f32s("[1]", "[0,4]").replace("F32", r"\u001b[2J"), &[0; 4]), r"\u{1b}[2J"),
        ("a long name", file(&f32s("[2]", "[0,4]").replace("w", &"w".repeat(9000)), &[0; 4]), "not a valid"),
        (
            "a long name of a good shape",
            file(&f32s("[2]", "[0,4]").replace("w", &"w".repeat(9000)).replace("F32", "BF16"), &[0; 4]),
            "\".. (9000 bytes): the dtype",
        ),
        ("9000 sizes", file(&f32s(&format!("[1{}]", ",1".repeat(8999)), "[0,4]"), &[0; 4]), "of 9000 dimensions"),
        ("rank 7", file(&f32s("[1,1,1,1,1,1,1]", "[0,4]"), &[0; 4]), "the shape"),
        ("brain", file(&f32s("[2]", "[0,4]").replace("F32", "BF16"), &[0; 4]), "w: the dtype BF16 is not supported"),
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

/// Valid files of other programs, with an unsupported element type or unusual names.
#[test]
fn other_types_and_names_are_errors_that_say_so() -> Result<()> {
    use crate::Linear;
    use minitorch_conformance::doc::{Plain, device};
    let (path, mut linear) = (path("other"), Linear::<Plain>::new(3, 2, &device()));
    let before = crate::state::tensors(&linear)?;
    let weights = |dtype: &str, size: usize, prefix: &str| {
        let (bias, all) = (2 * size, 8 * size);
        let header = format!(
            r#"{{"{prefix}bias":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{bias}]}},"{prefix}weight":{{"dtype":"{dtype}","shape":[2,3],"data_offsets":[{bias},{all}]}}}}"#
        );
        file(&header, &vec![0; all])
    };
    for (bytes, reasons) in [
        (weights("F16", 2, ""), ["weight ([2, 3] float16 in the file", "bias ([2] float16 in the file"]),
        (weights("BF16", 2, ""), ["the dtype BF16 is not supported", ""]),
        (weights("F32", 4, "module."), ["missing: bias, weight", "unexpected: module.bias, module.weight"]),
        (weights("F32", 4, r"\u001b]0;x\u0007"), ["missing: bias, weight", r#"unexpected: "\u{1b}]0;x\u{7}bias""#]),
    ] {
        fs::write(&path, bytes).map_err(|e| Error::io(&path, e))?;
        let error = crate::state::load(&mut linear, &path).unwrap_err().to_string();
        assert!(reasons.iter().all(|reason| error.contains(reason)) && !error.contains(char::is_control), "{error}");
    }
    assert_eq!(crate::state::tensors(&linear)?, before);
    fs::remove_file(&path).map_err(|e| Error::io(&path, e))
}

#[test]
fn a_tensor_beyond_the_device_limits_is_an_error() {
    use minitorch_conformance::doc::device;
    for (tensor, reason) in [
        (HostTensor { shape: vec![3], data: HostData::F32(vec![0.0]) }, "1 elements for the shape [3]"),
        (HostTensor { shape: vec![1; 9], data: HostData::F32(vec![0.0]) }, "beyond 6 dimensions"),
    ] {
        let error = tensor.to_tensor(&device()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}
