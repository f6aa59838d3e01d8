"""Branches of a plan on disk: what is written is what was done, and nothing of it grows without end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as hs

from app import history
from app.draft import Draft
from app.history import LONGEST, MOST, Branch, Step
from cpd.errors import StorageError
from cpd.prune.plan import Constraints

NAMES = [group.name for group in synthetic.chain().groups]
ratios = hs.dictionaries(hs.sampled_from(NAMES), hs.floats(0.001, 1), max_size=4)
held = hs.frozensets(hs.sampled_from(NAMES))
constraints = hs.builds(Constraints, hs.integers(1, 16), hs.integers(1, 9), hs.floats(0, 1))
targets = hs.sampled_from([{}, {"macs": 0.25}, {"params": 0.5}])
drafts = hs.builds(Draft, ratios, held, hs.sampled_from(["", "l2", "fisher"]), constraints, targets, hs.sampled_from(["", "macs stops at 3 %"]), hs.sampled_from([0.0, 0.9]))


@given(hs.lists(hs.tuples(drafts, hs.text(max_size=20)), min_size=1, max_size=6), hs.integers(0, 9), hs.text(max_size=20))
def test_a_branch_comes_back_from_json_as_it_was(steps: list[tuple[Draft, str]], position: int, note: str):
    branch = Branch("b", tuple(Step(draft, what, 1.5) for draft, what in steps), 0, note, "file").at(position)
    row = json.loads(json.dumps(history.to_dict(branch, "model")))
    assert history.from_dict(row, "file") == branch


@given(hs.lists(hs.sampled_from(["edit", "undo", "redo"]), max_size=40))
def test_undo_and_redo_walk_one_line_of_drafts(actions: list[str]):
    branch, past, future = Branch("b"), [], []
    for number, action in enumerate(actions):
        now = branch.now
        if action == "edit":
            branch = branch.then(Draft(ratios={NAMES[0]: (number + 1) / 100}))
            past, future = [*past, now], []
        elif action == "undo":
            branch = branch.undo()
            if past:
                future, past = [now, *future], past[:-1]
        else:
            branch = branch.redo()
            if future:
                past, future = [*past, now], future[1:]
        assert (branch.can_undo, branch.can_redo) == (bool(past), bool(future))


def test_steps_are_bounded_and_an_edit_that_changes_nothing_is_none():
    branch = Branch("b")
    assert branch.then(Draft()) is branch
    for number in range(LONGEST + 50):
        branch = branch.then(Draft(ratios={NAMES[0]: (number + 1) / 1000}))
    assert len(branch.steps) == LONGEST
    assert branch.position == LONGEST - 1
    assert branch.steps[0].draft.ratios[NAMES[0]] == 51 / 1000


def test_a_hundred_edits_of_a_hundred_and_fifty_groups_stay_small_on_disk(tmp_path: Path):
    """One row edited at a time: the file holds what changed, not a hundred plans."""
    draft = Draft(ratios={f"stage{number}.conv": 0.5 for number in range(150)})
    branch = Branch("b", (Step(draft),))
    for number in range(LONGEST - 1):
        draft = draft.edited({f"stage{number}.conv": {"requested": 0.25}})
        branch = branch.then(draft, "edited", 1.0)
    path = history.save(tmp_path, branch, "model")
    assert path.stat().st_size < 60_000
    assert history.load(path, "model") == branch


def test_files_of_another_model_are_passed_over_and_others_refused(tmp_path: Path):
    path = history.save(tmp_path, Branch("b"), "model")
    assert history.load(path, "another") is None
    for text in ("{", "[]", '{"schema": 99}', '{"schema": 1, "name": "b", "note": "", "position": 0, "steps": []}'):
        path.write_text(text)
        with pytest.raises(StorageError):
            history.load(path, "model")


def test_file_names_are_ours_and_branches_are_few_enough_to_be_listed(tmp_path: Path):
    assert history.new_file(tmp_path, "../../etc/passwd") == "etc-passwd"
    assert history.new_file(tmp_path, "Current") != "current"
    for number in range(MOST):
        branch = Branch(f"try {number}", file=history.new_file(tmp_path, "try"))
        history.save(tmp_path, branch, "model")
    assert len(history.files(tmp_path)) == MOST
    with pytest.raises(StorageError, match="delete one"):
        history.new_file(tmp_path, "one more")
