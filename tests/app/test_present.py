"""Present and the hand-over panel: what a run's story says on screen, and what may be called verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from finished_runs import finish

from app.plain import plain
from app.widgets.handing import forms_table, mark, unsteady
from cpd.export.result import FormParity, Handover
from cpd.measure.measurement import Latency
from cpd.report.appendix import appendix
from cpd.report.story import tell
from cpd.runs import control
from cpd.runs.finished import read_finished
from cpd.runs.store import Store
from cpd.runs.workspace import database

RUN = "distill-a"


@pytest.fixture
def told(home, project):
    record = synthetic.chain()
    made = project(record)
    finish(home, made, record, RUN, lost=range(20), won=range(950, 960))
    return made


def texts(at, *kinds: str) -> str:
    return "\n".join(str(element.value) for kind in kinds for element in getattr(at, kind)).replace("\\", "").replace("\u00a0", " ")


def handover(*forms: FormParity) -> Handover:
    rows = (Latency(1, 4.0, 3.9, 4.4, 30, 1),)
    return Handover(RUN, "timm:chain", "top1", 512, "images", 0.94, rows, rows, forms, "a small machine", "2.13.0", "2026-01-01T00:00:00Z")


def form(name: str, verified: bool, reason: str = "") -> FormParity:
    rows = (Latency(1, 2.5, 2.4, 2.9, 30, 1),)
    return FormParity(name, (f"model.{name}",), 4000, 3e-6, 10.0, 1.0, 0.94, rows, verified, reason)


def hand(home: Path, made, found: Handover | None, state: str = "finished", error: str = "") -> str:
    """A hand-over as its worker would have left it."""
    book, name = Store(database(home)), "export-1"
    book.add(name, made.spec("export", options={"run": RUN}))
    book.launch(name)
    book.begin(name)
    (home / "runs" / name).mkdir()
    if found is not None:
        (home / "runs" / name / "result.json").write_text(json.dumps(found.to_dict() | {"run": RUN}))
        (home / "runs" / name / "handover.zip").write_bytes(b"x" * 2048)
    if state != "running":
        book.finish(name, state, error)
    return name


# The story -----------------------------------------------------------------------------------------------------------


def test_five_steps_with_the_numbers_of_the_run(open_page, told):
    at = open_page("present", project=told.id)
    assert not at.exception
    said = texts(at, "caption")
    assert all(f"{number} · " in said for number in range(1, 6))
    numbers = [element.value.replace("\\", "").replace("\u00a0", " ") for element in at.title[1:]]
    assert "95.0 %" in numbers
    assert ":orange[−1.0 points]" in numbers or "−1.0 points" in numbers
    assert ":green[2.00×]" in numbers
    assert "30 images of 1,000 get another answer than before: 20 went from right to wrong, 10 from wrong to right." in texts(at, "markdown")


def test_the_story_alone_offers_nothing_to_change(open_page, told):
    at = open_page("present", project=told.id, run=RUN, view="present")
    assert not at.exception
    for kind in ("button", "selectbox", "text_input", "toggle", "multiselect"):
        assert len(getattr(at, kind)) == 0
    for kind in ("download_button", "page_link"):
        assert len(at.get(kind)) == 0
    assert at.title[0].value == "bench"


def test_without_a_finished_run_it_says_what_is_missing(open_page, project):
    at = open_page("present", project=project().id)
    assert not at.exception
    assert "Nothing to tell yet" in texts(at, "markdown")


def test_a_damaged_run_is_said_in_a_line(open_page, told, home):
    (home / "runs" / RUN / "result.json").write_text("{}")
    at = open_page("present", project=told.id)
    assert not at.exception
    assert "lacks dense" in texts(at, "error")


def test_names_are_text_and_not_marks():
    assert plain("a_b *c* $d$ :red[e]\nf") == r"a\_b \*c\* \$d\$ \:red\[e\] f"


# The hand-over -------------------------------------------------------------------------------------------------------


def test_the_button_queues_what_was_chosen(open_page, told, home):
    at = open_page("run", project=told.id, run=RUN)
    assert not at.exception
    at.toggle(key=f"handing.compiled.{RUN}").set_value(True)
    at.button(key=f"handing.go.{RUN}").click().run()
    assert not at.exception
    queued = Store(database(home)).list_runs(told.id, ("export",))
    assert [run.spec.options for run in queued] == [{"run": RUN, "formats": ["loader", "onnx", "pt2"], "compiled": True}]
    assert "Handing over" in "\n".join(str(element.proto.text) for element in at.get("progress"))


def test_verified_is_said_of_what_is(open_page, told, home):
    hand(home, told, handover(form("loader", True), form("onnx", True)))
    at = open_page("run", project=told.id, run=RUN)
    assert not at.exception
    assert "every file verified" in texts(at, "markdown")
    table = next(element.value for element in at.dataframe if "Verified" in element.value)
    assert list(table["Verified"]) == ["✓ verified", "✓ verified", "", ""]
    assert list(table["Batch 1"]) == ["2.50 ms", "2.50 ms", "4.00 ms", "4.00 ms"]
    assert table["Largest difference"][0] == "3.0e-06"
    assert any("handover.zip" in element.proto.label for element in at.get("download_button"))


def test_verified_is_never_said_of_what_is_not(open_page, told, home):
    hand(home, told, handover(form("loader", True), form("onnx", False, "outputs differ by 0.3 of 10")))
    at = open_page("run", project=told.id, run=RUN)
    assert not at.exception
    assert "every file verified" not in texts(at, "markdown")
    assert "not verified: ONNX" in texts(at, "markdown")
    assert "outputs differ by 0.3 of 10" in texts(at, "warning")
    table = next(element.value for element in at.dataframe if "Verified" in element.value)
    assert list(table["Verified"])[:2] == ["✓ verified", "✗ not verified"]
    assert list(table["Why not"])[1] == "outputs differ by 0.3 of 10"


def test_what_is_only_timed_claims_nothing():
    compiled = replace(form("compiled", False, "timed only"), files=())
    assert mark(compiled) == "timed only"
    assert "verified" not in mark(replace(compiled, latency=()))
    assert list(forms_table(handover(form("pt2", True)))["Form"]) == ["torch.export", "the pruned model, eager", "the dense model, eager"]


def test_times_of_a_busy_machine_are_called_so():
    steady = handover(form("pt2", True))
    assert not unsteady(steady)
    assert unsteady(replace(steady, eager=(Latency(1, 4.0, 3.0, 5.1, 30, 1),)))


def test_a_failed_hand_over_says_why_and_can_be_made_again(open_page, told, home):
    hand(home, told, None, "failed", "out of disk: free 20 MB.")
    at = open_page("run", project=told.id, run=RUN)
    assert not at.exception
    assert "out of disk: free 20 MB." in texts(at, "error")
    assert not at.button(key=f"handing.go.{RUN}").disabled


def test_the_story_tells_the_memory_and_the_report_the_note(told, open_page, home):
    """Weights at four bytes and 1,000 bytes an image, of 32 images: 32 kB and a quarter of the weights, about."""
    control.annotate(home, RUN, "the gentle one")
    at = open_page("present", project=told.id)
    assert "memory while it works, 32 images at a time" in texts(at, "caption")
    left, whole = (4 * synthetic.parameters_by_hand(widths) + 32_000 for widths in ((4, 8, 8, 16), (8, 16, 16, 32)))
    assert f"{left / 1e3:.1f} kB" in texts(at, "title")
    assert f"{round(100 * left / whole)}% of the original" in texts(at, "caption").replace(" %", "%")
    rows = {row[0]: row[1] for table in appendix(tell(read_finished(home / "runs" / RUN))) if table.title == "Settings" for row in table.rows}
    assert rows["note"] == "the gentle one"
