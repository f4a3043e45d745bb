//! Saving and loading a model.

use super::*;
use crate::formats::{Elements, HostTensor};
use crate::{Buffer, Linear, Module, Param};
use minitorch_conformance::doc::{Plain, device};
use minitorch_core::DType;
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

#[test]
fn a_loaded_model_keeps_its_leaves() -> Result<()> {
    let (folder, a, mut b) = (tempdir().unwrap(), Net::new(3.0), Net::new(4.0));
    let path = folder.path().join("file");
    a.save(&path)?;
    let (before, id) = (b.state()?, b.fc.weight.id());
    assert_ne!(before, a.state()?);
    b.load(&path)?;
    assert_eq!(b.state()?, a.state()?);
    assert_eq!(b.fc.weight.id(), id);
    assert_eq!(a.state()?.names().collect::<Vec<_>>(), ["fc.weight", "fc.bias", "scale", "seen", "mask"]);
    let names = |found: Vec<(String, &Buffer<Plain>)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(a.named_buffers()), ["seen", "mask"]);
    for (_, buffer) in b.named_buffers_mut() {
        *buffer = Buffer::new(buffer.get());
    }
    assert_eq!(b.state()?, a.state()?);
    Ok(())
}

#[test]
fn mismatches_are_listed_and_change_nothing() -> Result<()> {
    let (folder, mut net) = (tempdir().unwrap(), Net::new(1.0));
    let path = folder.path().join("file");
    let before = net.state()?;
    let file = StateDict::from_iter([
        ("zz", HostTensor::new([1], vec![1])),
        ("aa", HostTensor::new([1], vec![1])),
        ("fc.weight", HostTensor::new([3, 2], vec![0.5f32; 6])),
        ("scale", HostTensor::new([2], vec![0.5f32; 2])),
        ("seen", HostTensor::new([], vec![9])),
    ]);
    file.write(&path)?;
    let message = net.load(&path).unwrap_err().to_string();
    let expected = "file: does not fit the model: 5 differences: missing: fc.bias [2], mask [3]; unexpected: aa [1], zz \
                    [1]; mis-shaped: fc.weight ([3, 2] in the file, [2, 3] in the model)";
    assert!(message.ends_with(expected), "{message}");
    assert!(net.load_state(&file, Strict::No).is_err(), "shapes must fit even so");
    assert_eq!(net.state()?, before);

    let some: StateDict = file.into_iter().filter(|(name, _)| matches!(&**name, "zz" | "seen")).collect();
    let rest = net.load_state(&some, Strict::No)?;
    assert_eq!(rest.missing, ["fc.bias", "fc.weight", "mask", "scale"]);
    assert_eq!(rest.unexpected, ["zz"]);
    assert_eq!(net.seen.get().item()?, 9.0);
    Ok(())
}

/// Every element type loads into every dtype of a model, or is refused with the names of the tensor and the value.
#[test]
fn files_of_other_element_types_load_into_the_models() -> Result<()> {
    let mut net = Net::new(1.0);
    let before = net.state()?;
    let with = |changes: Vec<(&'static str, HostTensor)>| {
        let mut state = before.clone();
        state.extend(changes);
        StateDict::from_bytes(&state.to_bytes()?)
    };
    let one_third = 1.0 / 3.0f64;
    let state = with(vec![
        ("fc.weight", HostTensor::new([2, 3], vec![one_third; 6])),
        ("fc.bias", HostTensor::new([2], vec![half::bf16::from_f32(-1.5); 2])),
        ("scale", HostTensor::new([2], vec![i64::MAX, -3])),
        ("seen", HostTensor::new([], vec![7u8])),
        ("mask", HostTensor::new([3], vec![1i16, 0, 1])),
    ])?;
    assert_eq!(state["fc.bias"].data, Elements::BF16(vec![half::bf16::from_f32(-1.5); 2]), "as it is in the file");
    net.load_state(&state, Strict::Yes)?;
    assert_eq!(net.fc.weight.to_vec::<f32>()?, [one_third as f32; 6]);
    assert_eq!(net.state()?["fc.bias"].to_vec::<f32>()?, [-1.5; 2]);
    assert_eq!(net.scale.to_vec::<f64>()?, [i64::MAX as f64, -3.0]);
    assert_eq!((net.seen.get().item()?, net.mask.get().to_vec::<bool>()?), (7.0, vec![true, false, true]));

    let now = net.state()?;
    for (name, tensor, reason) in [
        ("seen", HostTensor::new([], vec![1u64 << 40]), "seen: the value 1099511627776 of uint64 does not fit int32"),
        ("seen", HostTensor::new([], vec![0.5f32]), "seen: the value 0.5 of float32 does not fit int32"),
        ("mask", HostTensor::new([3], vec![1i8, 2, 0]), "mask: the value 2 of int8 does not fit bool"),
        ("fc.bias", HostTensor::new([2], vec![0.0, -1e39]), "fc.bias: the value -1e39 of float64 does not fit float32"),
    ] {
        let error = net.load_state(&with(vec![(name, tensor)])?, Strict::Yes).unwrap_err().to_string();
        assert_eq!(error, reason);
        assert_eq!(net.state()?, now, "nothing was changed");
    }
    Ok(())
}

#[test]
fn tied_weights_load_from_either_name() -> Result<()> {
    #[derive(Module)]
    struct Tied {
        embedding: Linear<Plain>,
    }
    #[derive(Module)]
    struct Untied {
        embedding: Linear<Plain>,
        head: Linear<Plain>,
    }
    let linear = || Linear::new(2, 3, &device()).without_bias();
    let weight = HostTensor::new([3, 2], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
    // As `save_model` of PyTorch's safetensors writes it: `head.weight` is an alias.
    let mut file = StateDict::from_iter([("embedding.weight", weight.clone())]);
    file.metadata.extend([("head.weight".into(), "embedding.weight".into()), ("format".into(), "pt".into())]);
    let bytes = file.to_bytes()?;
    let state = StateDict::from_bytes(&bytes)?;
    assert_eq!(state.aliases(), [("head.weight", "embedding.weight")]);
    assert!(state.len() == 2 && state.metadata.keys().eq(["format"]), "{:?}", state.metadata);
    let mut tied = Tied { embedding: linear() };
    assert_eq!(tied.load_state(&state, Strict::Yes)?, Mismatch::default(), "the other name is not unexpected");
    let mut untied = Untied { embedding: linear(), head: linear() };
    untied.load_state(&state, Strict::Yes)?;
    assert_eq!(untied.head.weight.to_vec::<f32>()?, weight.to_vec::<f32>()?);
    assert_ne!(untied.head.weight.id(), untied.embedding.weight.id());
    // Written again, it is stored once; renamed, it is still tied.
    assert_eq!(state.to_bytes()?, bytes);
    let renamed = StateDict::from_bytes(&state.add_prefix("module.").to_bytes()?)?;
    assert_eq!(renamed.aliases(), [("module.head.weight", "module.embedding.weight")]);
    // Two tensors of equal values are not tied.
    let apart = StateDict::from_iter([("embedding.weight", weight.clone()), ("head.weight", weight)]);
    let error = tied.load_state(&apart, Strict::Yes).unwrap_err().to_string();
    assert!(error.ends_with("1 difference: unexpected: head.weight [3, 2]"), "{error}");
    Ok(())
}

#[test]
fn casts_replace_floats_only() -> Result<()> {
    let mut net = Net::new(0.1);
    net.scale.freeze();
    let (weight, scale) = (net.fc.weight.id(), net.scale.id());
    net.to_dtype(DType::F64);
    let dtypes: Vec<DType> = net.state()?.iter().map(|(_, tensor)| tensor.dtype()).collect();
    assert_eq!(dtypes, [DType::F64, DType::F64, DType::F64, DType::I32, DType::Bool]);
    assert!(net.scale.id() == scale && net.fc.weight.id() != weight, "what had the dtype is unchanged");
    net.to_dtype(DType::F32);
    assert_eq!(net.scale.to_vec::<f32>()?, [0.1f32; 2]);
    assert!(net.scale.is_frozen() && net.fc.weight.is_tracked());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| net.to_dtype(DType::I32))).is_err());

    let (other, mut copy) = (Plain::new(), Net::new(2.0));
    let before = net.state()?;
    net.to_device(&other)?;
    assert!(*net.fc.weight.device() == other && *net.mask.get().device() == other && net.scale.is_frozen());
    assert_eq!(net.state()?, before);
    // F32 into F64, from another device: by way of the host.
    copy.copy_from(&net)?;
    assert_eq!(copy.scale.to_vec::<f64>()?, [0.1f32 as f64; 2]);
    assert_eq!(copy.fc.weight.to_vec::<f32>()?, net.fc.weight.to_vec::<f32>()?);
    let error = copy.copy_from(&net.fc).unwrap_err().to_string();
    assert!(error.contains("the model's names begin with fc., which StateDict::add_prefix adds"), "{error}");
    Ok(())
}
