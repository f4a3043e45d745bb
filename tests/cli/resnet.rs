//! The resnet example as a program: its data sets, and that a run with batch norm is reproducible and evaluates as it
//! was saved.

use crate::cli::{self, fails, last_line, names, put};
use minitorch::Result;
use minitorch::nn::state::StateDict;
use std::path::Path;
use std::process::Output;
use tempfile::{TempDir, tempdir};

fn run(arguments: &str, more: &[&Path]) -> Output {
    cli::run("resnet", arguments, more)
}

/// CIFAR-10's records, with pixels that depend on the label.
fn records(labels: impl Iterator<Item = u8>) -> Vec<u8> {
    let pixels = |label: u8| (0..3072u32).map(move |i| (i * (7 + label as u32) % 251) as u8);
    labels.flat_map(|label| std::iter::once(label).chain(pixels(label))).collect()
}

/// A folder with a tiny, valid CIFAR-10: 20 training and 10 test images.
fn tiny() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    for i in 1..=5 {
        put(&folder, &format!("data_batch_{i}.bin"), &records((0..4).map(|k| (i + k) % 10)));
    }
    put(&folder, "test_batch.bin", &records(0..10));
    folder
}

#[test]
fn a_short_run_on_cifar10_repeats_and_evaluates_as_it_was_saved() -> Result<()> {
    let (data, folder) = (tiny(), tempdir().expect("a temporary folder"));
    let train = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        let arguments = format!("--epochs 2 --batch-size 10 --lr 0.05 --seed {seed} --data");
        let output = run(&arguments, &[data.path(), Path::new("--out"), &out]);
        let figure = last_line(&output);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("ResNet-20, 272474 parameters, 20 training and 10 test")
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("\nautomobile  "), "a line for each class");
        (out, figure)
    };
    let (first, figure) = train("first", "7");
    assert!(figure.starts_with("test accuracy: ") && figure.ends_with(" %"), "{figure}");
    assert_eq!(names(&first), ["curves.png", "last.safetensors", "metrics.csv", "mistakes.png", "model.safetensors"]);
    let state = StateDict::read(first.join("model.safetensors"))?;
    // 21 convolutions, each with the five tensors of its batch norm, and the last layer's two.
    assert_eq!(state.len(), 21 * 6 + 2);
    let (second, again) = train("second", "7");
    assert_eq!(StateDict::read(second.join("model.safetensors"))?, state, "the same seed, the same weights");
    assert_eq!(figure, again, "and the same figure");
    let (other, _) = train("other", "8");
    assert_ne!(StateDict::read(other.join("model.safetensors"))?, state);

    let weights = first.join("model.safetensors");
    let output = run("--data", &[data.path(), Path::new("--eval"), &weights]);
    assert_eq!(last_line(&output), figure, "with the running statistics that were saved");
    fails(1, &run("--eval", &[&weights]), &["mis-shaped: conv1.weight ([16, 3, 3, 3]"]); // MNIST has one channel
    Ok(())
}

#[test]
fn a_short_run_on_mnist_learns() {
    let out = tempdir().expect("a temporary folder");
    let output = run("--limit 256 --epochs 1 --batch-size 32 --out", &[out.path()]);
    let figure = last_line(&output);
    assert!(figure.starts_with("test accuracy: "), "{figure}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("digit  accuracy\n0 "));
}

#[test]
fn errors_in_the_data_are_named() {
    let data = tiny();
    let attempt = || run("--data", &[data.path()]);
    put(&data, "data_batch_3.bin", &[0; 3072]);
    fails(1, &attempt(), &["data_batch_3.bin", "3072 bytes"]);
    put(&data, "data_batch_3.bin", &[10; 3073]);
    fails(1, &attempt(), &["data_batch_3.bin", "label 10 of image 0"]);
    for i in [2, 3] {
        std::fs::remove_file(data.path().join(format!("data_batch_{i}.bin"))).expect("a file");
    }
    fails(1, &attempt(), &["no data_batch_2.bin, data_batch_3.bin here"]);
    fails(1, &run("--data /no/such/folder", &[]), &["/no/such/folder: no such folder"]);
    let empty = tempdir().expect("a temporary folder");
    fails(1, &run("--data", &[empty.path()]), &["t10k-images-idx3-ubyte: no such file"]);
    fails(2, &run("--batch-size 0", &[]), &["--batch-size", "at least 1"]);
}
