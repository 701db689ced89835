"""Two clocks: one for people, one for ourselves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Now:
    """One reading of both clocks, taken once for each event.

    wall: seconds since the epoch; may step by hours, either way.
    boot: seconds of CLOCK_BOOTTIME: never steps, counts suspends, common to all containers
        of a machine, and goes on over restarts of a process.
    boot_id: names the boot that `boot` counts from.
    """

    wall: float
    boot: float
    boot_id: str


@dataclass(frozen=True)
class Instant:
    """A moment on both clocks, as read when it was fixed."""

    wall: float
    boot: float
    boot_id: str

    @classmethod
    def of(cls, now: Now) -> "Instant":
        return cls(now.wall, now.boot, now.boot_id)

    def plus(self, seconds: float) -> "Instant":
        return Instant(self.wall + seconds, self.boot + seconds, self.boot_id)

    def seconds_until(self, now: Now) -> float:
        """Seconds from `now` to this instant, negative when it has passed.

        Across a reboot of the machine (another boot id) only the wall clock is left.
        """
        if now.boot_id == self.boot_id:
            return self.boot - now.boot
        return self.wall - now.wall

    def as_wall(self, now: Now) -> float:
        """This instant on the wall clock as it stands now, for people."""
        return now.wall + self.seconds_until(now)
