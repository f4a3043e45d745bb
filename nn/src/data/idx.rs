//! IDX, the format of MNIST: two zero bytes, a type, the number of dimensions, the sizes as big-endian u32, the data.
//! Files may be compressed with gzip; the first two bytes tell, not the name.
//!
//! Nothing in a file is trusted: the header comes first, and what it claims is compared with what is expected and with the
//! length of the file before any data are read or inflated.

use super::ImageDataset;
use crate::files::{open, read_up_to};
use crate::state::INFLATED;
use crate::text::{said, shown_shape};
use flate2::bufread::MultiGzDecoder;
use minitorch_core::{Error, Result};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The IDX type code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// An IDX file of unsigned bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idx {
    /// The sizes.
    pub dims: Vec<usize>,
    /// The bytes, row-major: exactly as many as the sizes say.
    pub data: Vec<u8>,
}

impl Idx {
    /// Reads a file, plain or compressed with gzip.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read or is none (a FIFO, a device); [`Error::Format`] if it is not IDX of unsigned bytes,
    /// is shorter or longer than its header says, or is damaged gzip.
    pub fn read(path: impl AsRef<Path>) -> Result<Idx> {
        let file = Opened::new(path.as_ref())?;
        Ok(Idx { dims: file.dims.clone(), data: file.data()? })
    }
}

/// A file whose header was read, and nothing else.
struct Opened {
    path: PathBuf,
    dims: Vec<usize>,
    /// The number of bytes that the sizes make.
    claimed: usize,
    reader: Box<dyn Read>,
}

impl Opened {
    fn new(path: &Path) -> Result<Opened> {
        Opened::parse(path).map_err(|wrong| wrong.of(path))
    }

    /// The header, and whether the file can hold what it claims.
    fn parse(path: &Path) -> std::result::Result<Opened, Wrong> {
        let (file, length) = open(path).map_err(Wrong::Io)?;
        let mut file = BufReader::new(file);
        let zipped = file.fill_buf().map_err(Wrong::Io)?.starts_with(&[0x1f, 0x8b]);
        let mut reader: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let magic: [u8; 4] = array(&mut reader)?;
        let [0, 0, kind, rank] = magic else {
            let reason = format!("not an IDX file: it begins with {magic:02x?} and not with two zero bytes");
            return Err(Wrong::Format(reason));
        };
        if kind != UNSIGNED_BYTE {
            let reason = format!("IDX of type 0x{kind:02x}; only unsigned bytes (0x{UNSIGNED_BYTE:02x}) are supported");
            return Err(Wrong::Format(reason));
        }
        let mut dims = Vec::with_capacity(rank as usize);
        for _ in 0..rank {
            dims.push(u32::from_be_bytes(array(&mut reader)?) as usize);
        }
        let claimed = dims.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let Some(claimed) = claimed else {
            let dims = shown_shape(&dims);
            return Err(Wrong::Format(format!("the header claims {dims} bytes, more than memory has addresses")));
        };
        let opened = Opened { path: path.into(), dims, claimed, reader };
        let follow = length.saturating_sub(4 + 4 * rank as u64);
        if zipped && claimed as u64 > length.saturating_mul(INFLATED) {
            let dims = shown_shape(&opened.dims);
            let reason =
                format!("cut short: the header claims {dims} = {claimed} bytes, which {length} of gzip cannot hold");
            return Err(Wrong::Format(reason));
        }
        match zipped {
            false if follow < claimed as u64 => Err(opened.short(follow)),
            false if follow > claimed as u64 => Err(opened.long()),
            _ => Ok(opened),
        }
    }

    /// The bytes that the header claims, and nothing behind them.
    fn data(mut self) -> Result<Vec<u8>> {
        let mut read = || -> std::result::Result<Vec<u8>, Wrong> {
            let data = read_up_to(&mut self.reader, self.claimed)?;
            if data.len() < self.claimed {
                return Err(self.short(data.len() as u64));
            }
            if !read_up_to(&mut self.reader, 1)?.is_empty() {
                return Err(self.long());
            }
            Ok(data)
        };
        read().map_err(|wrong| wrong.of(&self.path))
    }

    fn short(&self, follow: u64) -> Wrong {
        let (dims, claimed) = (shown_shape(&self.dims), self.claimed);
        Wrong::Format(format!("cut short: the header claims {dims} = {claimed} bytes, {follow} follow it"))
    }

    fn long(&self) -> Wrong {
        let (dims, claimed) = (shown_shape(&self.dims), self.claimed);
        Wrong::Format(format!("bytes follow the {dims} = {claimed} that the header claims"))
    }
}

pub(super) enum Wrong {
    Io(io::Error),
    Format(String),
}

impl Wrong {
    pub(super) fn of(self, path: &Path) -> Error {
        match self {
            Wrong::Io(source) => Error::io(path, source),
            Wrong::Format(reason) => Error::format(path, reason),
        }
    }
}

impl From<io::Error> for Wrong {
    /// What the decoder finds wrong inside a file is the file's fault, not the system's.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Wrong::Format("cut short: the gzip stream does not end".into()),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => Wrong::Format(format!("damaged gzip: {}", said(error))),
            _ => Wrong::Io(error),
        }
    }
}

/// The next bytes of the header.
fn array<const N: usize>(reader: &mut impl Read) -> std::result::Result<[u8; N], Wrong> {
    let bytes = read_up_to(reader, N)?;
    bytes.try_into().map_err(|_| Wrong::Format("cut short: the file ends inside the IDX header".into()))
}

/// Which part of a set of data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// What models learn from.
    Train,
    /// What they are judged by.
    Test,
}

/// Reads MNIST from a folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`
/// and `t10k-labels-idx1-ubyte`, each as it is or with `.gz` behind its name. Pixels are normalised by the training set's
/// mean 0.1307 and deviation 0.3081, as everybody does.
///
/// ```no_run
/// use minitorch_nn::data::{Dataset, Split, mnist};
/// let train = mnist("data/mnist", Split::Train)?;
/// assert_eq!(train.len(), 60_000);
/// # Ok::<(), minitorch_core::Error>(())
/// ```
///
/// # Errors
/// If a file is missing or is no proper IDX ([`Idx::read`]); if the images are not 28 x 28, are none at all, or differ in
/// number from the labels; if a label is not a digit. The error names the file.
pub fn mnist(folder: impl AsRef<Path>, split: Split) -> Result<ImageDataset> {
    Ok(read_pair(folder.as_ref(), split)?.normalize(0.1307, 0.3081))
}

/// The names of Fashion-MNIST's classes, by label.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];

/// Reads Fashion-MNIST, whose files have MNIST's names, format and sizes: [`mnist`] with its own mean 0.2860 and deviation
/// 0.3530. Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms",
/// 2017.
///
/// # Errors
/// As [`mnist`].
pub fn fashion_mnist(folder: impl AsRef<Path>, split: Split) -> Result<ImageDataset> {
    Ok(read_pair(folder.as_ref(), split)?.normalize(0.2860, 0.3530))
}

/// The images and labels of one split, checked against each other.
fn read_pair(folder: &Path, split: Split) -> Result<ImageDataset> {
    let name = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images_path = find(folder, &format!("{name}-images-idx3-ubyte"))?;
    let labels_path = find(folder, &format!("{name}-labels-idx1-ubyte"))?;
    // Both headers, before the data of either.
    let images = Opened::new(&images_path)?;
    let [count, 28, 28] = images.dims[..] else {
        let reason = format!("dimensions {}; MNIST's images are [n, 28, 28]", shown_shape(&images.dims));
        return Err(Error::format(images_path, reason));
    };
    let labels = Opened::new(&labels_path)?;
    let [labels_count] = labels.dims[..] else {
        let reason = format!("dimensions {}; MNIST's labels are [n]", shown_shape(&labels.dims));
        return Err(Error::format(labels_path, reason));
    };
    if labels_count != count {
        let reason = format!("{labels_count} labels for the {count} images of {}", images_path.display());
        return Err(Error::format(labels_path, reason));
    }
    if count == 0 {
        return Err(Error::format(images_path, "no images"));
    }
    let labels = labels.data()?;
    if let Some(at) = labels.iter().position(|&label| label > 9) {
        let reason = format!("label {} of image {at}; MNIST's labels are the digits 0 to 9", labels[at]);
        return Err(Error::format(labels_path, reason));
    }
    Ok(ImageDataset::new(images.data()?, labels, [1, 28, 28]))
}

/// The file of this name, or of this name and `.gz`.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    let compressed = folder.join(format!("{name}.gz"));
    match [plain.clone(), compressed].into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path),
        None if !folder.exists() => Err(Error::io(folder, io::Error::new(ErrorKind::NotFound, "no such folder"))),
        None => Err(Error::io(plain, io::Error::new(ErrorKind::NotFound, "no such file, and none with .gz"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(kind: u8, dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dims.len() as u8];
        dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder that goes away with the test.
    struct Folder(PathBuf);
    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("minitorch-idx-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
        fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
            std::fs::write(self.0.join(name), bytes).unwrap();
            self.0.join(name)
        }
    }
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn reads_plain_and_compressed_by_content() {
        let folder = Folder::new("plain");
        let bytes = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
        let want = Idx { dims: vec![2, 3], data: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(Idx::read(folder.write("plain.gz", &bytes)).unwrap(), want);
        assert_eq!(Idx::read(folder.write("compressed", &gzip(&bytes))).unwrap(), want);
        assert_eq!(Idx::read(folder.write("scalar", &idx(8, &[], &[7]))).unwrap().data, [7]);
        assert!(Idx::read(folder.write("none", &idx(8, &[0, 28], &[]))).unwrap().data.is_empty());
    }

    #[test]
    fn every_bad_file_is_one_line_that_names_it() {
        let folder = Folder::new("bad");
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
            let path = folder.write(name, &bytes);
            let message = Idx::read(&path).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(name), "{name}: {message}");
            assert!(!message.contains('\n'), "{name}: {message}");
        }
        assert!(matches!(Idx::read(&folder.0), Err(Error::Io { .. })), "a folder is no file");
    }

    #[test]
    fn mnist_checks_the_pair() {
        let folder = Folder::new("pair");
        let images = |n: u32| idx(8, &[n, 28, 28], &vec![9; n as usize * 784]);
        let attempt = |images: &[u8], labels: &[u8]| {
            folder.write("t10k-images-idx3-ubyte", images);
            folder.write("t10k-labels-idx1-ubyte.gz", &gzip(labels));
            mnist(&folder.0, Split::Test).map(|set| set.labels().to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(attempt(&images(2), &idx(8, &[2], &[3, 9])).unwrap(), [3, 9]);
        for (images, labels, reason) in [
            (images(2), idx(8, &[3], &[3, 9, 1]), "3 labels for the 2 images"),
            (images(2), idx(8, &[2], &[3, 10]), "label 10 of image 1"),
            (images(0), idx(8, &[0], &[]), "no images"),
            // Headers are compared before the data are read: these are cut short as well.
            (images(2), idx(8, &[3], &[]), "3 labels for the 2 images"),
            (idx(8, &[1, 2, 2], &[0; 4]), idx(8, &[1], &[1]), "[1, 2, 2]"),
            (images(1), idx(8, &[1, 1], &[1]), "MNIST's labels are [n]"),
        ] {
            let message = attempt(&images, &labels).unwrap_err();
            assert!(message.contains(reason) && message.contains("t10k-"), "{message}");
        }
        let message = mnist(&folder.0, Split::Train).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte") && message.contains("no such file"), "{message}");
        let message = mnist(folder.0.join("nowhere"), Split::Train).unwrap_err().to_string();
        assert!(message.contains("nowhere: no such folder"), "{message}");
    }
}
