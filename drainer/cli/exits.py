"""Exit codes: documented in docs/reference/exit-codes.md, stable."""

#: code: (name, meaning). The reference is generated from this.
EXIT_CODES = {
    0: ("ok", "Done; for drain, wait and run: everything that ran has finished."),
    1: ("failed", "Something in drainer broke; for demo: a task was lost or finished twice."),
    3: ("expired", "The deadline passed or the drain was forced: tasks were cut off and are listed."),
    4: ("refused", "The sidecar understood and said no; nothing has changed."),
    64: ("usage", "A flag, a variable or an argument is wrong; nothing was started."),
    69: ("unreachable", "No sidecar or no worker answers, or the port is taken."),
    73: ("directory", "The directory is taken by another sidecar or can't be written."),
    75: ("timed out", "`wait --timeout` ended before the drain did."),
    77: ("not allowed", "The bearer token is missing or wrong."),
    127: ("no command", "`run` can't start its command."),
    130: ("interrupted", "Ctrl-C: watching has stopped, the drain goes on."),
}
OK, FAILED, EXPIRED, REFUSED, USAGE, UNREACHABLE, DIRECTORY, TIMED_OUT, NOT_ALLOWED, NO_COMMAND, INTERRUPTED = (
    EXIT_CODES
)
