"""`bench wandb`: commands on a W&B project as a whole."""

import json

from bench.cli.arguments import Parser
from bench.errors import RunError, UsageError, first_line, unknown


def run(typed: list[str]) -> int:
    """set up the workspace of a W&B project"""
    parser = Parser(prog="bench wandb", description="Set up a W&B project. `workspace` is all that is to be set up.")
    parser.add_argument("action", metavar="workspace", help="panels of scores, costs, seeds and curves")
    parser.add_argument("project", metavar="ENTITY/PROJECT")
    parser.add_argument("--name", default="bench", help="of the workspace (default: bench)")
    parser.add_argument("--dry-run", action="store_true", help="print the workspace as JSON and save nothing")
    known = parser.parse_all(typed)
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
