#!/usr/bin/env python3
"""Exchange .npy and .npz files with numpy.

    python scripts/numpy_files.py make            # write nn/testdata/*.npz, which nn's tests read
    python scripts/numpy_files.py show FILE ..    # load files that minitorch wrote, and print their arrays

`make` stores one array for every element type, byte order, memory order, rank and format version that minitorch reads; the
arrays' names state these. Element k in row-major order is k - 3 for signed integers, k for unsigned
ones, (k - 3) / 2 for floats, and whether 3 divides k for bool. The same versions of Python and numpy give the same bytes.
"""

import argparse
import io
import pathlib
import zipfile

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "nn" / "testdata"
SHAPES = {"0": (), "1": (5,), "2": (2, 3), "3": (2, 3, 4), "6": (1, 2, 1, 3, 2, 1), "empty": (0, 4)}


def values(dtype, shape):
    k = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    kind = np.dtype(dtype).kind
    return {"f": (k - 3) / 2, "i": k - 3, "u": k, "b": k % 3 == 0}[kind].astype(dtype)


def member(archive, name, content):
    # A fixed date, so that files are reproducible.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.compress_type = archive.compression
    with archive.open(info, "w", force_zip64=True) as file:  # as numpy.savez opens it
        file.write(content)


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=False)
    return file.getvalue()


def make():
    OUT.mkdir(parents=True, exist_ok=True)
    for file, compression in [("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)]:
        with zipfile.ZipFile(OUT / f"{file}.npz", "w", compression) as archive:
            for dtype in ["<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "b1"]:
                member(archive, f"{dtype.lstrip('<')} row-major 2.npy", npy(values(dtype, SHAPES["2"])))
            for dtype in [">f2", ">f4", ">f8", ">i2", ">i4", ">i8", ">u2", ">u4", ">u8"]:
                member(archive, f"{dtype[1:]} row-major 2 big.npy", npy(values(dtype, SHAPES["2"])))
            for rank, shape in SHAPES.items():
                array = values("<f8", shape)
                member(archive, f"f8 c-order {rank}.npy", npy(array))
                # asfortranarray makes rank 0 rank 1, hence the reshape.
                member(archive, f"f8 fortran-order {rank}.npy", npy(np.asfortranarray(array).reshape(shape, order="F")))
            for version in [(1, 0), (2, 0), (3, 0)]:
                member(archive, f"i4 column-major 2 version {version[0]}.npy", npy(np.asfortranarray(values("<i4", SHAPES["2"])), version))


def show(paths):
    for path in paths:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"": loaded} if isinstance(loaded, np.ndarray) else loaded
        for name in arrays:
            array = arrays[name]
            print(path, repr(name), array.dtype.str, array.shape, array.ravel().tolist()[:12])


def main():
    parser = argparse.ArgumentParser(description="Exchange .npy and .npz files with numpy.")
    parser.add_argument("what", choices=["make", "show"])
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    arguments = parser.parse_args()
    make() if arguments.what == "make" else show(arguments.files)


if __name__ == "__main__":
    main()
