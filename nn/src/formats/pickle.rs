//! A reader of the pickles in PyTorch's checkpoints, which runs no code.
//!
//! ```text
//! a pickle = instructions for a machine with a stack, a memo and marks on the stack; its last value is the object
//! ```
//!
//! Of the instructions (<https://docs.python.org/3/library/pickletools.html>), those that dictionaries, lists, tuples,
//! texts, numbers and tensors need are read. An instruction that names a Python function or class is accepted for the
//! few that state dicts consist of, and these are values here, not calls. Everything else is refused by its name.
//!
//! Memory is proportional to the pickle: texts are borrowed from it, and an instruction creates at most one value, of a
//! fixed size, or moves values. Nothing here recurses.

use super::elements::Kind;
use crate::text::shown;
use std::collections::HashMap;

/// The most values on the stack. Python appends to lists and dictionaries a thousand values at a time; only tuples have
/// all of theirs there.
const HIGHEST: usize = 1 << 16;

/// A value: small, and copied freely.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'p> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits.
    LongInt,
    Float(f64),
    Text(&'p str),
    Bytes,
    /// A class or function.
    Global(Global<'p>),
    /// The position of an [`Object`].
    Object(usize),
}

/// The classes and functions that state dicts consist of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Global<'p> {
    OrderedDict,
    /// `_rebuild_tensor`, `_v2` and `_v3`, by the number of their arguments that define the tensor.
    RebuildTensor(Rebuild),
    RebuildParameter,
    Size,
    Device,
    UntypedStorage,
    /// A storage class or a dtype; the name of one that is not read.
    Type(Type<'p>),
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Rebuild {
    V1,
    V2,
    V3,
}

/// An element type, or the name of one that is not read.
pub(super) type Type<'p> = Result<Kind, &'p str>;

/// A value with parts.
#[derive(Debug)]
pub(super) enum Object<'p> {
    List(Vec<Value<'p>>),
    Tuple(Vec<Value<'p>>),
    Dict(Vec<(Value<'p>, Value<'p>)>),
    Storage(Storage<'p>),
    Tensor(Box<Strided<'p>>),
}

/// A member `data/<key>` of the archive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Storage<'p> {
    pub(super) key: &'p str,
    /// `None` for bytes, whose type the tensor states.
    pub(super) elements: Option<Type<'p>>,
}

/// A tensor: elements of a storage. Offset and strides count elements; shape and strides are positions of tuples, which
/// many tensors can share.
#[derive(Debug)]
pub(super) struct Strided<'p> {
    pub(super) key: &'p str,
    pub(super) elements: Type<'p>,
    pub(super) offset: usize,
    pub(super) shape: usize,
    pub(super) strides: usize,
}

/// The content of a pickle.
pub(super) struct Pickle<'p> {
    pub(super) value: Value<'p>,
    pub(super) objects: Vec<Object<'p>>,
}

impl Pickle<'_> {
    /// Sizes or strides: the tuple at this position, if it has at most `most` numbers and none is negative.
    pub(super) fn sizes(&self, at: usize, most: usize) -> Option<Vec<usize>> {
        match self.objects.get(at)? {
            Object::Tuple(sizes) if sizes.len() <= most => sizes.iter().map(size).collect(),
            _ => None,
        }
    }
}

/// # Errors
/// What is damaged or not read.
pub(super) fn parse(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine {
        rest: bytes,
        length: bytes.len(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        objects: Vec::new(),
    };
    while machine.step()? {
        if machine.stack.len() > HIGHEST {
            return Err(format!("more than {HIGHEST} values on the stack of the pickle"));
        }
        // Each value that is stored took an instruction of its own.
        if 2 * machine.memo.len() > machine.length {
            return Err("damaged: the pickle stores the same values again and again".into());
        }
    }
    let value = machine.pop()?;
    Ok(Pickle { value, objects: machine.objects })
}

struct Machine<'p> {
    rest: &'p [u8],
    length: usize,
    stack: Vec<Value<'p>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'p>>,
    objects: Vec<Object<'p>>,
}

impl<'p> Machine<'p> {
    /// Executes an instruction; false after the last one.
    fn step(&mut self) -> Result<bool, String> {
        let at = self.length - self.rest.len();
        match self.byte()? {
            // PROTO, FRAME: a frame only announces its length.
            0x80 => match self.byte()? {
                2..=5 => {}
                version => return Err(format!("a pickle of protocol {version}; 2 to 5 are read")),
            },
            0x95 => {
                self.take(8)?;
            }
            // STOP
            b'.' => return Ok(false),
            // MARK, POP, POP_MARK
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            // BININT, BININT1, BININT2, LONG1, LONG4
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'K' => {
                let value = self.byte()?;
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => {
                let length = self.byte()?.into();
                self.long(length)?;
            }
            0x8b => {
                let length = self.length4()?;
                self.long(length)?;
            }
            // BINFLOAT
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(value));
            }
            // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
            0x8c => {
                let length = self.byte()?.into();
                self.text(length)?;
            }
            b'X' => {
                let length = self.length4()?;
                self.text(length)?;
            }
            0x8d => {
                let length = self.length8()?;
                self.text(length)?;
            }
            // SHORT_BINBYTES, BINBYTES, BINBYTES8
            b'C' => {
                let length = self.byte()?.into();
                self.bytes(length)?;
            }
            b'B' => {
                let length = self.length4()?;
                self.bytes(length)?;
            }
            0x8e => {
                let length = self.length8()?;
                self.bytes(length)?;
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b')' => self.push(Object::Tuple(Vec::new())),
            count @ 0x85..=0x87 => {
                let height = self.stack.len().checked_sub((count - 0x84) as usize).ok_or_else(underflow)?;
                let parts = self.split_off(height)?;
                self.push(Object::Tuple(parts));
            }
            b't' => {
                let parts = self.pop_mark()?;
                self.push(Object::Tuple(parts));
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.push(Object::List(Vec::new())),
            b'a' => {
                let part = self.pop()?;
                self.list()?.push(part);
            }
            b'e' => {
                let parts = self.pop_mark()?;
                self.list()?.extend(parts);
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push(Object::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.dict()?.push((key, value));
            }
            b'u' => {
                let parts = self.pop_mark()?;
                let (pairs, []) = parts.as_chunks::<2>() else {
                    return Err("damaged: a dictionary has a key without a value".into());
                };
                self.dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let key = self.byte()?.into();
                self.put(key)?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            0x94 => {
                let key = u32::try_from(self.memo.len()).map_err(|_| underflow())?;
                self.put(key)?;
            }
            b'h' => {
                let key = self.byte()?.into();
                self.get(key)?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = global(module, name)?;
                self.stack.push(Value::Global(global));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err("damaged: the name of a class is no text".into());
                };
                let global = global(module, name)?;
                self.stack.push(Value::Global(global));
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Object::Storage(storage));
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let value = self.reduce(callable, arguments)?;
                self.stack.push(value);
            }
            b'b' => {
                // The attributes of a state dict, such as `_metadata`, are no entries of it.
                self.pop()?;
                self.dict()?;
            }
            other => {
                let name = match other {
                    0x81 | 0x92 => "NEWOBJ",
                    0x82..=0x84 => "EXT",
                    b'i' => "INST",
                    b'o' => "OBJ",
                    b'P' => "PERSID",
                    0x8f..=0x91 => "a set",
                    0x96..=0x98 => "a bytearray or buffer",
                    b'I' | b'L' | b'F' | b'S' | b'U' | b'T' | b'V' | b'g' | b'p' | b'd' | b'l' | b'2' => "protocol 0",
                    _ => "unknown",
                };
                return Err(format!(
                    "the pickle instruction 0x{other:02x} ({name}) at byte {at} is not one that a state dict has; \
                     save model.state_dict()"
                ));
            }
        }
        Ok(true)
    }

    fn take(&mut self, count: usize) -> Result<&'p [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("cut short: the pickle does not end")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| underflow())
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array().map(|[byte]| byte)
    }

    fn length4(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Result<usize, String> {
        Ok(usize::try_from(u64::from_le_bytes(self.array()?)).unwrap_or(usize::MAX))
    }

    /// The text before the next newline.
    fn line(&mut self) -> Result<&'p str, String> {
        let length = self.rest.iter().position(|&byte| byte == b'\n').ok_or("cut short: the pickle does not end")?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| "damaged: a name is not UTF-8".to_string())
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| "damaged: a text is not UTF-8")?;
        self.stack.push(Value::Text(text));
        Ok(())
    }

    fn bytes(&mut self, length: usize) -> Result<(), String> {
        self.take(length)?;
        self.stack.push(Value::Bytes);
        Ok(())
    }

    /// An integer of `length` bytes, little-endian two's complement.
    fn long(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        self.stack.push(match bytes.len() {
            0..=8 => {
                let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
                let mut wide = [sign; 8];
                wide[..length].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(wide))
            }
            _ => Value::LongInt,
        });
        Ok(())
    }

    fn push(&mut self, object: Object<'p>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Value<'p>, String> {
        // Nothing below the last mark is popped alone.
        match self.marks.last() {
            Some(&mark) if self.stack.len() <= mark => Err(underflow()),
            _ => self.stack.pop().ok_or_else(underflow),
        }
    }

    /// The values above a height.
    fn split_off(&mut self, height: usize) -> Result<Vec<Value<'p>>, String> {
        match self.marks.last() {
            Some(&mark) if height < mark => Err(underflow()),
            // `Vec::split_off` would leave the capacity with the new vector.
            _ => Ok(self.stack.drain(height..).collect()),
        }
    }

    /// The values above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Value<'p>>, String> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        self.split_off(mark)
    }

    fn top(&mut self) -> Result<&mut Object<'p>, String> {
        match self.stack.last() {
            Some(&Value::Object(at)) => self.objects.get_mut(at).ok_or_else(underflow),
            _ => Err("damaged: an entry of something that is no list or dictionary".into()),
        }
    }

    fn list(&mut self) -> Result<&mut Vec<Value<'p>>, String> {
        match self.top()? {
            Object::List(list) => Ok(list),
            _ => Err("damaged: an element of something that is no list".into()),
        }
    }

    fn dict(&mut self) -> Result<&mut Vec<(Value<'p>, Value<'p>)>, String> {
        match self.top()? {
            Object::Dict(dict) => Ok(dict),
            _ => Err("damaged: an entry of something that is no dictionary".into()),
        }
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        let value = *self.stack.last().ok_or_else(underflow)?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<(), String> {
        let value = *self.memo.get(&key).ok_or_else(|| format!("damaged: nothing was stored as {key}"))?;
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&self, value: Value<'p>) -> Option<&[Value<'p>]> {
        match value {
            Value::Object(at) => match self.objects.get(at)? {
                Object::Tuple(parts) => Some(parts),
                _ => None,
            },
            _ => None,
        }
    }

    /// `('storage', class, key, location, number of elements)`
    fn storage(&self, id: Value<'p>) -> Result<Storage<'p>, String> {
        match self.tuple(id) {
            Some(&[Value::Text("storage"), Value::Global(class), Value::Text(key), Value::Text(_), Value::Int(_)]) => {
                match class {
                    Global::UntypedStorage => Ok(Storage { key, elements: None }),
                    Global::Type(elements) => Ok(Storage { key, elements: Some(elements) }),
                    _ => Err("damaged: a storage of no type".into()),
                }
            }
            _ => Err("an object outside of the pickle that is no storage of a tensor".into()),
        }
    }

    /// The value of a call.
    fn reduce(&mut self, callable: Value<'p>, arguments: Value<'p>) -> Result<Value<'p>, String> {
        let Value::Global(callable) = callable else {
            return Err("damaged: a call of something that is no function".into());
        };
        let arguments = self.tuple(arguments).ok_or("damaged: a call without arguments")?;
        let damaged = || "damaged: a function with other arguments than PyTorch writes".to_string();
        let object = match (callable, arguments) {
            (Global::OrderedDict, []) => Object::Dict(Vec::new()),
            (Global::Size, &[sizes]) => return Ok(sizes),
            (Global::Device, _) => return Ok(Value::None),
            // Requires-grad and hooks follow the data.
            (Global::RebuildParameter, &[data, ..]) => return Ok(data),
            (
                Global::RebuildTensor(version),
                &[Value::Object(storage), offset, Value::Object(shape), Value::Object(strides), ref more @ ..],
            ) => {
                let Some(&Object::Storage(Storage { key, elements })) = self.objects.get(storage) else {
                    return Err(damaged());
                };
                // After requires-grad and hooks: the dtype of version 3, and flags such as a pending conjugation.
                let (dtype, flags) = match (version, more) {
                    (Rebuild::V1, _) => (elements, None),
                    (Rebuild::V2, more) => (elements, more.get(2)),
                    (Rebuild::V3, more) => match more.get(2) {
                        Some(&Value::Global(Global::Type(dtype))) => (Some(dtype), more.get(3)),
                        _ => return Err(damaged()),
                    },
                };
                match flags {
                    None | Some(Value::None) => {}
                    Some(&Value::Object(at)) if matches!(self.objects.get(at), Some(Object::Dict(d)) if d.is_empty()) =>
                        {}
                    Some(_) => return Err("a tensor with flags, such as a pending conjugation, is not read".into()),
                }
                let (elements, offset) = dtype.zip(size(&offset)).ok_or_else(damaged)?;
                Object::Tensor(Box::new(Strided { key, elements, offset, shape, strides }))
            }
            _ => return Err(damaged()),
        };
        self.objects.push(object);
        Ok(Value::Object(self.objects.len() - 1))
    }
}

fn underflow() -> String {
    "damaged: an instruction of the pickle lacks its operands".into()
}

fn size(value: &Value) -> Option<usize> {
    match *value {
        Value::Int(size) => size.try_into().ok(),
        _ => None,
    }
}

/// A class or function by its name.
fn global<'p>(module: &'p str, name: &'p str) -> Result<Global<'p>, String> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor") => Global::RebuildTensor(Rebuild::V1),
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor(Rebuild::V2),
        ("torch._utils", "_rebuild_tensor_v3") => Global::RebuildTensor(Rebuild::V3),
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Global::UntypedStorage,
        ("torch", "HalfStorage" | "float16") => Global::Type(Ok(Kind::F16)),
        ("torch", "BFloat16Storage" | "bfloat16") => Global::Type(Ok(Kind::BF16)),
        ("torch", "FloatStorage" | "float32") => Global::Type(Ok(Kind::F32)),
        ("torch", "DoubleStorage" | "float64") => Global::Type(Ok(Kind::F64)),
        ("torch", "ByteStorage" | "uint8") => Global::Type(Ok(Kind::U8)),
        ("torch", "CharStorage" | "int8") => Global::Type(Ok(Kind::I8)),
        ("torch", "uint16") => Global::Type(Ok(Kind::U16)),
        ("torch", "ShortStorage" | "int16") => Global::Type(Ok(Kind::I16)),
        ("torch", "uint32") => Global::Type(Ok(Kind::U32)),
        ("torch", "IntStorage" | "int32") => Global::Type(Ok(Kind::I32)),
        ("torch", "uint64") => Global::Type(Ok(Kind::U64)),
        ("torch", "LongStorage" | "int64") => Global::Type(Ok(Kind::I64)),
        ("torch", "BoolStorage" | "bool") => Global::Type(Ok(Kind::Bool)),
        ("torch", other) if is_other_type(other) => Global::Type(Err(other)),
        _ => {
            return Err(format!(
                "it names {}, which is not read: a checkpoint may hold tensors, numbers, texts, lists and dictionaries; \
                 save model.state_dict()",
                shown(&format!("{module}.{name}"))
            ));
        }
    })
}

/// Whether `torch.<name>` is an element type that is not read.
fn is_other_type(name: &str) -> bool {
    let begins = ["float8_", "float4_", "complex", "Complex", "quint", "qint", "QInt", "QUInt", "bits"];
    begins.iter().any(|&begin| name.starts_with(begin))
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
