"""An embedded beat (``celery worker -B``) stops with consuming and comes back with it.

A draining worker that went on sending periodic tasks would double those of its successor.
"""

from .log import log


def stop(worker):
    """Stop the embedded beat; True when there was one."""
    service = getattr(worker, "beat", None)
    if service is None:
        return False
    service.stop()
    log.info("drainer agent: embedded beat stopped")
    return True


def start(worker):
    """Start a new embedded beat in place of a stopped one."""
    for step in worker.steps:
        if getattr(step, "label", None) == "Beat":
            service = step.create(worker)
            service.start()
            log.info("drainer agent: embedded beat started")
            return
