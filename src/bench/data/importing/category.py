"""From a folder of photos to a category: what is in it, who has which role, and where each file will lie."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bench.config.plain_names import check_name
from bench.data.category_folders import GOOD
from bench.data.describe.description import Description
from bench.data.describe.measure import describe_measured, measure
from bench.data.digests import file_sha256
from bench.data.images import Header, read_header
from bench.data.importing.drawings import Drawing, find_drawings
from bench.data.importing.file_names import file_names
from bench.data.importing.label_list import find_list, label_by_list
from bench.data.importing.masks import draw_masks
from bench.data.importing.photos import Photo, Tree, find_tree, label_by_folders
from bench.data.importing.roles import Assigned, Role
from bench.data.importing.splitting import assign_roles, join_groups
from bench.data.importing.words import Words, same
from bench.data.layout import PLAIN, Category, Reading, Sample
from bench.data.near_duplicates import near_duplicates
from bench.errors import UsageError, counted
from bench.phases import phase
from bench.processes import available_cores

_FEW = 20  # different good photos, below which every figure hangs on single ones


@dataclass(frozen=True)
class Request:
    """What is imported, and how."""

    photos: Path
    name: str  # of the category
    dataset: str
    shares: Mapping[Role, float]
    words: Words = field(default_factory=Words)
    labels: Path | None = None
    masks: Path | None = None
    seed: int = 0
    each_its_own: bool = False  # photos that look alike show different parts
    reading: Reading = PLAIN


@dataclass(frozen=True)
class Planned:
    """A category that is not written yet: each photo with its role, and the masks that were drawn, by their targets."""

    photos: Sequence[tuple[Path, Assigned]]
    masks: Mapping[str, Path]
    description: Description
    remarks: Sequence[str]
    groups_of_good: int
    held_with_bad: int  # good photos that are tested because a bad photo shows the same part

    @property
    def counts(self) -> Counter[tuple[Role, str]]:
        """Photos by role and label."""
        return Counter((photo.role, photo.label) for _, photo in self.photos)

    @property
    def bad(self) -> int:
        """The number of photos with a defect."""
        return sum(not photo.is_good for _, photo in self.photos)


@contextmanager
def planned(request: Request) -> Iterator[Planned]:
    """Read all photos and plan their category; the drawn masks are there within the context."""
    tree = find_tree(request.photos, request.masks)
    photos, remarks = _labelled(tree, request)
    drawings, more = find_drawings(tree, photos, request.masks)
    photos = _one_spelling([_by_drawing(photo, drawings.get(photo.path), request.words) for photo in photos])
    if tree.left_out:
        remarks.append(f"{counted(len(tree.left_out), 'other file')} left out, such as {tree.left_out[0]}")
    headers = _read_headers(photos)
    names = file_names(photos)
    with TemporaryDirectory(prefix="bench-masks-") as folder:
        targets = {
            photo.path: f"ground_truth/{photo.label}/{Path(names[photo.path]).stem}_mask.png" for photo in photos
        }
        files = {path: Path(folder, target) for path, target in targets.items()}
        draw_masks(photos, drawings, headers, files, request.reading.mask_threshold)
        masks = {targets[photo.path]: files[photo.path] for photo in photos if files[photo.path].is_file()}
        samples = [
            Sample(p.path, p.name, p.label, files[p.path] if targets[p.path] in masks else None, request.reading)
            for p in photos
        ]
        yield _plan(request, photos, samples, headers, names, masks, [*remarks, *more])


def _labelled(tree: Tree, request: Request) -> tuple[list[Photo], list[str]]:
    """The photos with their labels, by a list or by the folders; and remarks."""
    file, remarks = find_list(tree, request.labels)
    if file is not None:
        photos = label_by_list(tree, file, request.words)
    else:
        photos, more = label_by_folders(tree, request.words)
        remarks += more
    if not any(photo.is_good for photo in photos):
        raise UsageError(
            f"no good photos among the {len(photos)} in {request.photos}; every method learns from good ones: add them"
        )
    return photos, remarks


def _by_drawing(photo: Photo, drawing: Drawing | None, words: Words) -> Photo:
    """A photo that is just bad, with the one type that its drawing is called."""
    is_just_bad = words.meaning(photo.label) == "bad" and not words.is_type(photo.label)
    if drawing is None or not is_just_bad or len(drawing.kinds) != 1:
        return photo
    kind = min(drawing.kinds).strip()
    return photo if words.meaning(kind) and not words.is_type(kind) else replace(photo, label=kind)


def _one_spelling(photos: Sequence[Photo]) -> list[Photo]:
    """The photos with labels that can name folders; those that differ in case alone are one."""
    spelled: dict[str, str] = {}
    for photo in photos:
        spelled.setdefault(same(photo.label), check_name("type of defects", photo.label))
    return [replace(photo, label=spelled[same(photo.label)]) for photo in photos]


def _read_headers(photos: Sequence[Photo]) -> dict[Path, Header]:
    with phase("opening photos", len(photos), "photos") as seen, ThreadPoolExecutor(available_cores()) as pool:
        headers = {}
        for photo, header in zip(photos, pool.map(lambda each: read_header(each.path), photos), strict=True):
            headers[photo.path] = header
            seen.advance()
    return headers


def _plan(
    request: Request,
    photos: Sequence[Photo],
    samples: Sequence[Sample],
    headers: Mapping[Path, Header],
    names: Mapping[Path, str],
    masks: Mapping[str, Path],
    remarks: list[str],
) -> Planned:
    channels = max(header.channels for header in headers.values())
    with phase("reading photos", len(photos), "photos") as seen:
        measured = measure(samples, channels, seen.advance)
    hashes = _hashes(photos)
    groups = _groups(request, measured.small, hashes)
    good = np.array([photo.is_good for photo in photos])
    roles = assign_roles(groups, good, request.shares, request.seed)
    assigned = [
        Assigned(_target(photo, role, names), role, group, photo.label, photo.name, digest)
        for photo, role, group, digest in zip(photos, roles, groups.tolist(), hashes, strict=True)
    ]
    order = sorted(range(len(photos)), key=lambda index: (roles[index] == "test", index))
    learned = sum(role != "test" for role in roles)
    category = Category(
        request.name,
        tuple(samples[index] for index in order[:learned]),
        tuple(samples[index] for index in order[learned:]),
    )
    with_bad = set(groups[~good].tolist())
    plan = Planned(
        photos=[(photo.path, own) for photo, own in zip(photos, assigned, strict=True)],
        masks=masks,
        description=describe_measured(category, request.dataset, measured.ordered(order)),
        remarks=(),
        groups_of_good=len(set(groups[good].tolist())),
        held_with_bad=sum(photo.is_good and photo.group in with_bad for photo in assigned),
    )
    return replace(plan, remarks=(*remarks, *_remarks(plan)))


def _hashes(photos: Sequence[Photo]) -> list[str]:
    """The SHA-256 of each file; a UsageError where a good and a bad photo are the same file."""
    with ThreadPoolExecutor(available_cores()) as pool:
        hashes = list(pool.map(lambda photo: file_sha256(photo.path), photos))
    seen: dict[str, Photo] = {}
    for photo, digest in zip(photos, hashes, strict=True):
        other = seen.setdefault(digest, photo)
        if other.is_good != photo.is_good:
            raise UsageError(
                f"{other.path} and {photo.path} are the same file, one labelled '{other.label}' and one "
                f"'{photo.label}'; remove one of them"
            )
    return hashes


def _groups(request: Request, small: NDArray[np.uint8], hashes: Sequence[str]) -> NDArray[np.int64]:
    alone = np.arange(len(hashes))
    return join_groups(alone if request.each_its_own else near_duplicates(small), hashes)


def _target(photo: Photo, role: Role, names: Mapping[Path, str]) -> str:
    """Where a photo will lie below the category's folder."""
    return f"{'test' if role == 'test' else 'train'}/{photo.label}/{names[photo.path]}"


def _remarks(plan: Planned) -> Iterator[str]:
    """What the user must know before trusting figures of these photos."""
    without = plan.bad - len(plan.masks)
    if plan.masks and without:
        yield f"{without} of {counted(plan.bad, 'bad photo')} without a mask: their pixels are not judged"
    if plan.held_with_bad:
        yield (
            f"{counted(plan.held_with_bad, 'good photo')} tested and not learned from: a bad photo shows the same part"
        )
    if not plan.bad:
        yield "no bad photos: there will be a model and a threshold, and nobody knows what slips through"
    if plan.groups_of_good < _FEW:
        different = counted(plan.groups_of_good, "different good photo")
        yield f"{different}, so that figures will hang on single ones; forty are a start"
    if not any(role == "test" and label == GOOD for role, label in plan.counts):
        yield "no good photo is tested: nobody will know how many good parts are stopped"
