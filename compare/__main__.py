"""``python -m compare``: the same as ``trajfuse compare``."""

import sys

from compare.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
