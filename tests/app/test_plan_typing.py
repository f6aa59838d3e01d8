"""What is typed into the table counts once, however late the browser draws and in whatever order a message tells it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from plan_page import A, B, C, D, saved, send, table, texts

from app.draft import Draft
from app.typed import asked, difference

NAMES = [A, B, C, D]
UNDO, REDO = "plan.undo", "plan.redo"


# Chosen cases --------------------------------------------------------------------------------------------------------


def test_an_undo_in_the_same_message_as_an_edit_takes_that_edit_back(open_page, project, home):
    for first in (True, False):
        made = project()
        at = open_page("plan", project=made.id)
        shown = table(at)
        send(at, shown, {0: {"requested": 25.0}})
        send(at, shown, {0: {"requested": 25.0}, 1: {"requested": 50.0}}, UNDO, buttons_first=first)
        assert saved(home, made).ratios == {A: 0.25, B: 0, C: 0, D: 0}
        at.button(key=REDO).click().run()
        assert saved(home, made).ratios == {A: 0.25, B: 0.5, C: 0, D: 0}


def test_edits_of_a_table_that_an_undo_has_replaced_do_not_come_again_and_new_ones_of_it_count(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    late = table(at)
    send(at, late, {0: {"requested": 25.0}})
    send(at, late, {0: {"requested": 25.0}, 1: {"requested": 50.0}})
    send(at, late, {0: {"requested": 25.0}, 1: {"requested": 50.0}}, UNDO)
    assert table(at) != late
    send(at, late, {0: {"requested": 25.0}, 1: {"requested": 50.0}}, UNDO)  # the browser has not drawn the next table yet
    assert set(saved(home, made).ratios.values()) == {0}
    send(at, late, {0: {"requested": 25.0}, 1: {"requested": 50.0}, 2: {"requested": 75.0}})
    assert saved(home, made).ratios == {A: 0, B: 0, C: 0.75, D: 0}
    assert list(at.data_editor[0].value["requested"]) == [0, 0, 75, 0]


def test_a_bulk_action_in_the_same_message_works_on_what_was_typed_before_it(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id, group=A)
    send(at, table(at), {0: {"requested": 50.0}}, "plan.scale")
    assert saved(home, made).ratios[A] == 0.45  # nine tenths of it
    at.button(key=UNDO).click().run()
    assert saved(home, made).ratios[A] == 0.5


def test_a_press_that_comes_before_the_first_edit_is_drawn_counts(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    assert not at.button(key=UNDO).disabled
    send(at, table(at), {0: {"requested": 50.0}}, UNDO)
    assert not any(saved(home, made).ratios.values())
    at.button(key=UNDO).click().run()  # nothing to take back
    assert not at.exception
    assert not texts(at, "error")


def test_a_table_that_was_away_is_another_one_and_so_is_that_of_an_app_started_anew(open_page, project, home):
    made = project()
    at = open_page("plan", project=made.id)
    first = table(at)
    send(at, first, {0: {"requested": 25.0}})
    at.text_input(key="find").set_value("stage1").run()
    at.text_input(key="find").set_value("").run()
    assert table(at) != first
    again = open_page("plan", project=made.id)
    assert table(again) not in (first, table(at))
    at.button(key=UNDO).click().run()
    send(again, first, {0: {"requested": 25.0}})  # what a browser sends that was open all the time
    assert not any(saved(home, made).ratios.values())


def test_cells_that_say_what_was_taken_or_what_the_draft_says_are_not_new():
    assert difference({"a": {"requested": 1.0, "held": True}, "b": {"pick": True}}, {"a": {"requested": 1.0}}) == {"a": {"held": True}, "b": {"pick": True}}
    draft = Draft({"a": 0.5}, frozenset("a"))
    assert asked({"a": {"requested": 50.0, "held": True}, "b": {"requested": 120.0, "pick": True}, "c": {"requested": None}}, draft) == {"b": {"requested": 1.0}}


# Any order -----------------------------------------------------------------------------------------------------------


@dataclass
class Page:
    """A browser that draws when it likes: it types into the table that it shows, and says all that stands there."""

    shown: str
    cells: dict[int, dict[str, object]] = field(default_factory=dict)

    def type(self, row: int, column: str, value: object) -> bool:
        """Whether the browser has something to say: it is silent on a cell that says the same as before."""
        same = self.cells.get(row, {}).get(column) == value
        self.cells[row] = {**self.cells.get(row, {}), column: value}
        return not same

    def draw(self, now: str) -> None:
        """It keeps no edit on top of the value that it was given in answer."""
        self.shown, self.cells = now, {}


@dataclass
class History:
    """What should come of it: requested ratio and hold of every row, step by step."""

    steps: list[tuple[tuple[float, bool], ...]] = field(default_factory=lambda: [((0.0, False),) * len(NAMES)])
    at: int = 0

    def edit(self, cells: list[tuple[int, str, object]]) -> None:
        rows = list(self.steps[self.at])
        for row, group in itertools.groupby(sorted(cells, key=lambda cell: cell[0]), key=lambda cell: cell[0]):
            ratio, held = rows[row]
            new = {column: value for _, column, value in group}
            if new.get("requested", 100 * ratio) != 100 * ratio:
                ratio, held = float(new["requested"]) / 100, True
            rows[row] = (ratio, bool(new.get("held", held)))
        if tuple(rows) != self.steps[self.at]:
            self.steps = [*self.steps[: self.at + 1], tuple(rows)]
            self.at += 1

    def press(self, button: str) -> None:
        self.at = max(0, self.at - 1) if button == UNDO else min(len(self.steps) - 1, self.at + 1)


row = st.integers(0, len(NAMES) - 1)
ratio = st.sampled_from([25.0, 50.0, 75.0])
typing = st.one_of(
    st.tuples(row, st.just("requested"), ratio).map(lambda cell: [cell]),
    st.tuples(row, st.just("held"), st.booleans()).map(lambda cell: [cell]),
    st.tuples(st.integers(0, 2), ratio, ratio).map(lambda it: [(it[0], "requested", it[1]), (it[0] + 1, "requested", it[2])]),  # a pasted column
)
message = st.fixed_dictionaries({
    "typed": st.lists(typing, max_size=2).map(lambda found: {(row, column): (row, column, value) for cells in found for row, column, value in cells}),
    "press": st.sampled_from([None, None, UNDO, UNDO, REDO]),
    "buttons_first": st.booleans(),
    "draws": st.booleans(),
})  # fmt: skip


@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(messages=st.lists(message, min_size=4, max_size=7))
def test_edits_pastes_undo_and_redo_end_where_a_plain_history_does_however_late_the_page_is_drawn(open_page, project, home, messages):
    made = project()
    at = open_page("plan", project=made.id)
    page, history = Page(table(at)), History()
    for each in messages:
        new = [cell for cell in each["typed"].values() if page.type(*cell)]
        history.edit(new)
        if each["press"]:
            history.press(each["press"])
        send(at, page.shown, page.cells, *filter(None, [each["press"]]), buttons_first=each["buttons_first"])
        assert not at.exception
        frame = at.data_editor[0].value
        assert [(value / 100, held) for value, held in zip(frame["requested"], frame["held"], strict=True)] == list(history.steps[history.at])
        if each["draws"]:
            page.draw(table(at))
    if history.at or len(history.steps) > 1:
        assert [saved(home, made).ratios[name] for name in NAMES] == [ratio for ratio, _ in history.steps[history.at]]
