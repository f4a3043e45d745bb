//! Safetensors files, good, damaged and forged.

use super::*;

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
fn tensors_and_texts_come_back() -> Result<()> {
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
    for (what, bytes, reason) in [
        ("empty", vec![], "not a valid"),
        ("short", vec![1, 2, 3], "not a valid"),
        ("length of 2^63", [(1u64 << 63).to_le_bytes().to_vec(), vec![b'{'; 9]].concat(), "not a valid"),
        ("length past the end", [100u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat(), "not a valid"),
        ("not JSON", file("hello, world", &[]), "not a valid"),
        ("not UTF-8", [1u64.to_le_bytes().to_vec(), vec![0xff]].concat(), "not a valid"),
        ("cut short", whole[..whole.len() - 1].to_vec(), "not a valid"),
        ("trailing", [whole.clone(), vec![0]].concat(), "not a valid"),
        ("shape and offsets differ", file(&f32s("[3]", "[0,8]"), &[0; 8]), "not a valid"),
        ("product overflows", file(&f32s("[99999999999,99999999999]", "[0,8]"), &[0; 8]), "not a valid"),
        ("negative size", file(&f32s("[-1]", "[0,8]"), &[0; 8]), "not a valid"),
        ("wrapping offsets", file(&format!("{{{wrapping}}}"), &[0; 8]), "10^15"),
        ("2^64 - 1", file(&f32s("[18446744073709551615]", "[0,8]"), &[0; 8]), "10^15"),
        ("hidden by zero", file(&f32s("[0,999999999999,999999999999]", "[0,0]"), &[]), "the shape"),
        ("rank 7", file(&f32s("[1,1,1,1,1,1,1]", "[0,4]"), &[0; 4]), "the shape"),
        ("brain", file(&f32s("[2]", "[0,4]").replace("F32", "BF16"), &[0; 4]), "w: the dtype BF16 is not supported"),
    ] {
        let error = parse(&bytes).expect_err(what);
        assert!(error.contains(reason) && !error.contains('\n'), "{what}: {error}");
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

#[test]
fn failures_leave_no_file_and_name_the_right_one() {
    let folder = std::env::temp_dir().join(format!("minitorch-replace-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("out");
    fs::write(&path, "old").unwrap();
    let failed = replace_file(&path, |temporary| {
        fs::write(temporary, "half").unwrap();
        Err(Error::format(temporary, "no"))
    });
    assert_eq!(failed.unwrap_err().to_string(), format!("{}: no", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    replace_file(&path, |temporary| fs::write(temporary, "new").map_err(|e| Error::io(temporary, e))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    fs::remove_dir_all(&folder).unwrap();
    let gone = write_tensors(&path, &[], &BTreeMap::new()).unwrap_err().to_string();
    assert!(gone.starts_with(&format!("{}: ", path.display())), "{gone}");
}
