"""Classes of conf/ that moved: their first names and their present ones.

A fingerprint hashes the first name, so moving a class makes no new cell. Records, files and
checkpoints that name the first one lead to the present class.
"""

_NOW = {
    "bench.data.datamodule.MVTecAD": "bench.data.datasets.mvtec_ad.MVTecAD",
    "bench.data.synthetic.Synthetic": "bench.data.datasets.synthetic.Synthetic",
    "bench.sweep.local.LocalLauncher": "bench.sweep.launchers.local.LocalLauncher",
    "bench.sweep.slurm.SlurmLauncher": "bench.sweep.launchers.slurm.SlurmLauncher",
    "bench.sweep.ray_cluster.RayLauncher": "bench.sweep.launchers.ray_cluster.RayLauncher",
}
_FIRST = {now: first for first, now in _NOW.items()}


def present_path(class_path: str) -> str:
    """The present path of a class, by any of its names."""
    return _NOW.get(class_path, class_path)


def first_path(class_path: str) -> str:
    """The path that a class had when it was first recorded."""
    return _FIRST.get(class_path, class_path)
