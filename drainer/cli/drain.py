"""`drainer drain`."""

import click

from drainer.cli import options
from drainer.cli.watching import follow
from drainer.client.http import Client
from drainer.client.target import resolve


def deadline_body(deadline: str | None, no_deadline: bool) -> dict[str, str]:
    """The deadline of a request: a duration, an instant, never, or nothing said."""
    if deadline is not None and no_deadline:
        raise click.UsageError("give --deadline or --no-deadline, not both")
    if no_deadline:
        return {"timeout": "never"}
    if deadline is None:
        return {}
    instant = len(deadline) > 10 and deadline[4:5] == "-"
    return {"deadline" if instant else "timeout": deadline}


@click.command()
@options.target
@options.who
@click.option("--deadline", metavar="24h|INSTANT", help="How long it may last, or until when.")
@click.option("--no-deadline", is_flag=True, help="Wait for the tasks however long they take.")
@click.option("--force", is_flag=True, help="Don't wait: what runs is cut off now.")
@click.option("--no-wait", is_flag=True, help="Ask for the drain and return.")
def command(
    target: str | None,
    token_file: str | None,
    output: str,
    by: str,
    reason: str,
    deadline: str | None,
    no_deadline: bool,
    force: bool,
    no_wait: bool,
) -> int:
    """Drain a worker: it stops consuming at once and its running tasks finish.

    Waits for the verdict: exit 0 when everything finished, 3 when the deadline cut
    something off. A second drain updates the first one's deadline.
    """
    client = Client(resolve(target), token_file)
    who = {"by": by, "reason": reason}
    status = client.request("POST", "/v1/drain", {**who, **deadline_body(deadline, no_deadline)})
    drain = status["drain"]["id"]
    if force:
        status = client.request("POST", "/v1/force", who)
    if no_wait:
        if output == "json":
            options.echo_json(status)
        else:
            click.echo(f"{drain} requested; `drainer wait` waits for it")
        return 0
    return follow(client, output, lambda now: _over(now, drain), live=True)


def _over(status: dict[str, object], drain: str) -> bool:
    """Released, or no longer this drain (cancelled)."""
    current = status["drain"]
    return bool(status["released"]) or not isinstance(current, dict) or current["id"] != drain
