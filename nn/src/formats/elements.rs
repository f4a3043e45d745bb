//! Elements in host memory, of every type that files of tensors store, and their conversion to the dtypes of tensors.

use crate::text::shown;
use half::bf16;
use minitorch_core::{DType, HostData, f16};
use std::fmt;

macro_rules! kinds {
    ($($variant:ident($type:ty), $name:literal;)*) => {
        /// Elements in host memory, row-major, of the type that a file stores. Tensors have fewer types:
        /// [`HostTensor::to_tensor`](super::HostTensor::to_tensor) and
        /// [`HostTensor::to_dtype`](super::HostTensor::to_dtype) convert.
        ///
        /// `Vec`s and [`HostData`] convert into it.
        #[derive(Clone, PartialEq, Debug)]
        #[non_exhaustive]
        #[allow(missing_docs)] // the variants are the types
        pub enum Elements {
            $($variant(Vec<$type>),)*
        }

        /// The type of [`Elements`].
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(super) enum Kind {
            $($variant,)*
        }

        impl Kind {
            /// The bytes of an element.
            pub(super) fn size(self) -> usize {
                match self {
                    $(Kind::$variant => size_of::<$type>(),)*
                }
            }

            /// Little-endian bytes as elements; an incomplete last one is ignored.
            pub(super) fn decode(self, bytes: &[u8]) -> Elements {
                match self {
                    $(Kind::$variant => Elements::$variant(<$type as Stored>::read(bytes)),)*
                }
            }
        }

        impl fmt::Display for Kind {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str(match self {
                    $(Kind::$variant => $name,)*
                })
            }
        }

        impl Elements {
            pub(super) fn kind(&self) -> Kind {
                match self {
                    $(Elements::$variant(_) => Kind::$variant,)*
                }
            }

            /// The number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Elements::$variant(v) => v.len(),)*
                }
            }

            /// The elements, little-endian.
            pub(super) fn bytes(&self) -> Vec<u8> {
                match self {
                    $(Elements::$variant(v) => <$type as Stored>::write(v),)*
                }
            }

            /// The elements as tensors store them; the error names the first value that does not fit.
            pub(super) fn convert(&self, dtype: DType) -> Result<HostData, String> {
                match (self, dtype) {
                    (Elements::F16(v), DType::F16) => Ok(HostData::F16(v.clone())),
                    (Elements::F32(v), DType::F32) => Ok(HostData::F32(v.clone())),
                    (Elements::F64(v), DType::F64) => Ok(HostData::F64(v.clone())),
                    (Elements::I32(v), DType::I32) => Ok(HostData::I32(v.clone())),
                    (Elements::Bool(v), DType::Bool) => Ok(HostData::Bool(v.clone())),
                    $((Elements::$variant(v), _) => convert(v, self.kind(), dtype),)*
                }
            }
        }

        $(impl From<Vec<$type>> for Elements {
            fn from(elements: Vec<$type>) -> Self {
                Elements::$variant(elements)
            }
        })*
    };
}

kinds! {
    F16(f16), "float16";
    BF16(bf16), "bfloat16";
    F32(f32), "float32";
    F64(f64), "float64";
    U8(u8), "uint8";
    I8(i8), "int8";
    U16(u16), "uint16";
    I16(i16), "int16";
    U32(u32), "uint32";
    I32(i32), "int32";
    U64(u64), "uint64";
    I64(i64), "int64";
    Bool(bool), "bool";
}

impl Kind {
    /// The dtype of tensors that holds every value of this type; I32 for all integers, though the larger ones have
    /// more values.
    pub(super) fn dtype(self) -> DType {
        match self {
            Kind::F16 => DType::F16,
            Kind::BF16 | Kind::F32 => DType::F32,
            Kind::F64 => DType::F64,
            Kind::Bool => DType::Bool,
            _ => DType::I32,
        }
    }
}

/// Why an element type of a file is not read.
pub(super) fn unsupported(name: &str) -> String {
    let name = shown(name);
    format!("the element type {name} is not supported; floats of 16 to 64 bits, integers of 8 to 64 bits and bool are")
}

impl Elements {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<HostData> for Elements {
    fn from(data: HostData) -> Self {
        match data {
            HostData::F16(v) => Elements::F16(v),
            HostData::F32(v) => Elements::F32(v),
            HostData::F64(v) => Elements::F64(v),
            HostData::I32(v) => Elements::I32(v),
            HostData::Bool(v) => Elements::Bool(v),
        }
    }
}

/// An element of a file.
trait Stored: Copy {
    fn read(bytes: &[u8]) -> Vec<Self>;
    fn write(elements: &[Self]) -> Vec<u8>;
    fn number(self) -> Number;
}

macro_rules! stored {
    ($($type:ty => |$x:ident| $number:expr),*) => { $(impl Stored for $type {
        fn read(bytes: &[u8]) -> Vec<Self> {
            bytes.as_chunks().0.iter().map(|&chunk| <$type>::from_le_bytes(chunk)).collect()
        }
        fn write(elements: &[Self]) -> Vec<u8> {
            elements.iter().flat_map(|x| x.to_le_bytes()).collect()
        }
        fn number(self) -> Number {
            let $x = self;
            $number
        }
    })* };
}
stored!(
    f16 => |x| Number::Float(x.into()), bf16 => |x| Number::Float(x.into()),
    f32 => |x| Number::Float(x.into()), f64 => |x| Number::Float(x),
    u8 => |x| Number::Int(x.into()), i8 => |x| Number::Int(x.into()), u16 => |x| Number::Int(x.into()),
    i16 => |x| Number::Int(x.into()), u32 => |x| Number::Int(x.into()), i32 => |x| Number::Int(x.into()),
    u64 => |x| Number::Int(x.into()), i64 => |x| Number::Int(x.into())
);

impl Stored for bool {
    fn read(bytes: &[u8]) -> Vec<Self> {
        bytes.iter().map(|&byte| byte != 0).collect()
    }
    fn write(elements: &[Self]) -> Vec<u8> {
        elements.iter().map(|&x| x as u8).collect()
    }
    fn number(self) -> Number {
        Number::Int(self.into())
    }
}

/// An element's value, exactly.
#[derive(Clone, Copy)]
enum Number {
    Float(f64),
    Int(i128),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            // `Debug` has an exponent where `Display` writes 300 digits.
            Number::Float(x) => write!(f, "{x:?}"),
            Number::Int(x) => write!(f, "{x}"),
        }
    }
}

/// A type of tensors: the nearest value (of two, the even one), or `None` if that is no value of the type.
trait Target: Sized {
    fn nearest(number: Number) -> Option<Self>;
}

/// A rounded number, unless a finite one became infinite.
fn finite<T: Copy + Into<f64>>(number: f64, rounded: T) -> Option<T> {
    (rounded.into().is_finite() || !number.is_finite()).then_some(rounded)
}

impl Target for f64 {
    fn nearest(number: Number) -> Option<Self> {
        Some(match number {
            Number::Float(x) => x,
            Number::Int(x) => x as f64,
        })
    }
}

impl Target for f32 {
    fn nearest(number: Number) -> Option<Self> {
        match number {
            Number::Float(x) => finite(x, x as f32),
            Number::Int(x) => Some(x as f32),
        }
    }
}

impl Target for f16 {
    fn nearest(number: Number) -> Option<Self> {
        match number {
            Number::Float(x) => finite(x, round_f16(x)),
            // Integers that f64 rounds are far beyond the range.
            Number::Int(x) => finite(x as f64, round_f16(x as f64)),
        }
    }
}

impl Target for i32 {
    fn nearest(number: Number) -> Option<Self> {
        match number {
            Number::Float(x) => (x.fract() == 0.0).then_some(x as i64)?.try_into().ok(),
            Number::Int(x) => x.try_into().ok(),
        }
    }
}

impl Target for bool {
    fn nearest(number: Number) -> Option<Self> {
        match number {
            Number::Float(0.0) | Number::Int(0) => Some(false),
            Number::Float(1.0) | Number::Int(1) => Some(true),
            _ => None,
        }
    }
}

/// Rounds once. Rounding to f32 on the way is harmless if it is to odd: the last bit of an inexact result is set, so
/// that no result lies halfway between two values of f16. Boldo and Melquiond, "When double rounding is odd", 2005.
fn round_f16(x: f64) -> f16 {
    let near = x as f32;
    let exact = f64::from(near);
    let odd = match near.to_bits() {
        bits if exact == x || x.is_nan() || bits & 1 == 1 => bits,
        bits if exact.abs() > x.abs() => bits - 1,
        bits => bits + 1,
    };
    f16::from_f32(f32::from_bits(odd))
}

fn convert<S: Stored>(elements: &[S], kind: Kind, dtype: DType) -> Result<HostData, String> {
    fn all<S: Stored, T: Target>(elements: &[S], kind: Kind, dtype: DType) -> Result<Vec<T>, String> {
        let one = |&element: &S| {
            let number = element.number();
            T::nearest(number).ok_or_else(|| format!("the value {number} of {kind} does not fit {dtype}"))
        };
        elements.iter().map(one).collect()
    }
    Ok(match dtype {
        DType::F16 => HostData::F16(all(elements, kind, dtype)?),
        DType::F32 => HostData::F32(all(elements, kind, dtype)?),
        DType::F64 => HostData::F64(all(elements, kind, dtype)?),
        DType::I32 => HostData::I32(all(elements, kind, dtype)?),
        DType::Bool => HostData::Bool(all(elements, kind, dtype)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(elements: impl Into<Elements>) -> Vec<f32> {
        match elements.into().convert(DType::F32) {
            Ok(HostData::F32(values)) => values,
            other => panic!("{other:?}"),
        }
    }

    fn refused(elements: impl Into<Elements>, dtype: DType) -> String {
        elements.into().convert(dtype).unwrap_err()
    }

    #[test]
    fn every_value_of_the_narrow_types_is_exact_in_f32() {
        for bits in 0..=u16::MAX {
            let (brain, half) = (bf16::from_bits(bits), f16::from_bits(bits));
            let expected = f32::from_bits((bits as u32) << 16);
            let got = f32s(vec![brain])[0];
            assert!(got == expected || got.is_nan() && expected.is_nan(), "{bits:04x}: {got}, not {expected}");
            let got = f32s(vec![half])[0];
            assert!(got == half.to_f32() || got.is_nan() && half.is_nan(), "{bits:04x}");
            // And back: the value is its own nearest.
            let Ok(HostData::F16(back)) = Elements::F32(vec![half.to_f32()]).convert(DType::F16) else { panic!() };
            assert!(back[0] == half || half.is_nan(), "{bits:04x}");
        }
        assert_eq!(f32s(vec![i16::MIN, i16::MAX]), [-32768.0, 32767.0]);
        assert_eq!(f32s(vec![false, true]), [0.0, 1.0]);
    }

    #[test]
    fn values_round_once_to_nearest_even() {
        let f16_of = |x: f64| match Elements::F64(vec![x]).convert(DType::F16) {
            Ok(HostData::F16(values)) => values[0].to_f64(),
            other => panic!("{other:?}"),
        };
        // 1 + 2^-11 is halfway between 1 and 1 + 2^-10; a little above it f32 alone would round to the middle first.
        let (half, step) = (2f64.powi(-11), 2f64.powi(-10));
        assert_eq!(f16_of(1.0 + half), 1.0);
        assert_eq!(f16_of(1.0 + half + 2f64.powi(-40)), 1.0 + step);
        assert_eq!(f16_of(1.0 + half - 2f64.powi(-40)), 1.0);
        assert_eq!(f16_of(1.0 + step + half), 1.0 + 2.0 * step);
        assert_eq!(f16_of(-(1.0 + half + 2f64.powi(-52))), -(1.0 + step));
        assert_eq!((f16_of(2f64.powi(-25)), f16_of(2f64.powi(-25) * 1.0001)), (0.0, 2f64.powi(-24)));
        assert_eq!((f16_of(1e-300), f16_of(65519.999)), (0.0, 65504.0));
        assert!(f16_of(f64::NAN).is_nan() && f16_of(f64::NEG_INFINITY) == f64::NEG_INFINITY);
        // Integers as large as 2^53 + 1 round once too: by way of f64 this would be 2^53.
        let large = (1i64 << 53) + (1 << 29) + 1;
        assert_eq!(f32s(vec![large]), [(1u64 << 53) as f32 + (1u64 << 30) as f32]);
        assert_eq!(f32s(vec![(1i32 << 24) + 1, (1 << 24) + 3]), [(1 << 24) as f32, ((1 << 24) + 4) as f32]);
    }

    #[test]
    fn values_that_do_not_fit_are_refused_by_name() {
        for (message, expected) in [
            (refused(vec![0, 1i64 << 31], DType::I32), "the value 2147483648 of int64 does not fit int32"),
            (refused(vec![u64::MAX], DType::I32), "the value 18446744073709551615 of uint64 does not fit int32"),
            (refused(vec![2.5f32], DType::I32), "the value 2.5 of float32 does not fit int32"),
            (refused(vec![f32::NAN], DType::I32), "the value NaN of float32 does not fit int32"),
            (refused(vec![1e300], DType::F32), "the value 1e300 of float64 does not fit float32"),
            (refused(vec![65520.0f32], DType::F16), "the value 65520.0 of float32 does not fit float16"),
            (refused(vec![65520], DType::F16), "the value 65520 of int32 does not fit float16"),
            (refused(vec![2u8], DType::Bool), "the value 2 of uint8 does not fit bool"),
        ] {
            assert_eq!(message, expected);
        }
        let ints = |elements: Elements| elements.convert(DType::I32);
        assert_eq!(ints(vec![3.0, -0.0].into()), Ok(HostData::I32(vec![3, 0])));
        assert_eq!(ints(vec![i32::MIN as i64, i32::MAX as i64].into()), Ok(HostData::I32(vec![i32::MIN, i32::MAX])));
        assert_eq!(f32s(vec![f64::INFINITY])[0], f32::INFINITY);
    }
}
