# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # bench in a notebook
#
# Images are drawn by `bench`, and nothing is downloaded: weights are random here. With weights of ImageNet leave out
# `model.weights`; with images of your own name their folder: `data="folder"` and `"data.root"`.

# %%
import bench

quick = {"model.weights": "none", "data.image_size": 128}
padim = bench.fit("padim_mobilenetv2", "screw", data="synthetic", settings=quick)
padim

# %% [markdown]
# A second method on the same images, and both in one table: only runs that compare stand in it.

# %%
knn = bench.fit("knn_mobilenetv2", "screw", data="synthetic", settings=quick)
(table,) = bench.tables("runs").values()
table[["category", "model", "image_auroc", "pixel_auroc"]]

# %% [markdown]
# Three images: paths, PIL images or arrays. A score above the run's threshold is anomalous.

# %%
import numpy as np

images = [np.full((128, 128, 3), grey, dtype=np.uint8) for grey in (0, 128, 255)]
[(scored.score, scored.verdict, scored.map.shape) for scored in padim.score(images)]
