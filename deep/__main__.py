"""``python -m deep``: the same commands as ``trajfuse deep``."""

from deep.cli import main

if __name__ == "__main__":
    main()
