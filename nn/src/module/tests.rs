//! Saving and loading a model.

use super::*;
use crate::{Buffer, Linear, Module, Param};
use minitorch_conformance::doc::{Plain, device};
use minitorch_core::{DType, HostData};
use tempfile::tempdir;

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

fn host(shape: &[usize], data: HostData) -> HostTensor {
    HostTensor::new(shape, data)
}

#[test]
fn a_loaded_model_keeps_its_leaves() -> Result<()> {
    let (folder, a, mut b) = (tempdir().unwrap(), Net::new(3.0), Net::new(4.0));
    let path = folder.path().join("file");
    a.save(&path)?;
    let (before, id) = (tensors(&b)?, b.fc.weight.id());
    assert_ne!(before, tensors(&a)?);
    b.load(&path)?;
    assert_eq!(tensors(&b)?, tensors(&a)?);
    assert_eq!(b.fc.weight.id(), id);
    let names: Vec<_> = tensors(&a)?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["fc.weight", "fc.bias", "scale", "seen", "mask"]);
    Ok(())
}

#[test]
fn mismatches_are_listed_and_change_nothing() -> Result<()> {
    let (folder, mut net) = (tempdir().unwrap(), Net::new(1.0));
    let path = folder.path().join("file");
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
    Ok(())
}
