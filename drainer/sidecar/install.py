"""Put the agent's code where a worker can import it as ``drainer_agent``."""

import os
import shutil
import tempfile
from pathlib import Path

#: The name under which a worker includes the agent.
PACKAGE = "drainer_agent"


def install_agent(directory: Path) -> Path:
    """Copy the agent to ``directory/drainer_agent`` and return that path.

    The new code is put in place by a rename, so that a worker never sees half of it; the
    directory holds nothing else importable. Raises OSError.
    """
    source = Path(__file__).parent.parent / "agent"
    directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    target = directory / PACKAGE
    fresh = Path(tempfile.mkdtemp(prefix=".drainer_agent-", dir=directory))
    try:
        for file in sorted(source.glob("*.py")):
            shutil.copyfile(file, fresh / file.name)
        os.chmod(fresh, 0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".drainer_agent-old-", dir=directory))
            target.rename(old / PACKAGE)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return target
