//! Valid, damaged and forged `.npy` files. Files that NumPy wrote are in `npz_tests.rs`.

use super::*;
use crate::formats::Elements;

fn header(text: &str) -> Vec<u8> {
    [&MAGIC[..], &[1, 0], &(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn file(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let fortran = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    [header(&text), data.to_vec()].concat()
}

fn read(bytes: &[u8]) -> std::result::Result<HostTensor, String> {
    parse(&mut &bytes[..], bytes.len() as u64).map_err(|wrong| match wrong {
        Failure::Format(reason) | Failure::Foreign(reason) => reason,
        Failure::Io(error) => panic!("a reader in memory has no system errors: {error}"),
    })
}

fn samples() -> Vec<HostTensor> {
    vec![
        HostTensor::new([2, 2], Elements::F32(vec![1.5, -0.0, f32::MIN_POSITIVE, f32::INFINITY])),
        HostTensor::new([], Elements::F64(vec![std::f64::consts::PI])),
        HostTensor::new([3], Elements::I32(vec![i32::MIN, 0, i32::MAX])),
        HostTensor::new([2, 1, 1, 1, 1, 1], Elements::Bool(vec![true, false])),
        HostTensor::new([0, 4], Elements::F32(vec![])),
    ]
}

#[test]
fn arrays_round_trip() -> Result<()> {
    let path = std::env::temp_dir().join(format!("minitorch-npy-{}.npy", std::process::id()));
    for tensor in samples() {
        write_npy(&path, &tensor)?;
        assert_eq!(read_npy(&path)?, tensor);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        assert_eq!((bytes.len() - tensor.bytes_len()) % 64, 0, "the data are aligned");
    }
    let broken = HostTensor { shape: vec![3], data: Elements::I32(vec![1]) };
    assert!(matches!(write_npy(&path, &broken), Err(Error::Invalid(_))));
    assert_eq!(read_npy(&path)?, samples()[4], "a failed write leaves the file as it was");
    std::fs::write(&path, b"rubbish, and more of it").map_err(|e| Error::io(&path, e))?;
    let message = read_npy(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: not a .npy file", path.display())), "{message}");
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
    assert!(matches!(read_npy(&path), Err(Error::Io { .. })));
    Ok(())
}

#[test]
fn the_header_is_what_numpy_writes() {
    let mut bytes = Vec::new();
    write_array(&mut bytes, &HostTensor::new([5], Elements::F32(vec![0.0; 5]))).unwrap();
    // The first 128 bytes of numpy.save(.., numpy.zeros(5, "f4")).
    let numpy = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }}{}\n", " ".repeat(60));
    assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00v\x00");
    assert_eq!(String::from_utf8_lossy(&bytes[10..128]), numpy);
}

#[test]
fn variants_of_the_header_are_accepted() {
    for text in [
        "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2)}",
        "{\"shape\":(1,2,),\"fortran_order\":False,\"descr\":\"<i4\"}",
        " { 'shape' : ( 1L , 2L ) , 'descr' : '=i4' , 'fortran_order' : True , } \n",
    ] {
        let expected = HostTensor::new([1, 2], Elements::I32(vec![7, -7]));
        let data = [7i32.to_ne_bytes(), (-7i32).to_ne_bytes()].concat();
        assert_eq!(read(&[header(text), data].concat()), Ok(expected), "{text}");
    }
}

#[test]
fn halves_are_exact() {
    let half = |bits: u16| match read(&file("<f2", false, "(1,)", &bits.to_le_bytes())).unwrap().data {
        Elements::F16(values) => values[0].to_f32(),
        other => panic!("{other:?}"),
    };
    for (bits, value) in [
        (0x0000, 0.0),
        (0x0001, 2f32.powi(-24)),
        (0x03ff, 1023.0 * 2f32.powi(-24)),
        (0x0400, 2f32.powi(-14)),
        (0x3555, 0.333_251_95),
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x7bff, 65504.0),
        (0x7c00, f32::INFINITY),
        (0xfc00, f32::NEG_INFINITY),
    ] {
        assert_eq!(half(bits), value, "{bits:04x}");
    }
    assert!(half(0x7e00).is_nan() && half(0x8000).to_bits() == (-0.0f32).to_bits());
}

#[test]
fn integers_keep_their_type() {
    let i64s = |x: i64| file("<i8", false, "(1,)", &x.to_le_bytes());
    for (bytes, expected) in [
        (i64s(i64::MIN), Elements::I64(vec![i64::MIN])),
        (file("<u4", false, "(1,)", &u32::MAX.to_le_bytes()), Elements::U32(vec![u32::MAX])),
        (file(">u8", false, "(1,)", &u64::MAX.to_be_bytes()), Elements::U64(vec![u64::MAX])),
        (file(">i2", false, "(1,)", &(-2i16).to_be_bytes()), Elements::I16(vec![-2])),
    ] {
        assert_eq!(read(&bytes).unwrap().data, expected);
    }
}

#[test]
fn bad_files_are_errors_of_one_line() {
    let f4 = |shape: &str| file("<f4", false, shape, &[0; 8]);
    let v2 = |length: u32| [&MAGIC[..], &[2, 0], &length.to_le_bytes(), b"{}"].concat();
    for (what, bytes, reason) in [
        ("empty", vec![], "cut short"),
        ("not numpy", b"PK\x03\x04rubbish and more".to_vec(), "not a .npy file"),
        ("version 4", [&MAGIC[..], &[4, 0, 0, 0]].concat(), "version 4.0"),
        ("header past the end", v2(60_000), "inside the header"),
        ("header of 4 GiB", v2(u32::MAX), "4294967295 bytes"),
        ("no dict", header("hello"), "not a header"),
        ("not UTF-8", header("{'descr': '<f\u{fffd}'}"), "not a header"),
        ("a key is missing", header("{'descr': '<f4', 'shape': (1,)}"), "not a header"),
        (
            "a key twice",
            header("{'descr': '<f4', 'shape': (1,), 'shape': (1,), 'fortran_order': True}"),
            "not a header",
        ),
        (
            "a key of its own",
            header("{'descr': '<f4', 'shape': (1,), 'speed': 1, 'fortran_order': True}"),
            "not a header",
        ),
        ("records", header("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,)}"), "not a header"),
        ("negative size", f4("(-1,)"), "not a header"),
        ("a plus", f4("(+2,)"), "not a header"),
        ("no size", f4("(2,,)"), "not a header"),
        ("a size beyond u64", f4("(99999999999999999999,)"), "not a header"),
        ("no tuple", f4("2"), "not a header"),
        ("rank 7", f4("(1, 1, 1, 1, 1, 1, 1)"), "beyond 6 dimensions"),
        ("product overflows", f4("(9999999999, 9999999999, 9999999999)"), "address space"),
        ("hidden by zero", f4("(0, 9999999999, 9999999999, 9999999999)"), "address space"),
        ("forged", f4("(1000000000000,)"), "4000000000000 bytes, 8 follow"),
        ("short", f4("(3,)"), "cut short: [3] of <f4 is 12 bytes, 8 follow"),
        ("long", f4("(1,)"), "bytes follow the 4"),
        ("long and empty", f4("(0,)"), "bytes follow the 0"),
        ("objects", file("|O", false, "(1,)", &[0; 8]), "element type |O is not supported"),
        ("text", file("<U2", false, "(1,)", &[0; 8]), "<U2"),
        ("complex", file("<c8", false, "(1,)", &[0; 8]), "<c8"),
        ("long double", file("<f16", false, "(1,)", &[0; 16]), "<f16"),
        ("i3", file("<i3", false, "(1,)", &[0; 3]), "<i3"),
        ("no byte order", file("|f4", false, "(2,)", &[0; 8]), "|f4"),
        ("not ASCII", file("<é", false, "(2,)", &[0; 8]), "<é"),
        ("64 KiB of rubbish", [&MAGIC[..], &[2, 0], &65_000u32.to_le_bytes(), &[b'x'; 65_000]].concat(), "65000 bytes"),
        ("an escape", header("\x1b[2J"), r#"not a header of one plain array: "\u{1b}[2J""#),
        ("an escape in a type", file("\x1b]0;x\x07", false, "(2,)", &[0; 8]), r#""\u{1b}]0;x\u{7}""#),
        ("20,000 sizes", f4(&format!("({})", "1,".repeat(20_000))), "of 20000 dimensions"),
    ] {
        let error = read(&bytes).expect_err(what);
        assert!(error.contains(reason) && !error.contains(char::is_control), "{what}: {error}");
        assert!(error.len() < 500, "{what}: {error}");
    }
}

#[test]
fn no_damaged_byte_panics() {
    for whole in
        [file("<f4", true, "(1, 2)", &[0; 8]), file(">u2", false, "(2,)", &[9; 4]), file("|b1", true, "()", &[1])]
    {
        assert!(read(&whole).is_ok());
        for at in 0..whole.len() {
            for value in 0..=255 {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = read(&damaged);
            }
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
