"""``python -m drainer``."""

from drainer.cli.main import main

if __name__ == "__main__":
    main()
