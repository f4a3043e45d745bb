//! IDX, the format of MNIST, plain or compressed with gzip, which the first two bytes decide:
//!
//! ```text
//! 0 0 | type | rank | rank sizes, big-endian u32 | data
//! ```
//!
//! Files are not trusted: the sizes are checked against the length of the file before data is read or inflated.

use crate::files::{open, read_up_to};
use crate::formats::MAX_DEFLATE_RATIO;
use crate::gzip::ReadError;
use crate::text::shown_shape;
use flate2::bufread::MultiGzDecoder;
use minitorch_core::Result;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// The IDX type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// An IDX file of unsigned bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idx {
    /// The sizes.
    pub dims: Vec<usize>,
    /// The bytes, row-major; their number is the product of the sizes.
    pub data: Vec<u8>,
}

impl Idx {
    /// Reads a file, plain or compressed with gzip.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read or is not a regular file; [`Error::Format`] if it is not IDX of unsigned
    /// bytes, is shorter or longer than its header says, or is damaged gzip.
    ///
    /// [`Error::Io`]: minitorch_core::Error::Io
    /// [`Error::Format`]: minitorch_core::Error::Format
    pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
        let file = IdxFile::open(path.as_ref())?;
        Ok(Idx { dims: file.dims.clone(), data: file.data()? })
    }
}

/// A file whose header has been read.
pub(super) struct IdxFile {
    path: PathBuf,
    pub(super) dims: Vec<usize>,
    /// The number of bytes of the data, by the sizes.
    claimed: usize,
    reader: Box<dyn Read>,
}

impl IdxFile {
    pub(super) fn open(path: &Path) -> Result<IdxFile> {
        IdxFile::parse(path).map_err(|error| error.at(path))
    }

    /// Reads the header, and checks that the file can hold the data that it claims.
    fn parse(path: &Path) -> std::result::Result<IdxFile, ReadError> {
        let (file, length) = open(path).map_err(ReadError::Io)?;
        let mut file = BufReader::new(file);
        let zipped = file.fill_buf().map_err(ReadError::Io)?.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let magic: [u8; 4] = array(&mut reader)?;
        let [0, 0, kind, rank] = magic else {
            let reason = format!("not an IDX file: it begins with {magic:02x?} and not with two zero bytes");
            return Err(ReadError::Format(reason));
        };
        if kind != UNSIGNED_BYTE {
            let reason = format!("IDX of type 0x{kind:02x}; only unsigned bytes (0x{UNSIGNED_BYTE:02x}) are supported");
            return Err(ReadError::Format(reason));
        }
        let mut dims = Vec::with_capacity(rank as usize);
        for _ in 0..rank {
            dims.push(u32::from_be_bytes(array(&mut reader)?) as usize);
        }
        let claimed = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let Some(claimed) = claimed else {
            let dims = shown_shape(&dims);
            return Err(ReadError::Format(format!("the header claims {dims} bytes, more than memory has addresses")));
        };
        let opened = IdxFile { path: path.into(), dims, claimed, reader };
        let follow = length.saturating_sub(4 + 4 * rank as u64);
        if zipped && claimed as u64 > length.saturating_mul(MAX_DEFLATE_RATIO) {
            let dims = shown_shape(&opened.dims);
            let reason =
                format!("cut short: the header claims {dims} = {claimed} bytes, which {length} of gzip cannot hold");
            return Err(ReadError::Format(reason));
        }
        match zipped {
            false if follow < claimed as u64 => Err(opened.short(follow)),
            false if follow > claimed as u64 => Err(opened.long()),
            _ => Ok(opened),
        }
    }

    /// Reads the data, to the end of the file.
    pub(super) fn data(mut self) -> Result<Vec<u8>> {
        let mut read = || -> std::result::Result<Vec<u8>, ReadError> {
            let data = read_up_to(&mut self.reader, self.claimed)?;
            if data.len() < self.claimed {
                return Err(self.short(data.len() as u64));
            }
            if !read_up_to(&mut self.reader, 1)?.is_empty() {
                return Err(self.long());
            }
            Ok(data)
        };
        read().map_err(|error| error.at(&self.path))
    }

    fn short(&self, follow: u64) -> ReadError {
        let (dims, claimed) = (shown_shape(&self.dims), self.claimed);
        ReadError::Format(format!("cut short: the header claims {dims} = {claimed} bytes, {follow} follow it"))
    }

    fn long(&self) -> ReadError {
        let (dims, claimed) = (shown_shape(&self.dims), self.claimed);
        ReadError::Format(format!("bytes follow the {dims} = {claimed} that the header claims"))
    }
}

/// The next `N` bytes of the header.
fn array<const N: usize>(reader: &mut impl Read) -> std::result::Result<[u8; N], ReadError> {
    let bytes = read_up_to(reader, N)?;
    bytes.try_into().map_err(|_| ReadError::Format("cut short: the file ends inside the IDX header".into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use minitorch_core::Error;
    use std::io::Write;
    use tempfile::{TempDir, tempdir};

    pub(in crate::data) fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    pub(in crate::data) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Writes a file in a folder, and returns its path.
    pub(in crate::data) fn put(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn reads_plain_and_compressed_by_content() {
        let folder = tempdir().unwrap();
        let bytes = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        let want = Idx { dims: vec![2, 3], data: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(Idx::read(put(&folder, "plain.gz", &bytes)).unwrap(), want);
        assert_eq!(Idx::read(put(&folder, "compressed", &gzip(&bytes))).unwrap(), want);
        assert_eq!(Idx::read(put(&folder, "scalar", &idx(8, &[], &[7]))).unwrap().data, [7]);
        assert!(Idx::read(put(&folder, "none", &idx(8, &[0, 28], &[]))).unwrap().data.is_empty());
    }

    #[test]
    fn every_bad_file_is_one_line_that_names_it() {
        let folder = tempdir().unwrap();
        let good = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        let zipped = gzip(&good);
        let mut flipped = zipped.clone();
        let at = flipped.len() - 6;
        flipped[at] ^= 0xff; // inside the checksum
        let cases: [(&str, Vec<u8>, &str); 14] = [
            ("empty", vec![], "inside the IDX header"),
            ("magic", vec![1, 2, 8, 1, 0, 0, 0, 0], "not an IDX file"),
            ("kind", idx(0x0d, &[1], &[0]), "type 0x0d"),
            ("header", good[..7].to_vec(), "inside the IDX header"),
            ("short", good[..15].to_vec(), "cut short"),
            ("long", [good.clone(), vec![0]].concat(), "bytes follow"),
            ("gz-forged", gzip(&idx(8, &[1 << 31, 28, 28], &[0; 100])), "of gzip cannot hold"),
            ("gz-bomb", gzip(&[&idx(8, &[3], &[0; 3])[..], &[0; 1 << 24]].concat()), "bytes follow"),
            ("forged", idx(8, &[1 << 31, 28, 28], &[0; 100]), "100 follow it"),
            ("overflow", idx(8, &[u32::MAX, u32::MAX, u32::MAX], &[0; 8]), "addresses"),
            ("gz-header", zipped[..5].to_vec(), "cut short"),
            ("gz-short", zipped[..zipped.len() - 9].to_vec(), "cut short"),
            ("gz-sum", flipped, "gzip"),
            ("gz-tail", [zipped.clone(), b"rubbish".to_vec()].concat(), "gzip"),
        ];
        for (name, bytes, reason) in cases {
            let path = put(&folder, name, &bytes);
            let message = Idx::read(&path).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(name), "{name}: {message}");
            assert!(!message.contains('\n'), "{name}: {message}");
        }
        assert!(matches!(Idx::read(folder.path()), Err(Error::Io { .. })), "a folder is no file");
    }
}
