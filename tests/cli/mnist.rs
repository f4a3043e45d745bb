//! The mnist example as a program: an error is one line on stderr and an exit code, a run writes all of its files and
//! the result as its last line, Ctrl-C saves the weights.

use crate::cli::{self, fails, last_line, names, on_cpu, put};
use minitorch::Result;
use minitorch::nn::state::{HostTensor, StateDict};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::{TempDir, tempdir};

fn run(arguments: &str, more: &[&Path]) -> Output {
    cli::run("mnist", arguments, more)
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

/// The files of a run.
const FILES: [&str; 6] =
    ["curves.png", "feature-maps.svg", "last.safetensors", "metrics.csv", "mistakes.png", "model.safetensors"];

/// Asserts that the picture of a run contains the image and, for each layer, maps of this number and side.
fn assert_feature_maps(run: &Path, layers: [(usize, usize); 2]) {
    let svg = fs::read_to_string(run.join("feature-maps.svg")).expect("a picture");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.len() < 200_000, "{} bytes", svg.len());
    assert!(svg.contains("Feature maps of test image 0: digit "));
    for (count, side) in layers {
        assert!(svg.contains(&format!(": {count} maps of {side} x {side}</text>")), "{count} maps of {side}");
    }
    let tiles = 1 + layers.iter().map(|(count, _)| count).sum::<usize>();
    // Every tile is a complete PNG, by its first and last bytes; base64 has three forms of the latter.
    let ends = ["kSuQmCC", "5ErkJggg==", "RK5CYII="];
    let png = |data: &str| data.starts_with("iVBORw0KGgo") && ends.iter().any(|end| data.ends_with(end));
    let data: Vec<&str> = svg.split("base64,").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(data.len() == tiles && data.iter().all(|data| png(data)), "{} pictures for {tiles} tiles", data.len());
}

/// A folder with a tiny, valid MNIST: 20 training and 10 test images.
fn tiny() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    for (name, n) in [("train", 20u32), ("t10k", 10)] {
        let pixels: Vec<u8> = (0..n * 784).map(|i| (i * 37 % 251) as u8).collect();
        let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
        put(&folder, &format!("{name}-images-idx3-ubyte"), &idx(&[n, 28, 28], &pixels));
        put(&folder, &format!("{name}-labels-idx1-ubyte"), &idx(&[n], &labels));
    }
    folder
}

/// Trains on a tiny set with one file replaced, which must fail.
fn with_file(name: &str, bytes: &[u8], reasons: &[&str]) {
    with_file_in(tiny(), name, bytes, reasons);
}

fn with_file_in(data: TempDir, name: &str, bytes: &[u8], reasons: &[&str]) {
    let out = tempdir().expect("a temporary folder");
    let _ = fs::remove_file(data.path().join(name.trim_end_matches(".gz")));
    put(&data, name, bytes);
    let output = run("--epochs 1 --data", &[data.path(), Path::new("--out"), &out.path().join("run")]);
    let stem = name.trim_end_matches(".gz");
    fails(1, &output, &[&[stem], reasons].concat());
    assert!(!out.path().join("run").exists(), "a run that cannot start writes nothing");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for (arguments, reasons) in [
        ("--batch-size 0", ["--batch-size", "at least 1"]),
        ("--epochs 0", ["--epochs", "at least 1"]),
        ("--limit 0", ["--limit", "at least 1"]),
        ("--epochs -3", ["-3", ""]),
        ("--epochs many", ["--epochs", "many"]),
        ("--lr nan", ["--lr", "finite"]),
        ("--lr inf", ["--lr", "finite"]),
        ("--lr 0", ["--lr", "above 0"]),
        ("--lr fast", ["--lr", "fast"]),
        ("--seed x", ["--seed", "x"]),
        ("--backend abacus", ["abacus", "there are cpu, cuda"]),
        ("--net alexnet", ["alexnet", "there are lenet, minitorch"]),
        ("--net", ["--net", ""]),
        ("--speed 9", ["--speed", ""]),
        ("--epochs", ["--epochs", ""]),
        ("surprise", ["surprise", ""]),
    ] {
        fails(2, &run(arguments, &[]), &reasons);
    }
    for backend in ["cuda", "wgpu"] {
        let output = run(&format!("--backend {backend} --data /no/such/folder"), &[]);
        match output.status.code() {
            // In this build: with a device, the missing folder is the error; without one, the message names a way out.
            Some(1) if String::from_utf8_lossy(&output.stderr).contains("/no/such/folder") => {}
            Some(1) => fails(1, &output, &["--backend cpu works"]),
            _ => fails(2, &output, &[backend, "not in this build"]),
        }
    }
    let help = run("--help", &[]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--batch-size"));
}

#[test]
fn bad_data_is_exit_code_1() {
    fails(1, &run("--data /no/such/folder", &[]), &["/no/such/folder: no such folder"]);
    let empty = tempdir().expect("a temporary folder");
    fails(1, &run("--data", &[empty.path()]), &["t10k-images-idx3-ubyte: no such file"]);

    let images = "train-images-idx3-ubyte";
    with_file(images, &idx(&[20, 28, 28], &[0; 100]), &["cut short"]);
    with_file(images, &idx(&[1 << 31, 28, 28], &[0; 784]), &["cut short", "2147483648"]);
    with_file(images, &idx(&[u32::MAX; 5], &[0; 784]), &["more than memory"]);
    with_file(images, &[&idx(&[20, 28, 28], &[0; 20 * 784])[..], b"x"].concat(), &["bytes follow"]);
    with_file(images, b"PK\x03\x04 something else", &["not an IDX file"]);
    with_file(images, &idx(&[20, 5, 5], &[0; 500]), &["[20, 5, 5]"]);
    with_file("train-labels-idx1-ubyte", &idx(&[19], &[1; 19]), &["19 labels for the 20 images"]);
    with_file("t10k-labels-idx1-ubyte", &idx(&[10], &[11; 10]), &["label 11"]);

    let whole =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mnist/t10k-labels-idx1-ubyte.gz")).expect("MNIST");
    // As many images as labels: headers are compared before data is read.
    let many = || {
        let data = tiny();
        put(&data, "t10k-images-idx3-ubyte", &idx(&[10_000, 28, 28], &vec![0; 10_000 * 784]));
        data
    };
    with_file_in(many(), "t10k-labels-idx1-ubyte.gz", &whole[..whole.len() / 2], &["cut short"]);
    let mut damaged = whole;
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    with_file_in(many(), "t10k-labels-idx1-ubyte.gz", &damaged, &["gzip"]);
}

#[test]
fn bad_weights_are_exit_code_1() -> Result<()> {
    let data = tiny();
    let weights = data.path().join("weights.safetensors");
    let eval = || run("--data", &[data.path(), Path::new("--eval"), &weights]);
    fails(1, &eval(), &["weights.safetensors", "No such file"]);

    let forged = [u64::MAX.to_le_bytes().to_vec(), b"{}".to_vec()].concat();
    for bytes in [&b"rubbish"[..], b"\x08\0\0\0\0\0\0\0not json", &forged] {
        fs::write(&weights, bytes).expect("a temporary file");
        fails(1, &eval(), &["weights.safetensors: not a valid safetensors file"]);
    }
    let one =
        |name: &str, shape: &[usize]| (name.to_string(), HostTensor::new(shape, vec![0.0f32; shape.iter().product()]));
    StateDict::from_iter([one("fc3.bias", &[11]), one("fc9.bias", &[1])]).write(&weights)?;
    fails(1, &eval(), &["missing: conv1.weight [6, 1, 5, 5]", "unexpected: fc9.bias", "mis-shaped: fc3.bias ([11]"]);
    Ok(())
}

#[test]
fn an_invalid_output_folder_is_an_error_before_training() {
    let data = tiny();
    // Below a file, so that not even root can create it.
    let out = data.path().join("t10k-images-idx3-ubyte").join("run");
    let output = run("--data", &[data.path(), Path::new("--out"), &out]);
    fails(1, &output, &["t10k-images-idx3-ubyte"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("LeNet-5"), "before training");
}

#[test]
fn a_short_run_writes_everything_and_repeats() -> Result<()> {
    let folder = tempdir().expect("a temporary folder");
    let train = |name: &str| -> (PathBuf, String) {
        let out = folder.path().join(name);
        let output = run("--limit 256 --epochs 1 --seed 7 --out", &[&out]);
        (out, last_line(&output))
    };
    let (first, figure) = train("first");
    let number = figure.strip_prefix("test accuracy: ").and_then(|rest| rest.strip_suffix(" %")).unwrap_or_default();
    assert_eq!(number.split_once('.').map(|(_, decimals)| decimals.len()), Some(2), "{figure}");
    assert!(number.parse::<f64>().is_ok_and(|n| (0.0..=100.0).contains(&n)), "{figure}");

    assert_eq!(names(&first), FILES);
    let state = StateDict::read(first.join("model.safetensors"))?;
    let parameters: usize = state.iter().map(|(_, tensor)| tensor.shape.iter().product::<usize>()).sum();
    assert_eq!((state.len(), parameters), (10, 61_706));
    let metrics = fs::read_to_string(first.join("metrics.csv")).expect("metrics");
    assert!(metrics.starts_with("epoch,step,lr,train_loss,train_accuracy,test_loss,test_accuracy,seconds\n"));
    assert!(metrics.lines().count() >= 3 && metrics.lines().all(|line| line.matches(',').count() == 7), "{metrics}");
    for picture in ["curves.png", "mistakes.png"] {
        assert!(fs::read(first.join(picture)).expect("a picture").starts_with(b"\x89PNG\r\n"), "{picture}");
    }
    assert_feature_maps(&first, [(6, 28), (16, 10)]);

    let (second, again) = train("second");
    assert_eq!(figure, again, "the same seed, the same figure");
    assert_eq!(StateDict::read(second.join("model.safetensors"))?, state, "and the same weights");
    let output = run("--limit 256 --eval", &[&first.join("model.safetensors")]);
    assert_eq!(last_line(&output), figure);
    Ok(())
}

#[test]
fn the_courses_network_trains_and_refuses_other_weights() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    let train = |net: &str, out: &Path| {
        let output = run(&format!("--net {net} --epochs 1 --data"), &[data.path(), Path::new("--out"), out]);
        (last_line(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let [course, lenet] = ["minitorch", "lenet"].map(|net| out.path().join(net));
    let (figure, told) = train("minitorch", &course);
    assert!(told.contains("the course's network, 26138 parameters"), "{told}");
    assert_eq!(names(&course), FILES);
    assert_feature_maps(&course, [(4, 28), (8, 28)]);
    let (_, told) = train("lenet", &lenet);
    assert!(told.contains("LeNet-5, 61706 parameters"), "{told}");

    let eval = |net: &str, weights: &Path| {
        let weights = weights.join("model.safetensors");
        run(&format!("--net {net} --data"), &[data.path(), Path::new("--eval"), &weights])
    };
    // Dropout is off in evaluation, so the result repeats.
    assert_eq!(last_line(&eval("minitorch", &course)), figure);
    assert_eq!(last_line(&eval("minitorch", &course)), figure);
    fails(1, &eval("lenet", &course), &["model.safetensors", "missing: fc3.weight", "conv1.weight ([4, 1, 3, 3]"]);
    fails(1, &eval("minitorch", &lenet), &["model.safetensors", "unexpected: fc3.bias", "conv1.weight ([6, 1, 5, 5]"]);
    Ok(())
}

#[test]
fn a_loss_that_is_not_finite_stops_and_saves_nothing() {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    fs::write(out.path().join("last.safetensors"), "of an earlier run").expect("a temporary file");
    let output = run("--epochs 3 --lr 1e38 --data", &[data.path(), Path::new("--out"), out.path()]);
    fails(1, &output, &["no longer a finite number", "--lr"]);
    assert_eq!(fs::read_to_string(out.path().join("last.safetensors")).expect("still there"), "of an earlier run");
    assert_eq!(names(out.path()), ["last.safetensors"]);
}

#[test]
fn concurrent_runs_in_one_folder_do_not_interfere() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    let out = out.path().join("run");
    let start = || {
        on_cpu("mnist", "--epochs 2 --batch-size 10 --data")
            .args([data.path(), Path::new("--out"), &out])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example starts")
    };
    let runs: Vec<_> = (0..6).map(|_| start()).collect();
    for run in runs {
        last_line(&run.wait_with_output().expect("it ends"));
    }
    assert_eq!(names(&out), FILES);
    assert_eq!(StateDict::read(out.join("model.safetensors"))?.len(), 10);
    Ok(())
}

#[cfg(unix)]
#[test]
fn irregular_files_are_refused_at_the_start() {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    let fifo = |path: &Path| assert!(Command::new("mkfifo").arg(path).status().is_ok_and(|status| status.success()));
    let weights = data.path().join("weights");
    fifo(&weights);
    let output = run("--data", &[data.path(), Path::new("--eval"), &weights]);
    fails(1, &output, &["weights: not a regular file"]);

    for (name, make) in [
        ("last.safetensors", &fifo as &dyn Fn(&Path)),
        ("metrics.csv", &|path| std::os::unix::fs::symlink("/dev/null", path).expect("a link")),
        ("model.safetensors", &|path| fs::create_dir(path).expect("a folder")),
        ("curves.png", &|path| std::os::unix::fs::symlink("nowhere", path).expect("a link")),
        ("feature-maps.svg", &|path| fs::create_dir(path).expect("a folder")),
    ] {
        let folder = out.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        make(&folder.join(name));
        let output = run("--epochs 1 --data", &[data.path(), Path::new("--out"), &folder]);
        fails(1, &output, &[name]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("LeNet-5"), "{name}: before training");
        assert_eq!(names(&folder), [name], "nothing was replaced");
    }

    let images = data.path().join("train-images-idx3-ubyte");
    fs::remove_file(&images).expect("a file");
    fifo(&images);
    fails(1, &run("--data", &[data.path()]), &["train-images-idx3-ubyte: not a regular file"]);
}

/// Interrupts a run as soon as a line on stderr starts with `at`. Asserts that it says so, and leaves the weights; returns its stdout.
#[cfg(unix)]
fn interrupted(arguments: &str, data: &Path, out: &Path, at: &str) -> Result<String> {
    let (stdout, rest) = cli::interrupted(on_cpu("mnist", arguments).args([data, Path::new("--out"), out]), at);
    assert!(rest.iter().any(|line| line.starts_with("interrupted after step")), "{rest:?}");
    assert_eq!(names(out), ["last.safetensors", "metrics.csv"]);
    assert_eq!(StateDict::read(out.join("last.safetensors"))?.len(), 10);
    Ok(stdout)
}

#[cfg(unix)]
#[test]
fn an_interrupt_of_the_last_evaluation_is_reported() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    // Few training images, many test images.
    put(&data, "t10k-images-idx3-ubyte", &idx(&[40_000, 28, 28], &vec![0; 40_000 * 784]));
    put(&data, "t10k-labels-idx1-ubyte", &idx(&[40_000], &[1; 40_000]));
    let stdout = interrupted("--epochs 1 --data", data.path(), out.path(), "100 %")?;
    assert!(!stdout.contains("test accuracy"));
    Ok(())
}

#[test]
fn invalid_environment_settings_are_reported_once_and_ignored() {
    let data = tiny();
    let with = |threads: &str| {
        let out = tempdir().expect("a temporary folder");
        let mut command = on_cpu("mnist", "--epochs 1 --data");
        command.args([data.path(), Path::new("--out"), out.path()]).env("MINITORCH_NUM_THREADS", threads);
        let output = command.output().expect("the example starts");
        last_line(&output);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().filter(|line| line.contains("MINITORCH_NUM_THREADS")).map(str::to_string).collect::<Vec<_>>()
    };
    for fine in ["", "0", "1", " 2 "] {
        assert_eq!(with(fine), [""; 0], "{fine:?}");
    }
    for (threads, reason) in [
        ("abc", "\"abc\" is not a number"),
        ("-1", "\"-1\" is not a number"),
        ("1.5", "\"1.5\" is not a number"),
        ("\x1b[31m", "\"\\u{1b}[31m\" is not a number"),
        ("3000", "3000 threads are too many"),
        ("99999999999999999999999", "is not a number"),
    ] {
        let told = with(threads);
        assert!(told.len() == 1 && told[0].starts_with("minitorch: ") && told[0].contains(reason), "{told:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_the_weights() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    interrupted("--epochs 1000000 --batch-size 5 --data", data.path(), out.path(), "epoch 2/")?;
    Ok(())
}
