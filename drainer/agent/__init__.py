"""The drainer agent: lives inside a Celery worker, speaks on a Unix socket.

Loaded by configuration alone (``CELERY_WORKER_INCLUDE=drainer_agent``). It needs the
standard library and the worker's own celery, nothing else; syntax of Python 3.9.
Importing it must never harm the worker: an include that raises ends the worker
(facts/airflow_kill.md, 6), so whatever fails here is written to stderr and forgotten.
"""

__version__ = "0.1.0"

try:
    from . import boot as _boot

    _boot.register()
except Exception as exc:
    import sys as _sys

    _sys.stderr.write("drainer agent: not loaded, the worker goes on without it: %r\n" % (exc,))
