"""The command `predact`, from its first moment: to import what it needs takes seconds, in which Ctrl-C may come."""

import sys


def main() -> None:
    """Run `cli.main`; while Python imports it, too, Ctrl-C ends with the status 130 and no traceback."""
    try:
        from predact import cli
    except KeyboardInterrupt:
        print("predact: interrupted.", file=sys.stderr)
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
