"""Everything that can be gone to by name: screens, runs, plans, groups, layers, projects and demos. No Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from app.history import Branch
from app.layers import Layer
from app.numbers import plural, when
from app.steps import PAGES, PURPOSE, TITLES
from cpd.comb.record import CombRecord
from cpd.runs.project import Project
from cpd.runs.store import Run
from cpd.tasks.demos import Demo

GROUP_PAGES = ("comb", "importance", "sensitivity")  # screens that show a group: a group is looked at where one is


@dataclass(frozen=True)
class Target:
    """One place.

    Attributes:
        kind: what it is, in a word.
        name, about: what is searched, and read.
        page: the screen that shows it, with `query` in the address.
        demo: id of a demo that has to be opened first, else "".
    """

    kind: str
    name: str
    about: str
    page: str
    query: Mapping[str, str] = field(default_factory=dict)
    demo: str = ""

    @property
    def label(self) -> str:
        return f"{self.name}  ·  {self.kind}" + (f", {self.about}" if self.about else "")


def screens(address: Mapping[str, str]) -> list[Target]:
    return [Target("screen", TITLES[page], PURPOSE[page], page, address) for page in PAGES]


def groups(record: CombRecord, address: Mapping[str, str], here: str) -> list[Target]:
    """Groups of the open project, shown on the screen that the user is on where that screen shows groups."""
    page = here if here in GROUP_PAGES else "comb"
    return [
        Target("group", group.name, plural(group.width, "unit") + ("" if group.prunable else ", locked"), page, {**address, "group": group.name})
        for group in record.groups
    ]  # fmt: skip


def layers(found: Sequence[Layer], free: Iterable[str], address: Mapping[str, str], here: str) -> list[Target]:
    """Layers; each leads to the group that owns its outputs, one that can be pruned where there is one.

    Args:
        free: names of the groups that can be pruned.
    """
    page, can = here if here in GROUP_PAGES else "comb", set(free)
    rows = []
    for layer in found:
        owners = sorted(layer.groups, key=lambda name: name not in can)
        query = {**address, "group": owners[0]} if owners else dict(address)
        rows.append(Target("layer", layer.module, f"{layer.operator}, {layer.width:,} channels" + (f", of {owners[0]}" if owners else ""), page, query))
    return rows


def runs(found: Iterable[Run], names: Mapping[str, str], aim: Mapping[str, str]) -> list[Target]:
    """Runs of all projects, newest first.

    Args:
        names: of the projects, by id; a run whose project is gone is left out.
        aim: what each run aims at, in words, by its id.
    """
    return [
        Target("run", run.id, ", ".join(part for part in (run.note, names[run.project], run.state, aim.get(run.id, ""), when(run.created)) if part), "run",
               {"project": run.project, "run": run.id})
        for run in found if run.project in names
    ]  # fmt: skip


def plans(branches: Iterable[Branch], address: Mapping[str, str]) -> list[Target]:
    return [Target("plan", branch.name, branch.note, "plan", {**address, "branch": branch.file}) for branch in branches]


def projects(found: Iterable[Project], open_: str) -> list[Target]:
    return [Target("project", each.name, f"{each.model}, {each.data or 'no data'}", "start", {"project": each.id}) for each in found if each.id != open_]


def demos(found: Iterable[Demo]) -> list[Target]:
    return [Target("demo", demo.title, demo.task, "start", demo=demo.id) for demo in found]
