"""What MVTec requires of users of its images, and their consent."""

import sys

from bench.errors import UsageError

LICENCE = """MVTec AD is MVTec Software GmbH's, under the licence CC BY-NC-SA 4.0:
  - not for commercial use; who wants that is asked to contact MVTec
  - in scientific work cite Bergmann, Fauser, Sattlegger, Steger: A Comprehensive Real-World Dataset for Unsupervised
    Anomaly Detection, CVPR 2019
  - what is made from the images and passed on carries the same licence
The text: https://creativecommons.org/licenses/by-nc-sa/4.0/"""


def obtain_consent(accepted: bool) -> None:
    """Print the licence and ask for consent; a UsageError if it is refused or nobody can be asked."""
    print(LICENCE, file=sys.stderr)
    if accepted:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody is at the terminal to accept the licence; --accept-licence accepts it")
    print("Do you accept it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("the licence was not accepted; nothing was written")
