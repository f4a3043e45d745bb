//! MNIST, and Fashion-MNIST, which has the same files.

use super::idx::IdxFile;
use super::images::{ImageDataset, Split};
use crate::text::shown_shape;
use minitorch_core::{Error, Result};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Reads MNIST from a folder that holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`
/// and `t10k-labels-idx1-ubyte`, each plain or with `.gz` appended to its name. Pixels are normalised by the mean
/// 0.1307 and the standard deviation 0.3081 of the training set.
///
/// ```no_run
/// use minitorch::prelude::*;
///
/// let train = mnist("data/mnist", Split::Train)?;
/// assert_eq!(train.len(), 60_000);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// If a file is missing or is not valid IDX ([`Idx::read`](super::Idx::read)); if the images are not 28 x 28, are none,
/// or differ in number from the labels; if a label is not a digit. The error names the file.
pub fn mnist(folder: impl AsRef<Path>, split: Split) -> Result<ImageDataset> {
    Ok(read_pair(folder.as_ref(), split)?.normalize(0.1307, 0.3081))
}

/// The names of Fashion-MNIST's classes, by label.
pub const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"];

/// Reads Fashion-MNIST, whose files have MNIST's names, format and sizes: [`mnist`] with its own mean 0.2860 and
/// standard deviation 0.3530. Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
/// learning algorithms", 2017.
///
/// # Errors
/// As [`mnist`].
pub fn fashion_mnist(folder: impl AsRef<Path>, split: Split) -> Result<ImageDataset> {
    Ok(read_pair(folder.as_ref(), split)?.normalize(0.2860, 0.3530))
}

/// Reads the images and labels of one split, and checks them against each other.
fn read_pair(folder: &Path, split: Split) -> Result<ImageDataset> {
    let name = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    let images_path = find(folder, &format!("{name}-images-idx3-ubyte"))?;
    let labels_path = find(folder, &format!("{name}-labels-idx1-ubyte"))?;
    // Both headers are read and compared before the data of either.
    let images = IdxFile::open(&images_path)?;
    let [count, 28, 28] = images.dims[..] else {
        let reason = format!("dimensions {}; MNIST's images are [n, 28, 28]", shown_shape(&images.dims));
        return Err(Error::format(images_path, reason));
    };
    let labels = IdxFile::open(&labels_path)?;
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
    use super::super::idx::tests::{gzip, idx, put};
    use super::*;
    use tempfile::tempdir;

    #[test]
    fn mnist_checks_the_pair() {
        let folder = tempdir().unwrap();
        let images = |n: u32| idx(8, &[n, 28, 28], &vec![9; n as usize * 784]);
        let attempt = |images: &[u8], labels: &[u8]| {
            put(&folder, "t10k-images-idx3-ubyte", images);
            put(&folder, "t10k-labels-idx1-ubyte.gz", &gzip(labels));
            mnist(folder.path(), Split::Test).map(|set| set.labels().to_vec()).map_err(|e| e.to_string())
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
        let message = mnist(folder.path(), Split::Train).unwrap_err().to_string();
        assert!(message.contains("train-images-idx3-ubyte") && message.contains("no such file"), "{message}");
        let message = mnist(folder.path().join("nowhere"), Split::Train).unwrap_err().to_string();
        assert!(message.contains("nowhere: no such folder"), "{message}");
    }
}
