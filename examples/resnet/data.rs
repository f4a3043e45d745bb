//! The choice of images: a named set, or a folder.

use crate::common::args::of_the_source_tree;
use crate::common::evaluate::Classes;
use crate::images::DIGITS;
use minitorch::nn::data::{CIFAR10_CLASSES, FASHION_MNIST_CLASSES, ImageDataset, Split, cifar10, fashion_mnist, mnist};
use minitorch::prelude::*;
use std::path::{Path, PathBuf};

/// A set of images and the folder that holds it.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    kind: Kind,
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Mnist,
    Fashion,
    Cifar10,
    /// Another folder of IDX files. Normalised as MNIST; batch norm corrects the difference.
    Idx,
}

impl From<&str> for Data {
    /// A name, or a folder, which is CIFAR-10 if it has files of its names.
    fn from(text: &str) -> Self {
        let named = |kind, folder| Data { kind, folder: of_the_source_tree(folder) };
        match text {
            "mnist" => named(Kind::Mnist, "data/mnist"),
            "fashion" => named(Kind::Fashion, "data/fashion-mnist"),
            "cifar10" => named(Kind::Cifar10, "data/cifar10"),
            _ => {
                let folder = Path::new(text);
                let has = |name| folder.join(name).exists();
                let cifar = ["cifar-10-batches-bin", "test_batch.bin", "data_batch_1.bin"].into_iter().any(has);
                Data { kind: if cifar { Kind::Cifar10 } else { Kind::Idx }, folder: folder.into() }
            }
        }
    }
}

impl Data {
    /// The images, with the augmentation of the training set.
    pub(crate) fn read(&self, split: Split) -> Result<ImageDataset> {
        let folder = &self.folder;
        Ok(match self.kind {
            Kind::Mnist | Kind::Idx => mnist(folder, split)?.shift(2),
            Kind::Fashion => fashion_mnist(folder, split)?.shift(2).flip(),
            Kind::Cifar10 => cifar10(folder, split)?.shift(4).flip(),
        })
    }

    /// 1 for greyscale images, 3 for RGB.
    pub(crate) fn channels(&self) -> usize {
        if matches!(self.kind, Kind::Cifar10) { 3 } else { 1 }
    }

    /// The classes of the images.
    pub(crate) fn classes(&self) -> Classes {
        match self.kind {
            Kind::Mnist => DIGITS,
            Kind::Idx => Classes { kind: "class", ..DIGITS },
            Kind::Fashion => Classes { kind: "class", names: &FASHION_MNIST_CLASSES },
            Kind::Cifar10 => Classes { kind: "class", names: &CIFAR10_CLASSES },
        }
    }
}
