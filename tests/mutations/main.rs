//! Every parser on randomly mutated files: no panic, no message that is long or has control characters, and at most 64 times the file and
//! 1 MiB of memory, counted by a global allocator.
//!
//! A few thousand mutations by default. For more:
//! `MINITORCH_MUTATIONS=2000000 MINITORCH_SEED=7 cargo test --release --test mutations -- --nocapture`

#[path = "../common/counting.rs"]
#[allow(dead_code, reason = "tests/allocations.rs counts allocations")]
mod counting;
mod large;

use minitorch::nn::data::{Idx, Split, WordVectors, cifar10, mnist, sst2};
use minitorch::nn::state::{HostTensor, StateDict, Strict, bf16, read_npy, write_npy};
use minitorch::prelude::*;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e3779b97f4a7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d049bb133111eb);
        x ^ (x >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Tokens of the formats.
const WORDS: &[&str] = &[
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ":",
    ",",
    "\\",
    "-1",
    "0",
    "1",
    "64",
    "4294967296",
    "1000000000000000",
    "18446744073709551615",
    "99999999999999999999",
    "F16",
    "F32",
    "F64",
    "I64",
    "BF16",
    "F8_E4M3",
    "U64",
    "BOOL",
    "U8",
    "<f8",
    ">i8",
    "|b1",
    "|O",
    "True",
    "False",
    "null",
    "\"__metadata__\"",
    "\"weight\"",
    "\"a\":{}",
    "\\u001b[31m",
    "\x1b]0;x\x07",
    "1,1,1,1,1,1,1",
    "\x02}q\0(",
    "\x05.",
    "tR",
    "h\x01",
    "K\x01",
    "ctorch\nFloatStorage\n",
    "ctorch\nSize\n",
    "X\x01\0\0\0a",
    "PK\x03\x04",
    "PK\x01\x02",
    "PK\x05\x06",
    "\x1f\u{8b}\x08",
    ".npy",
    "\0\0\x08\x03",
    "\n",
    "\t",
    " ",
    "nan",
    "\u{feff}",
    "label",
];

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let (len, at) = (bytes.len(), random.below(bytes.len() + 1));
        // A range from `at`, short in most cases.
        let short = random.below(12);
        let stretch = random.below(1 << short).min(len - at);
        match random.below(9) {
            0 if at < len => bytes[at] ^= 1 << random.below(8),
            1 if at < len => bytes[at] = random.next() as u8,
            2 => {
                let number =
                    [0, 1, 0x7fff_ffff, 1 << 31, u32::MAX as u64, 1 << 40, u64::MAX, len as u64, len as u64 + 1];
                let number = number[random.below(number.len())];
                let width = [1, 2, 4, 8][random.below(4)].min(len - at);
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let from = if random.below(2) == 0 { &little[..width] } else { &big[8 - width..] };
                bytes[at..at + width].copy_from_slice(from);
            }
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(at..at + stretch)),
            5 => {
                let copy = bytes[at..at + stretch].to_vec();
                let to = random.below(len + 1);
                bytes.splice(to..to, copy);
            }
            6 => {
                // A number is replaced by another.
                let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
                let Some(start) = (at..len).find(is_digit) else { continue };
                let end = (start..len).find(|at| !is_digit(at)).unwrap_or(len);
                bytes.splice(start..end, WORDS[random.below(WORDS.len())].bytes());
            }
            7 => bytes.extend(vec![random.below(2) as u8 * 0xff; random.below(100)]),
            _ => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].bytes())),
        }
    }
}

/// A format: valid files, in parts that are mutated one by one or as a whole, and its parser.
struct Format {
    name: &'static str,
    /// The file's name in the folder.
    file: &'static str,
    seeds: Vec<Vec<Vec<u8>>>,
    /// Corrects lengths and checksums after a mutation.
    assemble: fn(&[Vec<u8>]) -> Vec<u8>,
    read: fn(&Path, &Linear<Cpu>) -> Result<()>,
}

impl Format {
    fn new(
        name: &'static str,
        file: &'static str,
        seeds: Vec<Vec<Vec<u8>>>,
        assemble: fn(&[Vec<u8>]) -> Vec<u8>,
        read: fn(&Path, &Linear<Cpu>) -> Result<()>,
    ) -> Self {
        Format { name, file, seeds, assemble, read }
    }
}

const IMAGES: &str = "t10k-images-idx3-ubyte";
const LABELS: &str = "t10k-labels-idx1-ubyte";

fn crc(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32, byte: &u8| (0..8).fold(crc ^ *byte as u32, |c, _| (c >> 1) ^ ((c & 1) * 0xedb8_8320));
    (!bytes.iter().fold(!0, step)).to_le_bytes()
}

/// Deflate without compression.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(0xffff) {
        let length = chunk.len() as u16;
        out.extend([&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), chunk].concat());
    }
    out.extend([1, 0, 0, 0xff, 0xff]);
    out
}

fn gzip(parts: &[Vec<u8>]) -> Vec<u8> {
    let bytes = parts.concat();
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    [&head[..], &deflated(&bytes), &crc(&bytes), &(bytes.len() as u32).to_le_bytes()].concat()
}

/// The header with its length, and the data.
fn safetensors(parts: &[Vec<u8>]) -> Vec<u8> {
    [&(parts[0].len() as u64).to_le_bytes(), &parts[0][..], &parts[1]].concat()
}

fn npy(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"\x93NUMPY\x02\0", &(parts[0].len() as u32).to_le_bytes()[..], &parts[0], &parts[1]].concat()
}

/// An archive of one deflated array.
fn npz(parts: &[Vec<u8>]) -> Vec<u8> {
    let content = npy(parts);
    zip(&[("weight.npy".into(), &content, Some(deflated(&content)))])
}

/// A checkpoint of PyTorch: the pickle, and the storages by their numbers.
fn pt(parts: &[Vec<u8>]) -> Vec<u8> {
    let name = |i: usize| if i == 0 { "a/data.pkl".into() } else { format!("a/data/{}", i - 1) };
    let members: Vec<_> = parts.iter().enumerate().map(|(i, part)| (name(i), &part[..], None)).collect();
    zip(&members)
}

/// A member of an archive: name, content, and the deflated content if it is not stored.
type Member<'c> = (String, &'c [u8], Option<Vec<u8>>);

fn zip(members: &[Member]) -> Vec<u8> {
    let (mut locals, mut central) = (Vec::new(), Vec::new());
    for (name, content, packed) in members {
        let (method, packed) = packed.as_ref().map_or((0, *content), |packed| (8, &packed[..]));
        let sizes = [packed.len(), content.len()].map(|n| (n as u32).to_le_bytes()).concat();
        // Version, flags, method, time, date, checksum, sizes, length of the name, of the extra field.
        let name = name.as_bytes();
        let common =
            [&[20, 0, 0, 0, method, 0, 0, 0, 0, 0][..], &crc(content), &sizes, &[name.len() as u8, 0, 0, 0]].concat();
        let start = (locals.len() as u32).to_le_bytes();
        locals.extend([b"PK\x03\x04", &common[..], name, packed].concat());
        central.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &start, name].concat());
    }
    let [size, start] = [central.len(), locals.len()].map(|n| (n as u32).to_le_bytes());
    let count = (members.len() as u16).to_le_bytes();
    [&locals[..], &central, b"PK\x05\x06\0\0\0\0", &count, &count, &size, &start, &[0, 0]].concat()
}

/// The pickle and the storages of a checkpoint by PyTorch, by the directory of its archive.
fn parts_of(checkpoint: &[u8]) -> Vec<Vec<u8>> {
    let number = |at: usize, width: usize| checkpoint[at..at + width].iter().rev().fold(0, |n, &b| n << 8 | b as usize);
    let end = checkpoint.len() - 22;
    let mut at = number(end + 16, 4);
    let mut members = std::collections::BTreeMap::new();
    while at < end && &checkpoint[at..at + 4] == b"PK\x01\x02" {
        let (size, name, start) = (number(at + 24, 4), number(at + 28, 2), number(at + 42, 4));
        let text = String::from_utf8_lossy(&checkpoint[at + 46..at + 46 + name]).into_owned();
        let data = start + 30 + number(start + 26, 2) + number(start + 28, 2);
        if text.ends_with("/data.pkl") {
            members.insert(0, checkpoint[data..data + size].to_vec());
        } else if let Some((_, key)) = text.split_once("/data/") {
            members.insert(1 + key.parse::<usize>().expect("a number"), checkpoint[data..data + size].to_vec());
        }
        at += 46 + name + number(at + 30, 2) + number(at + 32, 2);
    }
    members.into_values().collect()
}

fn idx(dims: &[u32], byte: u8) -> Vec<Vec<u8>> {
    let head =
        [&[0, 0, 8, dims.len() as u8][..], &dims.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>()].concat();
    vec![head, vec![byte; dims.iter().product::<u32>() as usize]]
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn formats(folder: &Path, linear: &Linear<Cpu>) -> Result<Vec<Format>> {
    let path = folder.join("seed");
    let bytes = || fs::read(&path).map_err(|e| Error::io(&path, e));
    let tensors = [
        ("weight", HostTensor::new([2, 3], vec![0.5f32; 6])),
        ("bias", HostTensor::new([2], vec![0.5f64; 2])),
        ("n", HostTensor::new([], vec![7i64])),
        ("mask", HostTensor::new([2, 2], vec![true; 4])),
        ("half", HostTensor::new([0, 2], Vec::<minitorch::f16>::new())),
    ];
    let cut = |bytes: Vec<u8>, lengths: usize| {
        let head = bytes[..lengths].iter().rev().fold(0, |n, &byte| n << 8 | byte as usize);
        vec![bytes[lengths..lengths + head].to_vec(), bytes[lengths + head..].to_vec()]
    };
    let (mut models, mut arrays, mut archives) = (Vec::new(), Vec::new(), Vec::new());
    for some in [&tensors[..], &tensors[..2], &[]] {
        let mut state: StateDict = some.iter().cloned().collect();
        state.write_npz(&path)?;
        archives.push(vec![bytes()?]);
        state.insert("brain", HostTensor::new([1], vec![bf16::ONE]));
        if some.len() == 2 {
            state.remove("brain");
        }
        // A text, and the other name of a tied weight.
        state.metadata.extend([("format", "pt"), ("tied", "weight")].map(|(key, text)| (key.into(), text.into())));
        models.push(cut(state.to_bytes()?, 8));
    }
    for (_, tensor) in &tensors {
        write_npy(&path, tensor)?;
        arrays.push(cut(bytes()?[8..].to_vec(), 2));
    }
    let mut adam = Adam::new(0.1);
    let mut trained = linear.clone();
    let loss = trained.forward(&Tensor::ones([1, 3], &Cpu::default())).sum(..);
    adam.step(&mut trained, &loss.backward());
    adam.save(&trained, &path)?;
    let states = vec![cut(bytes()?, 8)];
    Plateau::new(0.1).save(&path)?;
    let plateaus = vec![cut(bytes()?, 8)];
    for name in ["stored.npz", "deflated.npz"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nn/testdata").join(name);
        archives.push(vec![fs::read(&path).map_err(|e| Error::io(&path, e))?]);
    }
    let mut checkpoints = Vec::new();
    for name in ["state.pt", "protocol4.pt", "checkpoint.pt", "list.pt", "types.pt"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("nn/testdata/torch").join(name);
        checkpoints.push(parts_of(&fs::read(&path).map_err(|e| Error::io(&path, e))?));
    }
    let mut linears = Vec::new();
    for (weight, bias) in [("weight", "bias"), ("module.weight", "module.bias"), ("bias", "weight")] {
        let sizes = [HostTensor::new([2, 3], vec![0.5f32; 6]), HostTensor::new([2], vec![1u8; 2])];
        let state: StateDict = [weight, bias].into_iter().zip(sizes).collect();
        linears.push(cut(state.to_bytes()?, 8));
    }
    let (images, labels) = (idx(&[3, 28, 28], 9), idx(&[3], 1));
    for (name, parts) in [(IMAGES, &images), (LABELS, &labels)] {
        fs::write(folder.join(name), parts.concat()).map_err(|e| Error::io(folder.join(name), e))?;
    }
    let record = |label: u8| [vec![label], vec![7; 3072]].concat();
    let whole = |parts: &[Vec<u8>]| parts.concat();
    let many = vec![idx(&[2, 3], 5), idx(&[], 5), idx(&[40, 28, 28], 3), idx(&[0, 4], 0)];
    let cifar = vec![vec![record(3), record(9)]];
    let table = |header: &str| vec![header.into(), "\"so so\"\t1\t0.5\ncaf\u{e9}\t0\t-2\r\n".repeat(10).into_bytes()];
    let tables = vec![table("sentence\tlabel\trating\n"), table("index\tsentence\tx\r\n")];
    for name in ["train.tsv", "dev.tsv", "test.tsv"] {
        fs::write(folder.join(name), tables[0].concat()).map_err(|e| Error::io(folder.join(name), e))?;
    }
    let glove = |text: &str| vec![text.as_bytes().to_vec(), ". . 3 4 5e-3\nb 1 2 3\n".repeat(9).into_bytes()];
    let glove = vec![glove("a 0.5 -1 2\n"), glove("2 3\na 1 1 1\n")];
    fs::write(&path, glove[0].concat()).map_err(|e| Error::io(&path, e))?;
    WordVectors::read(&path, |_| true)?.save(&path)?;
    let vectors = vec![cut(bytes()?, 8)];
    let read_vectors = |path: &Path, _: &Linear<Cpu>| WordVectors::read(path, |word| word != "c").map(drop);
    Ok(vec![
        Format::new("safetensors", "a", models, safetensors, |path, _| StateDict::read(path).map(drop)),
        Format::new("a model", "a", linears, safetensors, |path, linear| linear.clone().load(path)),
        Format::new("pt", "a", checkpoints.clone(), pt, |path, _| StateDict::read(path).map(drop)),
        Format::new("pt, a model", "a", checkpoints, pt, |path, linear| {
            let state = StateDict::read(path)?;
            linear.clone().load_state(&state, Strict::No).map(drop)?;
            StateDict::from_bytes(&state.to_bytes()?).map(drop)
        }),
        Format::new("an optimizer", "a", states, safetensors, |path, linear| Adam::new(0.1).load(linear, path)),
        Format::new("a schedule", "a", plateaus, safetensors, |path, _| Plateau::new(0.1).load(path)),
        Format::new("npy", "a", arrays.clone(), npy, |path, _| read_npy(path).map(drop)),
        Format::new("npz, parts", "a", arrays, npz, |path, _| StateDict::read(path).map(drop)),
        Format::new("npz", "a", archives.clone(), whole, |path, _| StateDict::read(path).map(drop)),
        Format::new("npz, one", "a", archives, whole, |path, _| {
            StateDict::read_where(path, |name| name == "weight")?.tensor("weight").map(drop)
        }),
        Format::new("idx", "a", many.clone(), whole, |path, _| Idx::read(path).map(drop)),
        Format::new("idx.gz", "a", many, gzip, |path, _| Idx::read(path).map(drop)),
        Format::new("mnist, images", IMAGES, vec![images], gzip, |path, _| {
            mnist(folder_of(path), Split::Test).map(drop)
        }),
        Format::new("mnist, labels", LABELS, vec![labels], whole, |path, _| {
            mnist(folder_of(path), Split::Test).map(drop)
        }),
        Format::new("cifar", "test_batch.bin", cifar, whole, |path, _| cifar10(folder_of(path), Split::Test).map(drop)),
        Format::new("sst2", "test.tsv", tables, whole, |path, _| sst2(folder_of(path)).map(drop)),
        Format::new("glove", "a", glove.clone(), whole, read_vectors),
        Format::new("glove.gz", "a", glove, gzip, read_vectors),
        Format::new("word vectors", "a", vectors, safetensors, read_vectors),
    ])
}

/// The outcomes of a format's mutations.
#[derive(Clone, Default)]
struct Tally {
    files: usize,
    read: usize,
    /// The largest share of the allowed memory.
    share: f64,
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn damaged_files_are_errors_and_no_more() -> Result<()> {
    let (mutations, seed) = (setting("MINITORCH_MUTATIONS", 6_000), setting("MINITORCH_SEED", 1));
    // In memory if the system has such a folder: every mutation writes a file.
    let shm = Path::new("/dev/shm");
    let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let folder = folder.map_err(|e| Error::io("a temporary folder", e))?;
    let linear = Linear::<Cpu>::new(3, 2, &Cpu::default());
    let formats = formats(folder.path(), &linear)?;
    let mut tallies = vec![Tally::default(); formats.len()];
    for i in 0..mutations {
        let (format, tally) = (&formats[i as usize % formats.len()], &mut tallies[i as usize % formats.len()]);
        // Each mutation has a seed, so that it can be reproduced.
        let mut random = Random(seed.wrapping_mul(0x2545f4914f6cdd1d) ^ i);
        let mut parts = format.seeds[random.below(format.seeds.len())].clone();
        let bytes = if random.below(2) == 0 {
            let part = random.below(parts.len());
            mutate(&mut parts[part], &mut random);
            (format.assemble)(&parts)
        } else {
            let mut bytes = (format.assemble)(&parts);
            mutate(&mut bytes, &mut random);
            bytes
        };
        let path = folder.path().join(format.file);
        fs::write(&path, &bytes).map_err(|e| Error::io(&path, e))?;
        let (result, taken) = counting::peak(|| catch_unwind(AssertUnwindSafe(|| (format.read)(&path, &linear))));
        let allowed = 64 * bytes.len() + (1 << 20);
        tally.files += 1;
        tally.share = tally.share.max(taken as f64 / allowed as f64);
        let wrong = match &result {
            Err(_) => Some("a panic".to_string()),
            _ if taken > allowed => Some(format!("{taken} bytes of memory for {} of file", bytes.len())),
            Ok(Ok(())) => {
                tally.read += 1;
                None
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                let bad = text.len() > 4000 || text.contains(char::is_control);
                bad.then(|| format!("a message of {} bytes: {text:.500?}", text.len()))
            }
        };
        if let Some(wrong) = wrong {
            let kept = std::env::temp_dir().join(format!("minitorch-mutation-{seed}-{i}"));
            fs::write(&kept, &bytes).map_err(|e| Error::io(&kept, e))?;
            panic!("{}, mutation {i} of seed {seed}: {wrong}; the file is {}", format.name, kept.display());
        }
        // The other formats of the folder read a valid file.
        if format.file != "a" {
            fs::write(&path, (format.assemble)(&format.seeds[0])).map_err(|e| Error::io(&path, e))?;
        }
    }
    for (format, Tally { files, read, share }) in formats.iter().zip(&tallies) {
        println!(
            "{:14} {files} files, {read} could be read; at most {:.1} % of the memory",
            format.name,
            100.0 * share
        );
        assert!(*files < 200 || (*read > 0 && read < files), "{}: {read} of {files} could be read", format.name);
    }
    Ok(())
}
