"""`bench teacher`: distil a pretrained network into the small one that EfficientAD learns from."""

import json
from pathlib import Path

import click

from bench.cli.command import Known, command, option
from bench.cli.completion import FILE_NAME, FOLDER_NAME, split
from bench.cli.options import device_option, quiet_option
from bench.console import tell
from bench.errors import UsageError
from bench.models.parts.weight_files import existing_file, is_file_reference
from bench.writing import check_free, writing_to

_EXAMPLES = """Examples:
  bench teacher --images ~/imagenet/train
  bench teacher --images photos --backbone mobilenetv2_100 --weights FILE --side 64 --steps 500
"""


@command(
    "Distil a pretrained network into the teacher of EfficientAD, on a folder of images of anything, and write it as "
    "a file of weights: bench fit efficient_ad --model.weights FILE. The defaults are the paper's, and want a GPU.",
    option("--images", type=FOLDER_NAME, required=True, metavar="FOLDER", help="of images, ImageNet's in the paper"),
    option("--out", type=FILE_NAME, metavar="FILE", help="a new file (default: pdn_small.safetensors, pdn_medium...)"),
    option("--size", type=click.Choice(("small", "medium")), default="small", help="of the teacher (default: small)"),
    option("--backbone", default="wide_resnet101_2", metavar="NAME", help="any timm architecture"),
    option("--weights", default="tv_in1k", metavar="FILE", help="the backbone's: a file, a tag of timm's, or 'none'"),
    option("--levels", default="2,3", metavar="A,B", help="of the backbone, the first of stride 8 (default: 2,3)"),
    option("--steps", type=click.IntRange(1), default=60_000, metavar="N", help="default: 60000"),
    option("--batch-size", type=click.IntRange(1), default=16, metavar="N", help="images of a step (default: 16)"),
    option("--side", type=click.IntRange(32), default=256, metavar="N", help="pixels of an image (default: 256)"),
    option("--seed", type=int, default=0, metavar="N", help="default: 0"),
    option("--json", is_flag=True, help="print as JSON"),
    quiet_option(),
    device_option(),
    epilog=_EXAMPLES,
)
def run(options: Known) -> int:
    """Distil a teacher and write its weights."""
    out = Path(options.out or f"pdn_{options.size}.safetensors")
    levels = _check(options, out)

    import torch
    from safetensors.torch import save

    from bench.models.efficient_ad_teacher import Plan, distil
    from bench.models.parts.image_folder import identify_images
    from bench.models.parts.weights import identify_weights
    from bench.runs.environment import device_of, use_full_precision
    from bench.runs.telling import telling
    from bench.writing import write_atomically

    names = ("images", "size", "backbone", "weights", "steps", "batch_size", "side", "seed")
    plan = Plan(levels=levels, **{name: getattr(options, name) for name in names})
    about = {key: str(value) for key, value in vars(plan).items() if key not in ("images", "weights")}
    about |= identify_images(plan.images)
    about |= {f"backbone_{key}": value for key, value in identify_weights(plan.weights).items()}
    use_full_precision()
    device = device_of({"accelerator": options.device, "devices": 1})
    with telling("bench teacher", progress=True):
        found = distil(plan, torch.device(device))
    state = {name: value.detach().cpu().contiguous() for name, value in found.teacher.state_dict().items()}
    with writing_to(out.parent, "--out FILE"):
        write_atomically(out, save(state, metadata=about))
    losses = {"first_loss": found.first_loss, "last_loss": found.last_loss}
    if options.json:
        print(json.dumps({"path": str(out), **about, **losses}, indent=2, allow_nan=False))
    else:
        tell(f"loss of the first steps {found.first_loss:.3f}, of the last {found.last_loss:.3f}")
        tell(f"{out}; to use it: bench fit efficient_ad --model.weights {out}")
    return 0


def _check(options: Known, out: Path) -> list[int]:
    """Refuse what is not there, and a file that is; the levels as numbers."""
    if not Path(options.images).is_dir():
        raise UsageError(f"no folder of images at {options.images}; name one with --images")
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out} is no name of weights: let it end in .safetensors")
    check_free(out)
    if is_file_reference(options.weights):
        existing_file(options.weights)
    try:
        return [int(word) for word in split(options.levels)]
    except ValueError as error:
        raise UsageError(f"--levels {options.levels} are no numbers, such as 2,3") from error
