"""Map a made scene, with a rim, clouds and a DEM, into FOLDER/map: what `make test-qgis` opens in QGIS."""

import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from made import blobs, image_of, write_tif
from mapped import median, write_weights

from lmhld_nb import mapping
from lmhld_nb.scenes.scene import BANDS, Scene

folder = Path(sys.argv[1])
shutil.rmtree(folder, ignore_errors=True)
image = image_of(blobs(600, 700, 60))
image[:, :30] = 65535
cloud = np.zeros((600, 700), np.uint8)
cloud[200:300, 300:450] = 1
scene = Scene("a", "made", write_tif(folder / "a.tif", image), BANDS)
dem = write_tif(folder / "dem.tif", np.tile(np.arange(700, dtype=np.float32), (600, 1)))
weights = write_weights(folder / "w.safetensors", areas={"made": {"patch_size": 64}})
clouds, threshold = write_tif(folder / "clouds.tif", cloud), median(scene, weights, folder / "first")
settings = mapping.MapSettings(threshold=threshold, dem=dem, clouds=clouds)
mapping.map_scene(scene, weights, folder / "map", settings, progress=False)
