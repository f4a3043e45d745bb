//! `docs/guide/mistakes.md`: common mistakes, each with the message that it gives.
//!
//! `MINITORCH_WRITE=1 cargo test --test mistakes` writes the page; without it the test compares it to the file. A message of a panic
//! counts only if the panic's location is the line of the mistake, in this file.

use minitorch::prelude::*;
use std::cell::RefCell;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What somebody writes, and what the message must say: what was wrong, and what to do.
struct Mistake {
    /// As a row of the page names it.
    title: &'static str,
    /// The line, as the page shows it.
    code: &'static str,
    /// Parts of the message.
    says: &'static [&'static str],
    run: fn(&Cpu, &Path) -> Result<()>,
}

/// A [`Mistake`] whose code is shown as it is run, with the statements that precede it.
macro_rules! mistake {
    ($title:literal, $says:expr, |$device:ident, $folder:ident| { $($before:stmt;)* } $code:expr) => {
        Mistake {
            title: $title,
            code: stringify!($code),
            says: &$says,
            #[allow(unused_variables, reason = "not every mistake needs a device or a folder")]
            run: |$device, $folder| {
                $($before)*
                let _ = $code;
                Ok(())
            },
        }
    };
}

#[derive(Module)]
struct Net<B: Backend> {
    hidden: Linear<B>,
    head: Linear<B>,
}

impl<B: Backend> Net<B> {
    fn new(classes: usize, device: &B) -> Self {
        Net { hidden: Linear::new(4, 8, device), head: Linear::new(8, classes, device) }
    }

    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.head.forward(&self.hidden.forward(x).relu())
    }
}

fn mistakes() -> Vec<Mistake> {
    vec![
        mistake!("shapes that do not broadcast", ["add", "[2, 3]", "[2]"], |device, folder| {
            let (x, y) = (Tensor::ones([2, 3], device), Tensor::ones([2], device));
        } & x + &y),
        mistake!("a product whose inner sizes differ", ["matmul", "[2, 3]"], |device, folder| {
            let x = Tensor::ones([2, 3], device);
        } x.matmul(&x)),
        mistake!("a reshape to another number of elements", ["reshape", "6 elements"], |device, folder| {
            let x = Tensor::ones([2, 3], device);
        } x.reshape([4, 2])),
        mistake!("a dimension that does not exist", ["sum", "dimension 2", "rank 2"], |device, folder| {
            let x = Tensor::ones([2, 3], device);
        } x.sum(2)),
        mistake!("a slice beyond the end", ["slice", "5"], |device, folder| {
            let x = Tensor::ones([2, 3], device);
        } x.slice((.., 1..5))),
        mistake!("names for another number of dimensions", ["3 dimensions", "[2, 3]"], |device, folder| {
            let x = Tensor::ones([2, 3], device);
        } x.dims::<3>()),
        mistake!("two dtypes in one operation", ["float32", "int32", "cast"], |device, folder| {
            let (x, n) = (Tensor::ones([2], device), Tensor::new([1, 2], device));
        } & x * &n),
        mistake!("a fraction for an integer tensor", ["int32", "cast"], |device, folder| {
            let n = Tensor::new([1, 2], device);
        } & n * 0.5),
        mistake!("reading as another type", ["float32", "cast"], |device, folder| {
            let x = Tensor::ones([2], device);
        } x.to_vec::<i32>()?),
        mistake!("one number of many", ["item", "[2]"], |device, folder| {
            let x = Tensor::ones([2], device);
        } x.item()?),
        mistake!("labels that are floats", ["cross_entropy", "I32", "float32"], |device, folder| {
            let (scores, labels) = (Tensor::ones([2, 3], device), Tensor::new([0.0, 2.0], device));
        } scores.cross_entropy(&labels)),
        mistake!("a label that is no class", ["cross_entropy", "index 3", "size 3"], |device, folder| {
            let (scores, labels) = (Tensor::ones([2, 3], device), Tensor::new([0, 3], device));
        } scores.cross_entropy(&labels)),
        mistake!("a word that the table does not have", ["embedding", "index 10", "size 10"], |device, folder| {
            let embedding = Embedding::new(10, 4, device);
        } embedding.forward(&Tensor::new([10], device))),
        mistake!("another number of features", ["Linear", "784", "[5, 100]"], |device, folder| {
            let layer = Linear::new(784, 10, device);
        } layer.forward(&Tensor::ones([5, 100], device))),
        mistake!("another number of features, deep in a model", ["layer 2: Linear", "[5, 32]"], |device, folder| {
            let model = Sequential::new().push(Linear::new(8, 32, device)).push(Relu).push(Linear::new(16, 2, device));
        } model.forward(&Tensor::ones([5, 8], device))),
        mistake!("images without a batch", ["conv2d", "[1, 28, 28]"], |device, folder| {
            let conv = Conv2d::new(1, 6, 5, device);
        } conv.forward(&Tensor::ones([1, 28, 28], device))),
        mistake!("a kernel larger than the image", ["conv2d", "[5, 5]"], |device, folder| {
            let conv = Conv2d::new(1, 6, 5, device);
        } conv.forward(&Tensor::ones([1, 1, 3, 3], device))),
        mistake!("backward of more than one number", ["backward", "one element"], |device, folder| {
            let x = Tensor::ones([2], device).requires_grad();
        } x.square().backward()),
        mistake!("backward of a constant", ["backward", "leaf", "no_grad"], |device, folder| {
            let x = Tensor::ones([2], device);
        } x.square().sum(..).backward()),
        mistake!("backward twice", ["backward", "tape"], |device, folder| {
            let x = Tensor::ones([2], device).requires_grad();
            let loss = x.square().sum(..);
            let _first = loss.backward();
        } loss.backward()),
        mistake!("the gradient of a tensor that is no leaf", ["gradient"], |device, folder| {
            let x = Tensor::ones([2], device);
            let grads = x.requires_grad().square().sum(..).backward();
        } grads[&x].clone()),
        mistake!("gradients of another model", ["step", "none of"], |device, folder| {
            let (model, mut other) = (Net::new(2, device), Net::new(2, device));
            let grads = model.forward(&Tensor::ones([1, 4], device)).sum(..).backward();
        } Sgd::new(0.1).step(&mut other, &grads)),
        mistake!("a step of a model that is all frozen", ["step", "frozen"], |device, folder| {
            let mut model = Net::new(2, device);
            let grads = model.forward(&Tensor::ones([1, 4], device)).sum(..).backward();
            model.freeze();
        } Sgd::new(0.1).step(&mut model, &grads)),
        mistake!("a file that is not there", ["missing.safetensors"], |device, folder| {
            let mut model = Net::new(2, device);
        } model.load(folder.join("missing.safetensors"))?),
        mistake!("a file of a model with other classes", ["head.weight", "[3, 8]", "[2, 8]"], |device, folder| {
            let path = folder.join("net.safetensors");
            Net::new(3, device).save(&path)?;
            let mut model = Net::new(2, device);
        } model.load(&path)?),
        mistake!("a file that is no model", ["notes.txt"], |device, folder| {
            let path = folder.join("notes.txt");
            std::fs::write(&path, "to do: train").expect("the folder is writable");
            let mut model = Net::new(2, device);
        } model.load(&path)?),
    ]
}

/// The message of a mistake, and where its panic was, if it panicked.
fn message(mistake: &Mistake, folder: &Path) -> (String, Option<(String, u32)>) {
    thread_local! {
        static LOCATION: RefCell<Option<(String, u32)>> = const { RefCell::new(None) };
    }
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        LOCATION.set(info.location().map(|at| (at.file().to_string(), at.line())));
    }));
    let outcome = catch_unwind(AssertUnwindSafe(|| (mistake.run)(&Cpu::new(), folder)));
    std::panic::set_hook(quiet);
    match outcome {
        Ok(Ok(())) => panic!("{}: no error", mistake.title),
        Ok(Err(error)) => (error.to_string(), None),
        Err(payload) => {
            let text = payload
                .downcast::<String>()
                .map(|text| *text)
                .or_else(|other| other.downcast::<&str>().map(|text| text.to_string()));
            (text.expect("the panic has a message"), LOCATION.take())
        }
    }
}

const HEAD: &str = "\
# Common mistakes

What each gives, word for word. A panic names the line of the mistake; an error is returned. The page is written by a test
(`tests/mistakes.rs`), which also checks that each message says what was wrong and, for panics, that the location is the line of
the mistake. What does not compile is in `tests/compile_errors.rs`.
";

#[test]
fn mistakes_say_what_was_wrong() {
    let folder = tempfile::tempdir().expect("a folder for files");
    let mut page = HEAD.to_string();
    let mut faults = Vec::new();
    for mistake in mistakes() {
        let (text, location) = message(&mistake, folder.path());
        let missing: Vec<_> = mistake.says.iter().filter(|part| !text.contains(**part)).collect();
        if !missing.is_empty() {
            faults.push(format!("{}: does not say {missing:?}: {text}", mistake.title));
        }
        // A layer of a chain is called by the chain, whose panic says in words which line called it.
        if let Some((file, line)) = &location
            && file != file!()
            && !text.contains(file!())
        {
            faults.push(format!("{}: the panic is at {file}:{line}", mistake.title));
        }
        let kind = if location.is_some() { "panics" } else { "returns an error" };
        let text = without_lines(&text.replace(&format!("{}/", folder.path().display()), ""));
        let code = mistake.code.split_whitespace().collect::<Vec<_>>().join(" ").replace("& ", "&");
        write!(page, "\n## {}\n\n`{code}` {kind}:\n\n```text\n{text}\n```\n", capitalized(mistake.title))
            .expect("a string");
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/guide/mistakes.md");
    if std::env::var_os("MINITORCH_WRITE").is_some() {
        std::fs::write(&path, page).expect("the page can be written");
    } else {
        let on_disk = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(page, on_disk, "MINITORCH_WRITE=1 cargo test --test mistakes writes the page");
    }
}

/// The text with lines of this file replaced, so that the page does not depend on them.
fn without_lines(text: &str) -> String {
    let mut parts = text.split(concat!(file!(), ":"));
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        text + "your line" + part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':')
    })
}

fn capitalized(title: &str) -> String {
    let mut letters = title.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
