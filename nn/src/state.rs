//! Saved state: a module's parameters and buffers as safetensors, and files of named tensors in general: safetensors, and
//! NumPy's `.npy` and `.npz`.
//!
//! Names are the dotted names of the walk, layouts are PyTorch's, so PyTorch loads what [`save`] writes
//! (`safetensors.torch.load_file`) and [`load`] reads what PyTorch writes (`save_file(model.state_dict(), ..)`).
//!
//! Files appear whole or not at all: see [`replace_file`]. What is read is not trusted: nothing that a file claims costs more
//! memory than the file justifies, and what it says is quoted and shortened in an error.

mod file;
mod npy;
mod npz;

pub use crate::files::replace_file;
pub use file::{HostTensor, Tensors, read_tensors, write_tensors};
pub use npy::{read_npy, write_npy};
pub(crate) use npz::INFLATED;
pub use npz::{read_npz, read_npz_array, write_npz};

use crate::module::{Entry, EntryMut, Module, Path};
use crate::text::{list, shown};
use minitorch_core::{Backend, DType, Error, Result, Shape, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;

/// Whether names must match exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strict {
    /// Every name of the model is in the file and the other way round.
    Yes,
    /// What both have is loaded. Shapes and dtypes must still fit.
    No,
}

/// The names that a file and a model did not share, sorted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mismatch {
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model; names that are long or hold unusual characters are quoted, escaped and shortened.
    pub unexpected: Vec<String>,
}

/// Copies a module's parameters and buffers to the host, with their names, in the order of the walk.
///
/// # Errors
/// If a device fails, or two entries have one name ([`Error::Invalid`]).
pub fn tensors<B: Backend>(module: &(impl Module<B> + ?Sized)) -> Result<Vec<(String, HostTensor)>> {
    let mut found: Vec<(String, Tensor<B>)> = Vec::new();
    module.visit(&mut Path::default(), &mut |name, entry| match entry {
        Entry::Param(param) => found.push((name.to_string(), param.detach())),
        Entry::Buffer(buffer) => found.push((name.to_string(), buffer.get())),
        Entry::Module { .. } | Entry::Training(_) => {}
    });
    found.into_iter().map(|(name, tensor)| Ok((name, HostTensor::read(&tensor)?))).collect()
}

/// Writes a module's parameters and buffers.
///
/// # Errors
/// If a device or the file system fails; a file that was there before is then as it was.
pub fn save<B: Backend>(module: &(impl Module<B> + ?Sized), path: impl AsRef<FilePath>) -> Result<()> {
    write_tensors(path, &tensors(module)?, &BTreeMap::new())
}

/// Reads a module's parameters and buffers, strictly: [`load_with`] and [`Strict::Yes`].
///
/// # Errors
/// As [`load_with`].
pub fn load<B: Backend>(module: &mut (impl Module<B> + ?Sized), path: impl AsRef<FilePath>) -> Result<()> {
    load_with(module, path, Strict::Yes).map(|_| ())
}

/// Reads a module's parameters and buffers; what the file and the model do not share comes back.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is not safetensors, holds a dtype that minitorch
/// does not have, or does not fit: one line then lists missing, unexpected and mis-shaped names, at most 40 of each. [`Error::Device`] or
/// [`Error::OutOfMemory`] if the device cannot take the values. On any error the module is unchanged.
pub fn load_with<B: Backend>(
    module: &mut (impl Module<B> + ?Sized),
    path: impl AsRef<FilePath>,
    strict: Strict,
) -> Result<Mismatch> {
    let path = path.as_ref();
    let mut file = read_tensors(path)?.tensors;

    // First everything that can go wrong, on a module that is only read.
    let mut mismatch = Mismatch::default();
    let mut misshaped = Vec::new();
    let mut values: HashMap<String, Tensor<B>> = HashMap::new();
    let mut outcome = Ok(());
    module.visit(&mut Path::default(), &mut |name, entry| {
        let old = match entry {
            Entry::Param(param) => param.detach(),
            Entry::Buffer(buffer) => buffer.get(),
            Entry::Module { .. } | Entry::Training(_) => return,
        };
        match file.remove(name) {
            None if values.contains_key(name) => {} // one name twice: both get the value
            None => mismatch.missing.push(name.to_string()),
            Some(new) if new.fits(&old) => match new.to_tensor(old.device()) {
                Ok(tensor) => drop(values.insert(name.to_string(), tensor)),
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            },
            Some(new) => misshaped.push(format!("{name} ({new} in the file, {})", describe(old.shape(), old.dtype()))),
        }
    });
    mismatch.missing.sort();
    mismatch.unexpected = file.into_keys().map(|name| shown(&name)).collect();
    let (missing, unexpected) = match strict {
        Strict::Yes => (mismatch.missing.clone(), mismatch.unexpected.clone()),
        Strict::No => Default::default(),
    };
    if let Some(why) = complaints(missing, unexpected, misshaped) {
        return Err(Error::format(path, format!("does not fit the model: {why}")));
    }
    outcome?;

    module.visit_mut(&mut Path::default(), &mut |name, entry| match (entry, values.get(name)) {
        (EntryMut::Param(param), Some(value)) => param.set(value.clone()),
        (EntryMut::Buffer(buffer), Some(value)) => buffer.set(value.clone()),
        _ => {}
    });
    Ok(mismatch)
}

/// One line of the names that do not fit, which are fit to be shown; `None` if there are none.
pub(crate) fn complaints(missing: Vec<String>, unexpected: Vec<String>, misshaped: Vec<String>) -> Option<String> {
    let lists = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped)];
    let told = lists.map(|(what, mut names)| {
        names.sort();
        (!names.is_empty()).then(|| format!("{what}: {}", list(&names)))
    });
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn describe(shape: &Shape, dtype: DType) -> String {
    format!("{shape:?} {dtype} in the model")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buffer, Linear, Module, Param};
    use minitorch_conformance::doc::{Plain, device};
    use minitorch_core::HostData;

    #[derive(Module)]
    struct Net {
        fc: Linear<Plain>,
        scale: Param<Plain>,
        seen: Buffer<Plain>,
        mask: Buffer<Plain>,
    }

    impl Net {
        fn new(value: f64) -> Self {
            let device = &device();
            Net {
                fc: Linear::new(3, 2, device),
                scale: Param::new(Tensor::full([2], value, (device, DType::F64))),
                seen: Buffer::new(Tensor::full([], value, (device, DType::I32))),
                mask: Buffer::new(Tensor::new([true, false, true], device)),
            }
        }
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("minitorch-state-{}-{name}.safetensors", std::process::id()))
    }

    fn host(shape: &[usize], data: HostData) -> HostTensor {
        HostTensor::new(shape, data)
    }

    #[test]
    fn a_model_comes_back_with_its_leaves() -> Result<()> {
        let (path, a, mut b) = (path("round"), Net::new(3.0), Net::new(4.0));
        a.save(&path)?;
        let (before, id) = (tensors(&b)?, b.fc.weight.id());
        assert_ne!(before, tensors(&a)?);
        b.load(&path)?;
        assert_eq!(tensors(&b)?, tensors(&a)?);
        assert_eq!(b.fc.weight.id(), id);
        let names: Vec<_> = tensors(&a)?.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["fc.weight", "fc.bias", "scale", "seen", "mask"]);
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
    }

    #[test]
    fn what_does_not_fit_is_listed_and_changes_nothing() -> Result<()> {
        let (path, mut net) = (path("fit"), Net::new(1.0));
        let before = tensors(&net)?;
        let file = vec![
            ("zz".to_string(), host(&[1], HostData::I32(vec![1]))),
            ("aa".to_string(), host(&[1], HostData::I32(vec![1]))),
            ("fc.weight".to_string(), host(&[3, 2], HostData::F32(vec![0.5; 6]))),
            ("scale".to_string(), host(&[2], HostData::F32(vec![0.5; 2]))),
            ("seen".to_string(), host(&[], HostData::I32(vec![9]))),
        ];
        write_tensors(&path, &file, &BTreeMap::new())?;
        let message = net.load(&path).unwrap_err().to_string();
        let expected = "does not fit the model: missing: fc.bias, mask; unexpected: aa, zz; mis-shaped: \
                        fc.weight ([3, 2] float32 in the file, [2, 3] float32 in the model), \
                        scale ([2] float32 in the file, [2] float64 in the model)";
        assert!(message.ends_with(expected), "{message}");
        assert!(load_with(&mut net, &path, Strict::No).is_err(), "shapes must fit even so");
        assert_eq!(tensors(&net)?, before);

        write_tensors(&path, &[file[0].clone(), file[4].clone()], &BTreeMap::new())?;
        let rest = load_with(&mut net, &path, Strict::No)?;
        assert_eq!(rest.missing, ["fc.bias", "fc.weight", "mask", "scale"]);
        assert_eq!(rest.unexpected, ["zz"]);
        assert_eq!(net.seen.get().item()?, 9.0);
        std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
    }
}
