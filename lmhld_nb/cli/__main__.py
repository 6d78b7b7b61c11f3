"""``python -m lmhld_nb.cli``."""

from lmhld_nb.cli import main

if __name__ == "__main__":
    main()
