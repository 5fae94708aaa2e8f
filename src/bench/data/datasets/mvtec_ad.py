"""MVTec AD (Bergmann et al., IJCV 2021), and for now any folder in its layout."""

from bench.data.datamodule import DefectData


class MVTecAD(DefectData):
    """One category of MVTec AD: `train/good`, `test/<defect type>`, `ground_truth/<defect type>`."""
