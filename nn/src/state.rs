//! Saved state: a module's parameters and buffers as safetensors, and files of tensors in general: safetensors, and
//! NumPy's `.npy` and `.npz`.
//!
//! Names are the dotted names of the walk and layouts are PyTorch's, so PyTorch loads what [`save`] writes
//! (`safetensors.torch.load_file`) and [`load`] reads what PyTorch writes (`save_file(model.state_dict(), ..)`).
//!
//! Files are complete or absent, see [`replace_file`]. Files are not trusted: reading one allocates no more memory than
//! its length justifies, and error messages quote and truncate its texts.

pub use crate::files::replace_file;
pub use crate::formats::{
    HostTensor, Tensors, read_npy, read_npz, read_npz_array, read_tensors, write_npy, write_npz, write_tensors,
};
pub use crate::module::{Mismatch, Strict, load, load_with, save, tensors};
