"""`bench serve`: show leaderboards and the pictures of runs in a browser."""

import errno
from pathlib import Path

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER
from bench.console import tell
from bench.errors import UsageError

PORT = 8000


@command(
    "Serve leaderboards built from records, and a page of pictures for each run, to this machine.",
    Argument(
        "records",
        nargs=-1,
        type=FOLDER,
        metavar="[FOLDER]...",
        about="folders of runs or records (default: runs and leaderboards/records, whichever is there)",
    ),
    option("--port", type=int, default=PORT, metavar="N", help=f"port (default: {PORT}; 0: any that is free)"),
    option("--bootstrap", is_flag=True, help="with intervals of differences to the best (minutes, not seconds)"),
)
def run(known: Known) -> int:
    """Run the server until it is interrupted."""
    if not 0 <= known.port <= 65535:
        raise UsageError(f"no port {known.port}; ports are 0 to 65535")

    from bench.cli.commands.leaderboard import record_folders
    from bench.serve.server import make_server
    from bench.serve.site import Site

    folders = record_folders(known.records, Path("leaderboards"), None)
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"no folder of records {folder}")
    try:
        server = make_server(Site(folders, intervals=known.bootstrap), known.port)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise UsageError(f"port {known.port} is not free ({error.strerror}); name another: --port N") from error
        raise
    with server:
        names = ", ".join(map(str, folders))
        tell(f"http://127.0.0.1:{server.server_port}/ shows {names}; Ctrl-C ends it")
        server.serve_forever()
    return 0
