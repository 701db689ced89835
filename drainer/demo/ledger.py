"""The ledger: a line for each start and end, appended by the tasks themselves."""

import os
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Tally:
    """What the ledger says. The numbers are counts of tasks, not of runs."""

    sent: int
    started: int
    finished: int
    lost: int
    finished_twice: int
    run_again: int
    by_version: dict[str, int]

    @property
    def good(self) -> bool:
        return self.lost == 0 and self.finished_twice == 0 and self.finished == self.sent


class Ledger:
    """One file, many writers: a line is one append, so it is whole."""

    def __init__(self, path: str) -> None:
        self._path = path

    def write(self, what: str, number: int, version: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{what} {number} {version}\n".encode())
        finally:
            os.close(descriptor)

    def lines(self) -> list[tuple[str, int, str]]:
        try:
            with open(self._path) as file:
                words = [line.split() for line in file]
        except FileNotFoundError:
            return []
        return [(what, int(number), version) for what, number, version in words]

    def starts(self, number: int) -> int:
        return sum(1 for what, other, _ in self.lines() if what == "start" and other == number)

    def tally(self, sent: int) -> Tally:
        lines = self.lines()
        starts = Counter(number for what, number, _ in lines if what == "start")
        ends = Counter(number for what, number, _ in lines if what == "end")
        return Tally(
            sent=sent,
            started=len(starts),
            finished=len(ends),
            lost=sum(1 for number in range(sent) if number not in ends),
            finished_twice=sum(1 for count in ends.values() if count > 1),
            run_again=sum(1 for count in starts.values() if count > 1),
            by_version=dict(Counter(version for what, _, version in lines if what == "end")),
        )
