"""The page of scored images: the most anomalous first, each with its map and what lies above the threshold."""

import heapq
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import counted
from bench.runs.scoring.maps import fit_map
from bench.runs.scoring.scorer import FinishedRun
from bench.runs.scoring.stream import ScoredImage
from bench.views.heatmap import overlay
from bench.views.page_frame import embedded, render_page
from bench.views.pictures import OUTLINE, outlined

GALLERY = "gallery.html"
_SHOWN = 60  # images on the page
_SIDE = 360  # pixels of a picture's longer side
_NEAR = 1e-4  # a score that is the largest value of its map is so to rounding


class Shown(NamedTuple):
    """An image on the page."""

    name: str
    verdict: str
    about: str
    pictures: list[tuple[str, str]]  # what each shows, and its address


@dataclass
class Gallery:
    """The most anomalous of the images that were added, with their pictures; of the others only the number is kept.

    A map's contour is drawn at the pixel threshold, or at the image's where that means the same for a pixel.
    """

    run: FinishedRun
    added: int = 0
    anomalous: int = 0
    _best: list[tuple[float, int, Shown]] = field(default_factory=list)

    def add(self, scored: ScoredImage) -> None:
        """Take an image, whose picture was read with it."""
        self.added += 1
        self.anomalous += scored.anomalous
        if len(self._best) == _SHOWN and scored.score <= self._best[0][0]:
            return
        keep = heapq.heappush if len(self._best) < _SHOWN else heapq.heapreplace
        keep(self._best, (scored.score, -self.added, self._show(scored)))

    def write(self, folder: Path) -> None:
        """Write the page into the folder of results."""
        run, best = self.run, sorted(self._best, key=lambda item: (-item[0], -item[1]))
        page = render_page(
            "predictions.html.j2",
            title=f"{counted(self.added, 'image')}, {self.anomalous} anomalous",
            run=f"{run.record.model} on {run.record.category}, {run.record.fingerprint}",
            threshold=run.threshold,
            of=self.added,
            shown=[shown for _, _, shown in best],
            scale=run.record.map_range,
        )
        (folder / GALLERY).write_text(page, encoding="utf-8")

    def _show(self, scored: ScoredImage) -> Shown:
        assert scored.image.picture is not None
        picture = scored.image.picture.copy()
        picture.thumbnail((_SIDE, _SIDE))
        verdict = "anomalous" if scored.anomalous else "good"
        about = f"score {scored.score:.4g}"
        if scored.named is not None:
            verdict, about = scored.named[0], f"probability {scored.named[1]:.3f}"
        return Shown(str(scored.image.found.path), verdict, about, self._pictures(scored, picture))

    def _pictures(self, scored: ScoredImage, picture: Image.Image) -> list[tuple[str, str]]:
        found = [("image", embedded(picture))]
        scale = self.run.record.map_range
        if scored.anomaly_map is None or scale is None:
            return found
        values, _ = fit_map(scored.anomaly_map, self.run.geometry, picture.size)
        pixels = np.asarray(picture)
        found.append(("anomaly map", _address(overlay(pixels, values, *scale))))
        if (above := _above_threshold(self.run, scored, values)) is not None:
            found.append(("contour at the threshold", _address(outlined(pixels, above, OUTLINE))))
        return found


def _above_threshold(run: FinishedRun, scored: ScoredImage, values: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """The pixels of a picture above the threshold, by its `values` of the map; None where no threshold is known.

    The pixel threshold decides if one was taken. Else the image's does where the image's score is the largest value of
    its map, and so means the same.
    """
    threshold, anomaly_map = run.pixel_threshold, scored.anomaly_map
    assert anomaly_map is not None, "the picture has a map"
    content = run.content([scored.image.size])
    judged = anomaly_map if content is None else anomaly_map[content[0].mask(len(anomaly_map))]
    largest = float(judged.max())
    if threshold is None and abs(largest - scored.score) <= _NEAR * abs(scored.score):
        threshold = run.threshold
    if threshold is None:
        return None
    above = values > threshold
    if largest > threshold and not above.any():  # resizing has averaged the only pixels above it away
        fitted, _ = fit_map((anomaly_map > threshold).astype(np.float32), run.geometry, values.shape[::-1])
        above = fitted > 0
    return above


def _address(pixels: NDArray[np.uint8]) -> str:
    return embedded(Image.fromarray(pixels))
