"""Array files (.npy, .mat, .h5) opened for lazy slicing; nothing pickled is ever loaded."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

from lmhld_nb.config import UserError
from lmhld_nb.scenes.rasters import readable

_UNREADABLE = (OSError, ValueError, EOFError, TypeError, scipy.io.matlab.MatReadError)
SUFFIXES = (".npy", ".mat", ".h5", ".hdf5")


def is_array_file(path: Path) -> bool:
    """Whether ``path`` is read here rather than by GDAL (by its suffix)."""
    return path.suffix.lower() in SUFFIXES


@contextmanager
def open_array(path: Path, key: str | None = None) -> Iterator[Any]:
    """Open one array and yield it, sliceable and with ``shape`` and ``dtype``; a .npy or .h5 is read on slicing.

    ``key`` is the variable inside .h5 and .mat, which may be omitted if there is only one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with ExitStack() as stack:
        # Only opening is guarded: errors in the caller's block (e.g. a full disk) must keep their own messages.
        with readable(path, "cannot be read", "fetch or export it again, without pickled objects", *_UNREADABLE):
            if path.suffix.lower() == ".npy":
                array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            elif path.suffix.lower() == ".mat" and not h5py.is_hdf5(path):
                content = {name: value for name, value in scipy.io.loadmat(path).items() if name[:2] != "__"}
                array = content[_choose(path, key, list(content))]
            else:
                file = stack.enter_context(h5py.File(path, "r"))
                array = file[_choose(path, key, _datasets(file))]
                if "MATLAB_class" in array.attrs:  # the file has MATLAB's axes in reverse order
                    array = array[()].T
        yield array


def array_keys(path: Path) -> list[str]:
    """List the array variables of an .h5 or .mat file (empty for .npy)."""
    if path.suffix.lower() == ".npy":
        return []
    with readable(path, "cannot be read", "fetch it again", *_UNREADABLE):
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                return _datasets(file)
        return [name for name, _, _ in scipy.io.whosmat(path)]


def _datasets(file: h5py.File) -> list[str]:
    """List the arrays in all groups except those of the format itself."""
    names: list[str] = []
    file.visititems(lambda name, value: names.append(name) if isinstance(value, h5py.Dataset) else None)
    return [name for name in names if name[0] != "#"]


def _choose(path: Path, key: str | None, names: list[str]) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key in names:
        return str(key)
    problem, held = f"no variable '{key}'" if key else "several variables", ", ".join(names) or "none"
    mend = "name one in the data set's YAML, `image_key:` for images, `mask_key:` for masks, group/name in a group"
    raise UserError(f"{path}: {problem}, it holds {held}; {mend}")
