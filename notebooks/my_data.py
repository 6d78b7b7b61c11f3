# ---
# jupyter:
#   kernelspec:
#     display_name: LMHLD book
#     language: python
#     name: lmhld
# ---

# %% [markdown]
# # The book on your own data
#
# **Question.** What do chapters 01, 02 and 05 say about your own landslides?
#
# You need images (GeoTIFF, PNG, …; a scene or patches) and for each a mask of the same name, in which 1 is landslide and 0 is none. Both may
# be in any of these formats. If you have none yet, this notebook writes a small synthetic scene and uses that. Run it once unchanged, then enter your folder below.

# %% tags=["parameters"]
folder: str = ""  # holds images/ and masks/; empty: a synthetic scene is written for the example
bands: str = "blue,green,red,nir"  # of the images, in the file's order
patch: int = 32  # side of a patch in pixels: a multiple of 16, from 32 on
epochs: int = 6  # of training U-Net
chapters: list = ["01", "02", "05"]  # those to run

# %%
import re
import shutil
from pathlib import Path

import lmhld_nb as lm
from lmhld_nb.book.chapters import make

import matplotlib.pyplot as plt
import rasterio

here = lm.config.workdir()
# As people type them, in a terminal too: "blue green red nir", 02.
bands = ", ".join(re.findall(r"[^\s,'\[\]]+", str(bands)))
chapters = [number.zfill(2) for number in re.findall(r"\d+b?", str(chapters))]

# %% [markdown]
# ## The folder
#
# `images/a.tif` belongs to `masks/a.tif`, or to `masks/a.png`. The example is a scene of the synthetic data set for tests.

# %%
example = here / "build" / "my-data-example"
source = Path(folder).expanduser() if folder else example
if not folder:
    scene = lm.sources.get("twin-smoke", progress=False).scenes_of("gorkha")[0]
    for name in ("images", "masks"):
        (example / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(scene.image, example / "images" / "a.tif")
    with rasterio.open(scene.image) as image:
        grid = {"crs": image.crs, "transform": image.transform}
        size = {"height": image.height, "width": image.width, "count": 1}
    labels = lm.scenes.read_all(scene)[1]
    with rasterio.open(
        example / "masks/a.tif", "w", dtype="uint8", **size, **grid
    ) as mask:
        mask.write((labels == 1).astype("uint8"), 1)

# %% [markdown]
# What does the book find in it? In a terminal: `lmhld data check FOLDER/images/a.tif`.

# %%
image = source / "images" / lm.sources.files.list_files(source / "images")[0]
print(lm.sources.check(image).replace(str(source), ""))

# %% [markdown]
# ## A description and a profile
#
# You need two short YAML files. The description says how the folder is read; the profile says what is trained on it. Both names start with
# `my-data`; call them what you like, and see `params/` for other possible keys.

# %%
description = here / "params" / "data" / "my-data.yaml"
description.parent.mkdir(parents=True, exist_ok=True)
_ = description.write_text(f"""name: my-data
title: {"my landslides" if folder else "Example of data of one's own"}
licence: mine
citation: not published
synthetic: {"false" if folder else "true"}
source: {{kind: local, where: a folder of my own}}
parts:
  - {{images: "images/{{id}}.{{ext}}", masks: "masks/{{id}}.{{ext}}", area: my_area}}
bands: [{bands}]
extra_bands: ignore
georeferenced: {"true" if lm.sources.files.read_header(image).crs else "false"}
""")

# %%
profile = here / "params" / "my-data.yaml"
_ = profile.write_text(f"""name: my-data
description: my landslides
data: my-data
models: [unet]
width: {{unet: 4}}
experiments: {{single: {{}}}}
patches: {{size: {patch}, bands: [{bands}]}}
recipe: {{batch_size: 2, epochs: {epochs}, lr: 0.1, gamma: 0.8, momentum: 0.9, loss: dice_bce}}
execution: {{threads: 1}}
""")

# %% [markdown]
# ## Adopt the folder
#
# In a terminal: `lmhld data get my-data --from FOLDER`. Nothing is copied: the files stay where they are.

# %%
dataset = lm.sources.get("my-data", source, progress=False)
print(lm.sources.summary(dataset))

# %% [markdown]
# ## Run the chapters
#
# In a terminal: `lmhld book params/my-data.yaml --chapter 02`. Chapter 05 trains what it needs.

# %%
for number in chapters:
    (executed,) = make(str(profile), number, progress=False)
    print(executed.relative_to(here))

# %% [markdown]
# These are chapters like those of the book; open them in JupyterLab. Two of their figures: which windows became patches, and the
# network's prediction in a test patch.

# %%
for name in ("windows", "fig10_predictions"):
    picture = plt.imread(lm.config.figures_dir("my-data") / f"{name}.png")
    _, ax = plt.subplots(figsize=(8, 8 * picture.shape[0] / picture.shape[1]))
    _ = ax.imshow(picture)
    _ = ax.axis("off")

# %% [markdown]
# A handful of patches and epochs only show that it works. With your own data, choose the patch size from chapter 02's
# candidates, and a `width` and number of `epochs` that your machine can handle.
