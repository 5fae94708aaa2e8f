"""MVTec AD (Bergmann et al., IJCV 2021): 15 categories, in the layout that many later datasets share."""

from dataclasses import replace
from typing import ClassVar

from bench.data.category_folders import GOOD
from bench.data.datamodule import DefectData
from bench.data.datasets.mvtec_ad_facts import mvtec_categories, mvtec_obtainable
from bench.data.facts import CategoryFacts
from bench.data.layout import Category, read_category

_LICENCE = """\
The images and masks that this export is made of are from MVTec AD, category "{category}".
Copyright 2019 MVTec Software GmbH.
Licence: Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0),
https://creativecommons.org/licenses/by-nc-sa/4.0/

What it means, in short (the licence decides):
- Name the source. Scientific work cites
  Paul Bergmann, Michael Fauser, David Sattlegger, Carsten Steger: "MVTec AD - A Comprehensive Real-World Dataset for
  Unsupervised Anomaly Detection", IEEE Conference on Computer Vision and Pattern Recognition (CVPR), 2019.
- Non-commercial use only, of these images and of what is derived from them; MVTec answers for anything else.
- Who passes on this folder or a changed copy does so under the same licence and says what was changed.

What was changed: images were renamed and divided into parts anew; their pixels are the original ones. Boxes, polygons,
run lengths, points and masks were computed from the original masks by bench {version}. Class prompts were added.
"""
_NOTICE = (
    "The images are MVTec AD's (MVTec Software GmbH, CC BY-NC-SA 4.0): do not publish this page or its pictures "
    "without naming source and licence, under another licence, or for commercial purposes."
)


class MVTecAD(DefectData):
    """One category of MVTec AD: `train/good`, `test/<defect type>`, `ground_truth/<defect type>`."""

    obtainable: ClassVar = mvtec_obtainable()

    @property
    def facts(self) -> CategoryFacts | None:
        """The facts of MVTec's categories; None for a foreign category."""
        return mvtec_categories().get(self.category_name)

    def read(self) -> Category:
        """Read the folders; a category that is not MVTec's is noted as a difference."""
        category = read_category(self.find_root(), self.category_name, self.reading, obtainable=self.obtainable)
        if self.facts is not None:
            return category
        foreign = f"'{category.name}' is no category of MVTec AD (a folder of your own is --data folder)"
        return replace(category, apart=(foreign,))

    @property
    def official(self) -> bool:
        """Whether counts, sizes and poses are those that MVTec published."""
        return not self.differences

    @property
    def licence(self) -> str | None:
        """MVTec's licence if the defect types are MVTec's: resized or fewer, they are still its images."""
        published = self.facts.published if self.facts else None
        known = published is not None and set(self.full_category.defect_types) == {GOOD, *published.defect_types}
        return _LICENCE if known else None

    @property
    def notice(self) -> str:
        """What MVTec requires of people who show its images."""
        return _NOTICE if self.facts else super().notice
