"""`bench wandb`: set up the workspace of a W&B project."""

import json

from bench.cli.command import Argument, Known, command, option
from bench.errors import RunError, UsageError, first_line, unknown


@command(
    "Set up a W&B project. `workspace` is all that is to be set up.",
    Argument("action", metavar="workspace", about="panels of scores, costs, seeds and curves"),
    Argument("project", metavar="ENTITY/PROJECT"),
    option("--name", default="bench", metavar="NAME", help="of the workspace (default: bench)"),
    option("--dry-run", is_flag=True, help="print the workspace as JSON and save nothing"),
)
def run(known: Known) -> int:
    """Make the workspace, and print its address or its JSON."""
    if known.action != "workspace":
        raise unknown("action", known.action, ["workspace"])

    from bench.tracking.service import check_project, require_key

    entity, project = check_project(known.project, "bench wandb workspace")
    if not known.dry_run:
        require_key("bench wandb workspace")
    try:
        from bench.tracking.workspace import build_workspace
    except ModuleNotFoundError as error:
        raise UsageError("a workspace needs another package: pip install 'bench[workspaces]'") from error
    workspace = build_workspace(entity, project, known.name)
    if known.dry_run:
        print(json.dumps(workspace._spec, indent=2))
        return 0
    try:
        print(workspace.save().url)
    except Exception as error:  # the package raises many types, none of them bench's
        raise RunError(f"W&B: {first_line(error)}; the workspace is not saved") from error
    return 0
