"""Processor time and memory of processes on this machine, with all their children, from /proc."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used: CPU-seconds since ever, resident memory in MiB now.

    Children that have ended are in it, as soon as their parent has taken notice. Memory that several of them share
    counts in each.
    """

    cpu_seconds: float
    resident_mib: float


def usage(root: int) -> Usage:
    """What the process `root` and everything below it have used. Raises ProcessLookupError where it is gone."""
    processes = _tree(root)
    if not processes:
        raise ProcessLookupError(root)
    ticks = sum(_ticks(stat) for stat in processes.values())
    return Usage(ticks / _TICKS, sum(_resident(process) for process in processes) / 2**20)


def parent(process: int) -> int:
    """The process that started another."""
    return int(_fields(Path(f"/proc/{process}/stat").read_text())[1])


def _tree(root: int) -> dict[int, list[str]]:
    """The fields of /proc/<pid>/stat after the name, of a process and all below it."""
    stats: dict[int, list[str]] = {}
    children: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = _fields((entry / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        stats[int(entry.name)] = fields
        children[int(fields[1])].append(int(entry.name))
    found: dict[int, list[str]] = {}
    pending = [root] if root in stats else []
    while pending:
        process = pending.pop()
        found[process] = stats[process]
        pending += children[process]
    return found


def _fields(stat: str) -> list[str]:
    # the name before the last bracket may hold anything
    return stat.rpartition(")")[2].split()


def _ticks(fields: list[str]) -> int:
    # utime, stime, and those of children that have ended: fields 14 to 17, counted from 1 with the two before the name
    return sum(int(field) for field in fields[11:15])


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0
