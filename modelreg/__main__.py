"""The `modelreg` program, as a script and as `python -m modelreg`."""

import sys
from io import TextIOWrapper


def run() -> None:
    """Run the command line. Ctrl-C ends it with exit code 130 and no traceback, also while modules are loading.

    A character that the output's encoding does not have is escaped: on Windows, a pipe or file has the encoding of the
    country.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        from modelreg.cli.main import main

        code = main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
