//! CIFAR-10's binary files: records of a label byte and 3072 pixel bytes, `[3, 32, 32]` in RGB.

use super::images::{ImageDataset, Split};
use crate::files::open;
use minitorch_core::{Error, Result};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// `[channels, height, width]`.
const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = SHAPE[0] * SHAPE[1] * SHAPE[2];
/// A label and its pixels.
const RECORD: usize = 1 + PIXELS;
/// The folder inside the archive that the authors publish.
const INSIDE: &str = "cifar-10-batches-bin";
/// Mean and standard deviation of the training set, per channel.
const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f32; 3] = [0.2470, 0.2435, 0.2616];

/// The names of CIFAR-10's classes, by label.
pub const CIFAR10_CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Reads CIFAR-10 from a folder that holds `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or that holds
/// such a folder called `cifar-10-batches-bin`. Krizhevsky, "Learning multiple layers of features from tiny images",
/// 2009. Pixels are normalised by the mean and standard deviation of their channel in the training set. PyTorch:
/// `torchvision.datasets.CIFAR10`.
///
/// ```no_run
/// use minitorch::prelude::*;
/// use minitorch::nn::data::cifar10;
///
/// let train = cifar10("data/cifar10", Split::Train)?.shift(4).flip();
/// assert_eq!((train.len(), train.image_shape()), (50_000, [3, 32, 32]));
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// If the folder or a file is missing (the message names all missing files), if the length of a file is not a positive
/// multiple of a record, or if a label is above 9.
pub fn cifar10(folder: impl AsRef<Path>, split: Split) -> Result<ImageDataset> {
    let folder = folder.as_ref();
    let names: Vec<String> = match split {
        Split::Train => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
        Split::Test => vec!["test_batch.bin".into()],
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in find(folder, &names)? {
        let io = |e| Error::io(&path, e);
        let (file, length) = open(&path).map_err(io)?;
        if length == 0 || !length.is_multiple_of(RECORD as u64) {
            let reason =
                format!("{length} bytes are not one or more records of {RECORD}, as CIFAR-10's binary files have");
            return Err(Error::format(path, reason));
        }
        let (mut file, mut record) = (BufReader::with_capacity(16 * RECORD, file), [0; RECORD]);
        for i in 0..length / RECORD as u64 {
            file.read_exact(&mut record).map_err(io)?;
            let [label, ref image @ ..] = record;
            if label > 9 {
                let reason = format!("label {label} of image {i}; CIFAR-10's labels are 0 to 9");
                return Err(Error::format(path, reason));
            }
            pixels.try_reserve(PIXELS).map_err(|e| io(e.into()))?;
            labels.push(label);
            pixels.extend_from_slice(image);
        }
    }
    Ok(ImageDataset::new(pixels, labels, SHAPE).normalize_channels(&MEAN, &STD))
}

/// The paths of these files, in the folder or in the archive's folder inside it.
fn find(folder: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    let inner = folder.join(INSIDE);
    let folder = if inner.is_dir() { &inner } else { folder };
    let missing: Vec<&str> = names.iter().map(String::as_str).filter(|name| !folder.join(name).exists()).collect();
    let reason = match missing.is_empty() {
        true => return Ok(names.iter().map(|name| folder.join(name)).collect()),
        false if !folder.exists() => "no such folder".to_string(),
        false => format!("no {} here", missing.join(", ")),
    };
    Err(Error::io(folder, std::io::Error::new(ErrorKind::NotFound, reason)))
}

#[cfg(test)]
mod tests {
    use super::super::batches::Dataset;
    use super::*;
    use tempfile::{TempDir, tempdir};

    /// Records whose pixels are all the position of the record.
    fn records(labels: &[u8]) -> Vec<u8> {
        let record = |(i, &label): (usize, &u8)| [vec![label], vec![i as u8; PIXELS]].concat();
        labels.iter().enumerate().flat_map(record).collect()
    }

    /// A folder with the archive's folder inside it.
    fn folder() -> TempDir {
        let folder = tempdir().unwrap();
        std::fs::create_dir(folder.path().join(INSIDE)).unwrap();
        folder
    }

    #[test]
    fn files_are_concatenated_in_order_from_the_folder_or_the_one_inside() {
        let folder = folder();
        let inside = folder.path().join(INSIDE);
        for i in 1..=5u8 {
            std::fs::write(inside.join(format!("data_batch_{i}.bin")), records(&[i, 9])).unwrap();
        }
        let mut bytes = records(&[3]);
        bytes[1..1025].fill(255); // red
        std::fs::write(inside.join("test_batch.bin"), bytes).unwrap();
        for path in [folder.path(), &inside] {
            let train = cifar10(path, Split::Train).unwrap();
            assert_eq!(train.labels(), [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
            assert_eq!((train.image(0)[0], train.image(1)[PIXELS - 1], train.image_shape()), (0, 1, SHAPE));
        }
        let test = cifar10(folder.path(), Split::Test).unwrap();
        assert_eq!((test.labels(), test.image(0)[1023], test.image(0)[1024]), (&[3][..], 255, 0));
        let mut host = Default::default();
        test.collate(&[0], &mut host);
        let (images, _) = test.upload(&host, &minitorch_conformance::doc::device()).unwrap();
        let pixels = images.to_vec::<f32>().unwrap();
        let expected = [(1.0 - 0.4914) / 0.2470, -0.4822 / 0.2435, -0.4465 / 0.2616];
        for (channel, want) in expected.into_iter().enumerate() {
            assert!((pixels[channel * 1024] - want).abs() < 1e-5, "{channel}: {} {want}", pixels[channel * 1024]);
        }
    }

    #[test]
    fn errors_name_the_file_and_the_reason() {
        let folder = folder();
        let inside = folder.path().join(INSIDE);
        let attempt = |split| cifar10(folder.path(), split).unwrap_err().to_string();
        std::fs::write(inside.join("data_batch_2.bin"), records(&[1])).unwrap();
        let message = attempt(Split::Train);
        let missing = "no data_batch_1.bin, data_batch_3.bin, data_batch_4.bin, data_batch_5.bin here";
        assert!(message.contains(missing) && message.contains(INSIDE), "{message}");
        let good = records(&[1, 2]);
        for (bytes, reason) in [
            (vec![], "0 bytes are not one or more records of 3073"),
            (good[..good.len() - 1].to_vec(), "6145 bytes"),
            ([&good[..], &[0]].concat(), "6147 bytes"),
            (records(&[9, 10]), "label 10 of image 1"),
        ] {
            std::fs::write(inside.join("test_batch.bin"), bytes).unwrap();
            let message = attempt(Split::Test);
            assert!(message.contains("test_batch.bin: ") && message.contains(reason), "{message}");
        }
        let message = cifar10(folder.path().join("nowhere"), Split::Test).unwrap_err().to_string();
        assert!(message.contains("nowhere: no such folder"), "{message}");
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        let message = cifar10(folder.path().join("empty"), Split::Test).unwrap_err().to_string();
        assert!(message.contains("empty: no test_batch.bin here"), "{message}");
    }
}
