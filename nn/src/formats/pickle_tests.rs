//! Instructions one by one, against the documentation of Python's `pickletools`.

use super::*;

fn value(bytes: &[u8]) -> Result<String, String> {
    fn text(pickle: &Pickle, value: Value) -> String {
        let all = |parts: &[Value]| parts.iter().map(|&part| text(pickle, part)).collect::<Vec<_>>().join(" ");
        match value {
            Value::Object(at) => match &pickle.objects[at] {
                Object::List(parts) => format!("[{}]", all(parts)),
                Object::Tuple(parts) => format!("({})", all(parts)),
                Object::Dict(entries) => {
                    let entry =
                        |&(key, value): &(Value, Value)| format!("{}: {}", text(pickle, key), text(pickle, value));
                    format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
                }
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }
    let pickle = parse(bytes)?;
    Ok(text(&pickle, pickle.value))
}

#[test]
fn values_and_containers() {
    let cases: &[(&[u8], &str)] = &[
        (b"\x80\x02N.", "None"),
        (b"\x88.", "Bool(true)"),
        (b"K\xff.", "Int(255)"),
        (b"M\x34\x12.", "Int(4660)"),
        (b"J\xfe\xff\xff\xff.", "Int(-2)"),
        (b"\x8a\x00.", "Int(0)"),
        (b"\x8a\x02\x00\xff.", "Int(-256)"),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "Int(-9223372036854775808)"),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "LongInt"),
        (b"\x8b\x01\x00\x00\x00\x07.", "Int(7)"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "Float(1.5)"),
        (b"X\x02\x00\x00\x00\xc3\xa9.", "Text(\"\u{e9}\")"),
        (b"\x8c\x01a.", "Text(\"a\")"),
        (b"C\x02\xff\xff.", "Bytes"),
        (b").", "()"),
        (b"K\x01K\x02\x86.", "(Int(1) Int(2))"),
        (b"(K\x01(K\x02K\x03tt.", "(Int(1) (Int(2) Int(3)))"),
        (b"](K\x01K\x02eK\x03a.", "[Int(1) Int(2) Int(3)]"),
        (b"}K\x01Ns(K\x02NK\x03Nu.", "{Int(1): None, Int(2): None, Int(3): None}"),
        (b"K\x05q\x000h\x00.", "Int(5)"),
        (b"K\x05r\x00\x01\x00\x000j\x00\x01\x00\x00.", "Int(5)"),
        (b"K\x05\x94K\x06\x940h\x00.", "Int(5)"),
        // A list is changed after it was stored: both see the change.
        (b"]q\x00(h\x00h\x00tq\x010h\x00K\x01a0h\x01.", "([Int(1)] [Int(1)])"),
        (b"ccollections\nOrderedDict\n)RK\x01Ns}b.", "{Int(1): None}"),
        (b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.", "{}"),
        (b"ctorch\nSize\n(K\x02K\x03t\x85R.", "(Int(2) Int(3))"),
        (b"ctorch\nfloat8_e4m3fn\n.", "Global(Type(Err(\"float8_e4m3fn\")))"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(value(bytes).as_deref(), Ok(*expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn everything_else_is_refused() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "cut short"),
        (b"K", "cut short"),
        (b"X\xff\xff\xff\xffa.", "cut short"),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "cut short"),
        (b".", "lacks its operands"),
        (b"\x87.", "lacks its operands"),
        (b"t.", "lacks its operands"),
        (b"K\x01K\x02(0t.", "lacks its operands"),
        (b"K\x01K\x02(\x86.", "lacks its operands"),
        (b"\x80\x06.", "protocol 6"),
        (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b"h\x09.", "nothing was stored as 9"),
        (b"}K\x01a.", "no list"),
        (b"]K\x01K\x02s.", "no dictionary"),
        (b"}(K\x01u.", "a key without a value"),
        (b"N}b.", "no list or dictionary"),
        (b"cos\nsystem\n(X\x02\x00\x00\x00lstR.", "it names os.system, which is not read"),
        (b"c\x1b[2J\nx\n.", "it names \"\\u{1b}[2J.x\", which"),
        (b"cbuiltins\neval\n.", "it names builtins.eval"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "other arguments"),
        (b"ccollections\nOrderedDict\nN\x85R.", "other arguments"),
        (b"N)R.", "no function"),
        (b"ctorch\nSize\nNR.", "without arguments"),
        (b"ctorch\nSize\n)\x81.", "0x81 (NEWOBJ) at byte 13"),
        (b"I1\n.", "0x49 (protocol 0)"),
        (b"\xff", "0xff (unknown) at byte 0"),
        (b"NQ.", "no storage of a tensor"),
        (&[b'N'; 70_000], "more than 65536 values"),
        (b"N\x94\x94\x94\x94\x94\x94\x94\x94.", "again and again"),
    ];
    for (bytes, reason) in cases {
        let error = value(bytes).expect_err(reason);
        assert!(error.contains(reason) && !error.contains(char::is_control), "{}: {error}", bytes.escape_ascii());
    }
}
