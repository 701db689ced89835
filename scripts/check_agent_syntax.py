"""The agent's syntax fits Python 3.9, and it imports the standard library and Celery's family alone."""

import ast
import sys
from pathlib import Path

ALLOWED = {"celery", "kombu", "amqp", "billiard"}
AGENT = Path(__file__).parent.parent / "drainer" / "agent"


def problems(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        elif isinstance(node, ast.Match):
            found.append(f"{path.name}:{node.lineno}: match is Python 3.10")
        for name in names:
            root = name.split(".")[0]
            if root not in ALLOWED and root not in sys.stdlib_module_names:
                found.append(f"{path.name}:{node.lineno}: imports {root}")
    return found


if __name__ == "__main__":
    every = [problem for path in sorted(AGENT.glob("*.py")) for problem in problems(path)]
    print("\n".join(every) or "the agent fits Python 3.9 and the standard library")
    sys.exit(1 if every else 0)
