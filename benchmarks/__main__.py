"""Run every figure, or those that are named: ``python -m benchmarks stop release``."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import figures

FIGURES: dict[str, Callable[[Path], list[figures.Row]]] = {
    "stop": figures.stop,
    "release": figures.release,
    "gone": figures.gone,
    "handback": figures.handback,
    "commands": figures.commands,
    "cost": figures.cost,
    "sidecar": figures.sidecar,
    "status": figures.status,
}


def main() -> int:
    names = sys.argv[1:] or list(FIGURES)
    print(f"{'figure':<52} {'drainer':>22} {'plain alternative':>30} {'reach':>16}  ")
    missed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="drainer-bench-") as folder:
            for row in FIGURES[name](Path(folder)):
                print(row.line(), flush=True)
                missed += not row.reached
    print(f"{missed} figure(s) not reached" if missed else "every figure is reached")
    return 0


if __name__ == "__main__":
    sys.exit(main())
