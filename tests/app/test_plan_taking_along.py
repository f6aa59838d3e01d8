"""Plans as files: brought where they fit, refused with what differs where they do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import synthetic
from plan_page import A, B, C, D, edit, saved, texts

from cpd.prune.plan import GroupPlan, uniform_plan


def test_a_plan_can_be_brought_and_another_models_plan_is_refused_group_by_group(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Files").run()
    other = uniform_plan(synthetic.chain((8, 24)), 0.5)
    other = replace(other, groups=(*other.groups, GroupPlan("neck", 4, (0, 1))))
    at.file_uploader(key="plan.upload").upload("other.json", other.to_json().encode()).run()
    assert not at.exception
    assert "made for another model" in texts(at, "error")
    assert dict(zip(at.dataframe[0].value["Group"], at.dataframe[0].value["Difference"], strict=True)) == {
        B: "24 units in the plan, 16 in the model", "neck": "the model has no such group",
        C: "the plan does not name it", D: "the plan does not name it",
    }  # fmt: skip
    assert saved(home, made).ratios[A] == 0.25
    at.file_uploader(key="plan.upload").upload("mine.json", uniform_plan(record, 0.5).to_json().encode()).run()
    assert not texts(at, "error")
    assert set(saved(home, made).ratios.values()) == {0.5}
    at.button(key="plan.undo").click().run()
    assert saved(home, made).ratios[A] == 0.25


def test_units_that_the_scores_here_choose_otherwise_are_pointed_out(open_page, project, home):
    record = synthetic.chain()
    made = project(record)
    at = open_page("plan", project=made.id, view="Files")
    plan = uniform_plan(record, 0.5)
    first = replace(plan.groups[0], keep=(4, 5, 6, 7))
    at.file_uploader(key="plan.upload").upload("mine.json", replace(plan, groups=(first, *plan.groups[1:])).to_json().encode()).run()
    assert f"1 group of mine.json: the ratios are the file's, the units are chosen anew by this project's scores and locks, and differ from the file's ({A}" in texts(at, "caption")


@pytest.mark.parametrize(
    "content, error",
    [(b'{"schema": 1, "groups": 3}', "not a pruning plan"), (b"\xff\xfe", "not a pruning plan"), (b'{"schema": 99}', "another plan schema")],
)
def test_an_upload_that_is_no_plan_is_refused(open_page, project, home, content, error):
    made = project()
    at = open_page("plan", project=made.id)
    edit(at, (0, {"requested": 25.0}))
    at.segmented_control(key="view").set_value("Files").run()
    at.file_uploader(key="plan.upload").upload("plan.json", content).run()
    assert not at.exception
    assert error in texts(at, "error")
    assert saved(home, made).ratios[A] == 0.25
