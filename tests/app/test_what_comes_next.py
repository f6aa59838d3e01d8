"""What is damaged or of another comb is said, counts as not done, and leaves a way on; the run in view is the one shown."""

from __future__ import annotations

import pytest
import synthetic
from finished_runs import finish
from live_run import started

from cpd.runs.project import create_project, project_folder


def texts(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind))


def primary(at) -> list[str]:
    """Buttons that stand out."""
    return [button.label for button in at.button if button.proto.type == "primary" and not button.disabled]


def test_a_damaged_score_table_is_said_and_the_others_are_shown(open_page, project, home):
    made = project(scored=("l2", "taylor"))
    damaged = project_folder(home, made.id) / "scores" / "taylor.json"
    damaged.write_text(damaged.read_text()[:100])
    at = open_page("importance", project=made.id)
    assert not at.exception
    assert "taylor.json" in texts(at, "error")
    assert at.segmented_control(key="criterion").options == ["L2 magnitude"]
    assert primary(at) == ["Next: Sensitivity"]
    for page in ("sensitivity", "plan"):  # they need scores, too
        assert not (other := open_page(page, project=made.id)).exception
        assert "taylor.json" not in texts(other, "error")


def test_results_of_another_comb_count_as_not_done(open_page, project, home):
    made = project(scored=("l2",))
    folder = project_folder(home, made.id)
    synthetic.sensitivity_table(synthetic.chain()).save(folder / "sensitivity.json")
    assert "4 of 6 steps done" in texts(open_page("importance", project=made.id), "caption")
    synthetic.chain((8, 8)).save(folder)
    at = open_page("importance", project=made.id)
    assert "The scores were made of another comb" in texts(at, "markdown")
    assert "2 of 6 steps done · this is the next" in texts(at, "caption")
    assert primary(at) == ["Score"]
    assert primary(open_page("sensitivity", project=made.id)) == ["Scan"]


def test_a_run_whose_result_is_damaged_keeps_its_curves_and_every_screen_a_way_on(open_page, project, home):
    made, record = project(), synthetic.chain()
    run = finish(home, made, record, "distill-a")
    result = home / "runs" / run / "result.json"
    result.write_text(result.read_text()[:200])
    at = open_page("run", project=made.id)
    assert not at.exception
    assert "result.json" in texts(at, "error")
    assert len(at.get("plotly_chart")) > 4
    for page in ("compare", "present"):
        at = open_page(page, project=made.id)
        assert "result.json" in texts(at, "error")
        assert primary(at) == ["Go to Run"]


def test_runs_of_other_projects_are_offered_and_not_taken_for_ones_own(open_page, project, home):
    made, record = project(), synthetic.chain()
    run = finish(home, made, record, "distill-a")
    other = create_project(home, "other", "timm:chain", data=made.data)
    record.save(project_folder(home, other.id))
    at = open_page("compare", project=other.id)
    assert "No run of this project has finished" in texts(at, "markdown")
    assert at.multiselect(key="compare.runs").value == []
    at.multiselect(key="compare.runs").set_value([run]).run()
    assert not at.exception
    assert primary(at) == ["Next: Present"]


@pytest.mark.parametrize("page", ["run", "compare", "present"])
def test_the_run_that_a_screen_shows_is_named_beside_it(page, open_page, project, home):
    made, record = project(), synthetic.chain()
    assert "distill" not in texts(open_page(page, project=made.id).sidebar, "caption")
    finish(home, made, record, "distill-a")
    assert "distill-a" in texts(open_page(page, project=made.id).sidebar, "caption").replace("\\", "")


def test_while_a_run_goes_on_it_is_in_view_and_what_follows_it_waits(open_page, project, home):
    made = project()
    run = started(home, made)
    at = open_page("run", project=made.id)
    assert run in texts(at.sidebar, "caption").replace("\\", "")
    assert primary(at) == []
    assert at.button(key="onward").label == "Next: Compare"
    assert "The first run is under way" in texts(open_page("present", project=made.id), "markdown")
