//! The sentiment example as a program: its data, its word vectors, the choice of the best epoch, and `--say`.

use crate::cli::{self, fails, last_line, names, on_cpu, put};
use minitorch::Result;
use minitorch::nn::state::{HostTensor, StateDict};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::{TempDir, tempdir};

fn run(arguments: &str, more: &[&Path]) -> Output {
    cli::run("sentiment", arguments, more)
}

/// The files of a run.
const FILES: [&str; 5] = ["curves.png", "last.safetensors", "metrics.csv", "mistakes.tsv", "model.safetensors"];

/// Word vectors of four numbers.
const GLOVE: &str = "a 0.1 0.2 0.3 0.4\ngood 1 0 0 -1\nbad -1 0 0.5 1\nfilm 0 0.5 0 0.25\nfine 0.9 0.1 0 -0.9\n";

/// A file of `count` sentences with labels.
fn tsv(count: usize) -> String {
    let mut text = String::from("sentence\tlabel\trating\n");
    for i in 0..count {
        let word = ["bad", "good"][i % 2];
        text += &format!("a {word} film of {i} {word} days\t{}\t{}\n", i % 2, i % 2 * 4);
    }
    text
}

/// A folder with a tiny, valid data set and word vectors.
fn tiny() -> TempDir {
    let folder = tempdir().expect("a temporary folder");
    for (name, count) in [("train", 40), ("dev", 12), ("test", 10)] {
        put(&folder, &format!("{name}.tsv"), tsv(count).as_bytes());
    }
    put(&folder, "glove.txt", GLOVE.as_bytes());
    folder
}

/// Runs on a folder of [`tiny`].
fn on(data: &TempDir, arguments: &str, more: &[&Path]) -> Output {
    let vectors = data.path().join("glove.txt");
    run(arguments, &[&[Path::new("--data"), data.path(), Path::new("--vectors"), &vectors], more].concat())
}

/// Trains into a folder, and returns the last line on stdout and all of stderr.
fn train(data: &TempDir, arguments: &str, out: &Path) -> (String, String) {
    let output = on(data, arguments, &[Path::new("--out"), out]);
    (last_line(&output), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Asserts that a run on a tiny set with a file of these bytes fails for these reasons, and writes nothing.
fn with_file(name: &str, bytes: &[u8], reasons: &[&str]) {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    put(&data, name, bytes);
    let output = on(&data, "--epochs 1", &[Path::new("--out"), &out.path().join("run")]);
    fails(1, &output, &[&[name], reasons].concat());
    assert!(!out.path().join("run").exists(), "a run that cannot start writes nothing");
}

/// Runs `--say` with a sentence on the command line, or on stdin.
fn ask(weights: &Path, sentence: &str, stdin: Option<&[u8]>) -> Output {
    let mut command = on_cpu("sentiment", "--eval");
    command.arg(weights).args(["--say", sentence]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example starts");
    // Writing fails if the example does not read all of it.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin.unwrap_or_default());
    child.wait_with_output().expect("it ends")
}

fn answer(output: &Output) -> (String, String) {
    last_line(output);
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn f32s(state: &StateDict, name: &str) -> Vec<f32> {
    state[name].to_vec().expect("floats")
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for (arguments, reasons) in [
        ("--embeddings frozen", ["frozen", "there are static, tuned, random"]),
        ("--embeddings", ["--embeddings", ""]),
        ("--say", ["--say", ""]),
        ("--epochs 0", ["--epochs", "at least 1"]),
    ] {
        fails(2, &run(arguments, &[]), &reasons);
    }
    let help = String::from_utf8_lossy(&run("--help", &[]).stdout).into_owned();
    assert!(help.contains("Sentences per step") && !help.contains("mages"), "{help}");
}

#[test]
fn a_short_run_writes_everything_and_repeats() -> Result<()> {
    let folder = tempdir().expect("a temporary folder");
    let train = |name: &str| -> (PathBuf, Output) {
        let out = folder.path().join(name);
        (out.clone(), run("--limit 200 --epochs 1 --seed 7 --out", &[&out]))
    };
    let (first, output) = train("first");
    let figure = last_line(&output);
    let number = figure.strip_prefix("test accuracy: ").and_then(|rest| rest.strip_suffix(" %")).unwrap_or_default();
    assert!(number.parse::<f64>().is_ok_and(|n| (0.0..=100.0).contains(&n)), "{figure}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("200 training, 200 validation and 200 test sentences"), "{told}");

    assert_eq!(names(&first), FILES);
    let metrics = fs::read_to_string(first.join("metrics.csv")).expect("metrics");
    assert!(metrics.starts_with("epoch,step,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,"));
    let mistakes = fs::read_to_string(first.join("mistakes.tsv")).expect("mistakes");
    let wrong = (200.0 - number.parse::<f64>().unwrap_or_default() * 2.0).round() as usize;
    assert!(mistakes.lines().count() == wrong + 1 && mistakes.lines().all(|line| line.split('\t').count() == 4));
    let state = StateDict::read(first.join("model.safetensors"))?;
    assert_eq!(state.metadata["embeddings"], "tuned");
    let rows = state.metadata["words"].lines().count() + 2;
    assert_eq!(state["embedding.weight"].shape, [rows, 100]);

    let (second, again) = train("second");
    assert_eq!(last_line(&again), figure, "the same seed, the same figure");
    assert_eq!(StateDict::read(second.join("model.safetensors"))?, state, "and the same weights");
    assert_eq!(last_line(&run("--limit 200 --eval", &[&first.join("model.safetensors")])), figure);
    Ok(())
}

#[test]
fn embeddings_are_constant_or_trained_and_padding_is_zero() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    // Sentences that are shorter than a window, which then reads padding.
    put(&data, "train.tsv", (tsv(38) + "good\t1\t4\nbad\t0\t0\n").as_bytes());
    for kind in ["static", "tuned", "random"] {
        let folder = out.path().join(kind);
        let (figure, told) = train(&data, &format!("--epochs 2 --batch-size 8 --lr 0.01 --embeddings {kind}"), &folder);
        assert!(told.contains(&format!("text CNN on {kind} vectors")), "{told}");
        let weights = folder.join("model.safetensors");
        let state = StateDict::read(&weights)?;
        let dim = if kind == "random" { 100 } else { 4 };
        let rows = f32s(&state, "embedding.weight");
        assert!(rows[..2 * dim].iter().all(|&x| x == 0.0), "{kind}: padding and unknown stay zeros");
        let at = state.metadata["words"].lines().position(|word| word == "good").expect("a word") + 2;
        assert_eq!(rows[at * dim..][..4] == [1.0, 0.0, 0.0, -1.0], kind == "static", "{kind}");
        // The file is self-contained.
        assert_eq!(last_line(&on(&data, "", &[Path::new("--eval"), &weights])), figure, "{kind}");
    }
    Ok(())
}

#[test]
fn the_best_epoch_on_the_validation_set_is_kept() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    // Random labels, so that later epochs are not better.
    let noise = |numbers: std::ops::Range<usize>| {
        let line = |i: usize| format!("w{} w{} w{} w{} w{}\t{}\n", i % 7, i % 5, i % 3, i % 11, i % 4, i * i % 13 % 2);
        format!("sentence\tlabel\n{}", numbers.map(line).collect::<String>())
    };
    put(&data, "train.tsv", noise(0..60).as_bytes());
    put(&data, "dev.tsv", noise(60..200).as_bytes());
    let arguments = |epochs: usize| format!("--embeddings random --lr 0.01 --batch-size 10 --epochs {epochs}");
    let long = out.path().join("long");
    let (_, told) = train(&data, &arguments(6), &long);
    let metrics = fs::read_to_string(long.join("metrics.csv")).expect("metrics");
    let fields: Vec<Vec<&str>> = metrics.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let evaluated =
        fields.iter().filter(|row| !row[6].is_empty()).map(|row| (row[0], row[6].parse::<f64>().unwrap_or(-1.0)));
    let best = evaluated.fold(("0", -1.0), |best, epoch| if epoch.1 > best.1 { epoch } else { best }).0;
    assert!(told.contains(&format!("the weights are those of epoch {best}, the best one")), "{metrics}\n{told}");
    assert!(best != "0" && best != "6", "the test wants a best epoch before the last: {metrics}");
    // The rate is constant, so a run that ends at the best epoch has the same weights there.
    let short = out.path().join("short");
    train(&data, &arguments(best.parse().unwrap_or_default()), &short);
    let (kept, there) =
        (StateDict::read(long.join("model.safetensors"))?, StateDict::read(short.join("last.safetensors"))?);
    assert_eq!(kept, there);
    assert_ne!(kept, StateDict::read(long.join("last.safetensors"))?);
    Ok(())
}

#[test]
fn bad_data_are_exit_code_1() {
    fails(1, &run("--data /no/such/folder", &[]), &["/no/such/folder"]);
    with_file("train.tsv", b"", &[]);
    with_file("train.tsv", b"text\tlabel\na film\t1\n", &["sentence"]);
    with_file("train.tsv", b"sentence\tlabel\na film\t1\na film\n", &["line 3"]);
    with_file("dev.tsv", b"sentence\tlabel\na film\t7\n", &["line 2", "7"]);
    with_file("test.tsv", b"sentence\tlabel\na \xff film\t1\n", &["line 2", "UTF-8"]);
    with_file("test.tsv", b"sentence\tlabel\na \x1b[2J film\tx\x1b[31m\n", &["line 2", "\\u{1b}"]);
    with_file("dev.tsv", b"sentence\tlabel\n", &["no sentences"]);
}

#[test]
fn bad_vectors_are_exit_code_1() {
    with_file("glove.txt", b"a 1 2 3\ngood 1 2 3\nbad 1 2\n", &["line 3"]);
    with_file("glove.txt", b"a 1 2 3\ngood 1 NaN 3\n", &["line 2"]);
    with_file("glove.txt", b"a 1 2 3\ngood 1 x 3\n", &["line 2"]);
    with_file("glove.txt", b"", &[]);
    with_file("glove.txt", b"PK\x03\x04\0\0\0\0", &[]);
    with_file("glove.txt", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &[]);
    with_file("glove.txt", format!("a{}\n", " 1".repeat(4097)).as_bytes(), &["vectors of 4097 numbers"]);
    let data = tiny();
    fails(1, &run("--vectors /no/such/file --data", &[data.path()]), &["/no/such/file"]);
}

#[test]
fn bad_weights_are_exit_code_1() -> Result<()> {
    let data = tiny();
    let weights = data.path().join("weights.safetensors");
    let attempt = |reasons: &[&str]| {
        fails(1, &on(&data, "", &[Path::new("--eval"), &weights]), reasons);
        fails(1, &ask(&weights, "a good film", None), reasons);
    };
    attempt(&["weights.safetensors"]);
    fs::write(&weights, b"rubbish").expect("a temporary file");
    attempt(&["weights.safetensors: not a valid safetensors file"]);

    let table = |shape: &[usize]| {
        let values = vec![0.0f32; shape.iter().product()];
        StateDict::from_iter([("embedding.weight", HostTensor::new(shape, values))])
    };
    let header = |words: &str, kind: &str| -> BTreeMap<String, String> {
        [("words", words), ("embeddings", kind)].map(|(key, text)| (key.into(), text.into())).into()
    };
    // The file of another example lacks the header.
    table(&[4, 2]).rename(|_| "conv1.weight")?.write(&weights)?;
    attempt(&["not weights of the sentiment example", "`words`"]);
    for (mut state, header, reasons) in [
        (table(&[4, 2]), header("a\nfilm", "frozen"), &["`embeddings`"][..]),
        (table(&[9, 2]), header("a\nfilm", "tuned"), &["[9, 2]", "4 words"]),
        (table(&[4]), header("a\nfilm", "tuned"), &["`embedding.weight`"]),
        (StateDict::new(), header("a\nfilm", "tuned"), &["`embedding.weight`"]),
        (table(&[2, 0]), header("", "static"), &["[2, 0]"]),
        (table(&[2, 100_000]), header("", "static"), &["[2, 100000]", "4096"]),
        (table(&[4, 2]), header("a\nfilm", "random"), &["8 differences: missing: convs.0.weight", "and 3 more"]),
    ] {
        state.metadata = header;
        state.write(&weights)?;
        attempt(reasons);
    }
    let output = run("--say film --out", &[&data.path().join("none")]);
    fails(1, &output, &["model.safetensors: no such file; training writes it"]);
    Ok(())
}

#[test]
fn say_prints_an_answer_or_an_error() {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    train(&data, "--epochs 8 --batch-size 4 --lr 0.01", out.path());
    let weights = out.path().join("model.safetensors");
    let (text, told) = answer(&ask(&weights, "A good FILM; of good plot", None));
    assert!(text.starts_with("positive, ") && text.contains("plot(?)") && told.is_empty(), "{text}{told}");
    assert!(text.contains("+good+") && text.contains("contribution to positive"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where stdout is no terminal");
    let (text, _) = answer(&ask(&weights, "-", Some(b"bad film ,\nbad days\n")));
    assert!(text.starts_with("negative, ") && text.contains("-bad-"), "{text}");

    // The listed contributions and the biases add up to the sum, within the printed digits.
    let table = text.lines().skip_while(|line| !line.contains("contribution")).skip(1);
    let numbers: Vec<f64> =
        table.filter_map(|line| line.split_whitespace().find_map(|word| word.parse().ok())).collect();
    let (sum, parts) = numbers.split_last().expect("numbers");
    let parts: f64 = parts.iter().sum();
    assert!((parts - sum).abs() < 0.01, "{parts} is not {sum}: {text}");

    let (text, _) = answer(&ask(&weights, "xyzzy plugh", None));
    assert!(text.contains("xyzzy(?) plugh(?)") && text.contains("2 of 2 words"), "{text}");
    for nothing in ["", "   "] {
        let (text, told) = answer(&ask(&weights, nothing, None));
        assert!(text.contains(" %") && told.contains("no words"), "{text}{told}");
    }
    let (text, told) = answer(&ask(&weights, "-", Some("good ".repeat(100_000).as_bytes())));
    assert!(text.starts_with("positive, ") && told.contains("400 words of 100000"), "{told}");
    let (text, _) = answer(&ask(&weights, "-", Some(b"\x1b[2Jgood \x07film")));
    assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
    fails(1, &ask(&weights, "-", Some(b"a good \xff film")), &["stdin: byte 7 is not UTF-8"]);
    fails(1, &ask(&weights, "-", Some(&vec![b'a'; 2 << 20])), &["stdin: a sentence of more than"]);
}

#[test]
fn odd_sentences_train() {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    let long = "good film ".repeat(50_000);
    put(&data, "train.tsv", format!("{}\t1\t3\n  \t0\t3\n{long}\t1\t3\n", tsv(20)).as_bytes());
    put(&data, "test.tsv", format!("{}nothing known here\t1\t3\n\t0\t3\n", tsv(10)).as_bytes());
    let (figure, told) = train(&data, "--epochs 1 --batch-size 8", out.path());
    assert!(figure.starts_with("test accuracy: "));
    assert!(told.contains("cut to their first 400 words: 1 of them") && told.contains("are unknown"), "{told}");
}

#[test]
fn glues_folder_is_judged_by_its_labelled_sets() {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    put(&data, "test.tsv", b"index\tsentence\n0\ta good film\n1\ta bad film\n");
    let (_, told) = train(&data, "--epochs 1", out.path());
    assert!(told.contains("36 training, 4 validation and 12 test sentences"), "{told}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_the_weights() -> Result<()> {
    let (data, out) = (tiny(), tempdir().expect("a temporary folder"));
    let vectors = data.path().join("glove.txt");
    let mut command = on_cpu("sentiment", "--epochs 1000000 --batch-size 5 --data");
    command.args([data.path(), Path::new("--vectors"), &vectors, Path::new("--out"), out.path()]);
    cli::interrupted(&mut command, "epoch 2/");
    assert_eq!(names(out.path()), ["last.safetensors", "metrics.csv"]);
    let weights = out.path().join("last.safetensors");
    assert!(StateDict::read(&weights)?.metadata.contains_key("words"));
    last_line(&on(&data, "", &[Path::new("--eval"), &weights])); // a complete file
    Ok(())
}
