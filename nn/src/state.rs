//! State in host memory and in files: [`StateDict`], names to tensors, which a model, an optimizer or a file becomes and
//! is created from; and NumPy's `.npy`, one array.
//!
//! Names are the dotted names of the walk and layouts are PyTorch's, so PyTorch loads what
//! [`Module::save`](crate::Module::save) writes (`safetensors.torch.load_file`), and
//! [`Module::load`](crate::Module::load) reads what PyTorch writes (`torch.save(model.state_dict(), ..)`, `save_file`).
//!
//! Files are complete or absent, see [`replace_file`]. Files are not trusted: reading one runs no code in it and
//! allocates no more memory than its length justifies, and error messages quote and truncate its texts.

pub use crate::files::replace_file;
pub use crate::formats::{Elements, HostTensor, StateDict, read_npy, write_npy};
pub use crate::module::{Mismatch, Strict};
pub use half::bf16;
