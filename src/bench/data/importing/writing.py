"""Write an imported category: whole or not at all, its photos linked or copied."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from bench.data.importing.category import Planned
from bench.data.importing.roles import SPLIT, split_text
from bench.phases import phase
from bench.writing import copy_file, whole_folder, writing_to

How = Literal["hard link", "symbolic link", "copy"]
_THREADS = 8  # a network's disk serves several copies at once


def write_category(plan: Planned, target: Path, how: How) -> Counter[How]:
    """Write the folder of a category; how its photos came there.

    Hard links take no room, and stay when the photos are removed elsewhere. Where the disk has none, or the photos lie
    on another disk, they are copied.
    """
    with writing_to(target.parent, "--out FOLDER"), whole_folder(target) as folder:
        for path in {own.path for _, own in plan.photos} | plan.masks.keys():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        for path, file in plan.masks.items():
            copy_file(file, folder / path)
        done: Counter[How] = Counter()
        count = len(plan.photos)
        with phase(f"placing them in {target}", count, "photos") as placed, ThreadPoolExecutor(_THREADS) as pool:
            for way in pool.map(lambda each: _place(each[0], folder / each[1].path, how), plan.photos):
                done[way] += 1
                placed.advance()
        (folder / SPLIT).write_text(split_text(own for _, own in plan.photos), encoding="utf-8")
    return done


def _place(source: Path, target: Path, how: How) -> How:
    source = source.resolve()
    if how == "symbolic link":
        target.symlink_to(source)
        return how
    if how == "hard link":
        try:
            os.link(source, target)
        except OSError:  # another disk, another owner, or a file system without hard links
            pass
        else:
            return how
    copy_file(source, target)
    return "copy"
