"""`drainer demo`."""

import sys
from dataclasses import asdict

import click

from drainer.cli import exits, options


@click.command()
@click.option("--broker", metavar="URL", help="A real broker, like redis://HOST:6379/0; default: an embedded one.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Form of the output.")
def command(broker: str | None, output: str) -> int:
    """A deploy under load, in half a minute, without any server.

    Real Celery workers under `drainer run`, an embedded broker, a stream of tasks: first a
    deploy that harms nothing, then one in which a task outlives its deadline and is run
    again elsewhere. Counts every task; exits 1 if one was lost or finished twice.
    """
    import fakeredis  # noqa: F401  (named in the error when the extra is missing)

    from drainer.demo.show import LiveShow, Show, closing
    from drainer.demo.story import play

    show = LiveShow() if output == "text" and sys.stdout.isatty() else Show()
    if output == "json":
        show.say = lambda text: click.echo(text, err=True)  # type: ignore[method-assign]
        show.picture = lambda rows, tally: None  # type: ignore[method-assign]
    tally = play(broker, show)
    if output == "json":
        options.echo_json({**asdict(tally), "good": tally.good})
    else:
        click.echo(closing(tally))
    return exits.OK if tally.good else exits.FAILED
