"""Which library labels connected components fastest, and which ones label them rightly?

    python -m benchmarks.components        (opencv-python-headless, connected-components-3d, scikit-image if installed)

Every library labels the same mask with 8 neighbours, in turns. A second check compares component sizes with scipy's on
a thousand small random masks.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import ndimage

from benchmarks import common

Labeller = Callable[[np.ndarray], np.ndarray]


def labellers() -> dict[str, Labeller]:
    """Return the labellers that can be imported, by the name of their distribution."""
    found: dict[str, Labeller] = {"scipy": lambda mask: ndimage.label(mask, np.ones((3, 3), int))[0]}
    try:
        import cc3d

        found["connected-components-3d"] = lambda mask: cc3d.connected_components(
            mask, connectivity=8, binary_image=True
        )
    except ImportError:
        pass
    try:
        import cv2

        found["opencv-python-headless"] = lambda mask: cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
    except ImportError:
        pass
    try:
        from skimage.measure import label

        found["scikit-image"] = lambda mask: label(mask, connectivity=2)
    except ImportError:
        pass
    return found


def wrong(labeller: Labeller, masks: int = 1000) -> int:
    """Count random masks whose component sizes differ from those of scipy."""
    random = np.random.default_rng(0)
    different = 0
    for _ in range(masks):
        mask = random.random(random.integers(1, 40, 2)) < 0.4
        ours, theirs = (np.sort(np.bincount(label(mask).ravel())[1:]) for label in (labeller, labellers()["scipy"]))
        different += not np.array_equal(ours, theirs)
    return different


def main() -> None:
    """Compare, print, store."""
    random = np.random.default_rng(1)
    mask = ndimage.gaussian_filter(random.normal(size=(4096, 4096)).astype(np.float32), 6) > 0.035
    times: dict[str, list[float]] = {name: [] for name in labellers()}
    for _ in range(5):
        for name, labeller in labellers().items():
            began = time.perf_counter()
            labeller(mask)
            times[name].append(time.perf_counter() - began)
    rows = [
        {
            "library": name,
            "version": importlib.metadata.version(name),
            "ms_per_megapixel": 1e3 * float(np.median(seconds)) / (mask.size / 1e6),
            "ratio_to_scipy": float(np.median(np.array(seconds) / np.array(times["scipy"]))),
            "wrong_of_1000_masks": wrong(labellers()[name]),
        }
        for name, seconds in times.items()
    ]
    common.save(pd.DataFrame(rows), "components")


if __name__ == "__main__":
    main()
