"""What the model looks at: heat maps of held-out images, dense beside pruned, chosen by thumbnail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import engine, state, who
from app.charts.attribution import heat_maps, picture
from app.numbers import duration, percent, plural
from app.widgets import chrome
from app.widgets.jobs import TICK_S, last_failure, progress_line
from cpd.attribution.methods import METHODS
from cpd.attribution.record import DENSE, PRUNED, Answer, Attribution, Explained, load_arrays
from cpd.errors import CpdError
from cpd.importance.stability import rank_correlation
from cpd.prune.plan import Plan
from cpd.runs.project import Project

KIND = ("attribute",)
FOLDER = "attributions"
ALONE, PLAN = "dense", "plan"  # what stands beside the dense model, besides a run's id
ERROR, NUMBER = "explain.error", "explain.number"
DEFAULT = ("gradcam", "integrated")


def explained_view(project: Project, comb: state.Combed) -> None:
    """Settings, progress, thumbnails and heat maps."""
    if not project.data:
        chrome.note("This project has no data", "Heat maps are of held-out images; name data on the Start screen.", "image_not_supported")
        return
    plan = state.plan(project, comb)
    beside = choices(project, plan)
    with st.container(border=True):
        chooser(project, plan, beside)
    compared = st.session_state["explain.compared"]
    running = bool(engine.active(project, KIND))

    @st.fragment(run_every=TICK_S if running else None, key=f"explain.{running}")
    def panel() -> None:
        now = engine.active(project, KIND)
        if bool(now) != running:
            st.rerun()
        for run in now:
            progress_line(run)
        if not now:
            last_failure(project, KIND)
        found = attribution(project, compared)
        if isinstance(found, CpdError):
            st.error(str(found), icon=":material/error:")
        elif found is None or not found.images:
            if not now:
                chrome.note("No image has been explained", "Choose what to compare and press Explain: images whose answer changes come first. It runs in the "
                            "background, some seconds for the built-in demos.", "image_search")  # fmt: skip
        elif found.model != comb.record.model:
            chrome.note("These heat maps are of another comb", "The model has changed since; explain the images again.", "sync_problem")
        else:
            _stale(found, plan)
            _images(state.folder(project) / FOLDER / compared, found)

    panel()


def choices(project: Project, plan: Plan | None) -> dict[str, str]:
    """What the dense model can be compared with, under names for people."""
    found = {}
    if plan is not None and any(row.granted for row in plan.groups):
        found[PLAN] = "the current plan's cut, without training"
    for run in engine.runs(project, ("distill",)):
        if run.state == "finished":
            found[run.id] = f"what run {run.id} handed over"
    return found | {ALONE: "nothing, the dense model alone"}


def chooser(project: Project, plan: Plan | None, beside: Mapping[str, str]) -> None:
    """What to compare, how, and on which images."""
    keep: dict[str, Any] = {"persist_state": "session"}
    if st.session_state.get("explain.compared") not in beside:
        st.session_state["explain.compared"] = next(iter(beside))
    st.session_state.setdefault("explain.methods", list(DEFAULT))
    a, b, c, d, go = st.columns([5, 5, 2, 3, 2], gap="small", vertical_alignment="bottom")
    a.selectbox("Beside the dense model", list(beside), key="explain.compared", format_func=lambda name: beside.get(name, name), **keep)
    b.multiselect("Methods", list(METHODS), key="explain.methods", format_func=lambda name: METHODS[name].title, **keep,
                  help="\n".join(f"- **{method.title}**: {method.text}" for method in METHODS.values()))  # fmt: skip
    c.number_input("Images", 1, 200, 12, 4, key="explain.images", **keep, help="Half of them those whose answer changes most, the others from every class in turn.")
    d.text_input("Also these", key="explain.wanted", placeholder="numbers: 3, 17", **keep, help="Numbers of held-out images, counted from 0.")
    go.button("Explain", icon=":material/image_search:", key="explain.go", width="stretch", on_click=submit, args=(project, plan),
              disabled=bool(engine.active(project, KIND)) or not st.session_state["explain.methods"] or who.looks_on())  # fmt: skip
    if ERROR in st.session_state:
        st.error(st.session_state.pop(ERROR), icon=":material/error:")


def submit(project: Project, plan: Plan | None) -> None:
    """Queue the work as the form says; what does not fit is said beside it."""
    compared = st.session_state["explain.compared"]
    typed = st.session_state.get("explain.wanted") or ""
    try:
        wanted = [int(word) for word in typed.replace(",", " ").split()]
        if any(number < 0 for number in wanted):
            raise ValueError
    except ValueError:
        st.session_state[ERROR] = f"{typed!r}: name images by their numbers, such as 3, 17."
        return
    options: dict[str, Any] = {
        "compared": compared, "methods": st.session_state["explain.methods"], "images": int(st.session_state["explain.images"]), "wanted": wanted,
    }  # fmt: skip
    if compared == PLAN and plan is not None:
        options["plan"] = json.loads(plan.to_json())
    try:
        engine.submit(project, "attribute", options)
    except CpdError as error:
        st.session_state[ERROR] = str(error)


# What was found ------------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=16, show_spinner=False)
def _attribution(mark: state.Stamp) -> Attribution:
    return Attribution.load(Path(mark[0]).parent)


def attribution(project: Project, compared: str) -> Attribution | CpdError | None:
    """What the newest comparison found so far, None before the first, or why it cannot be read."""
    mark = state.stamp(state.folder(project) / FOLDER / compared / "index.json")
    try:
        return None if mark is None else _attribution(mark)
    except CpdError as error:
        return error


@st.cache_data(max_entries=512, show_spinner=False)
def _thumbnail(mark: state.Stamp, number: int) -> str:
    return picture(load_arrays(Path(mark[0]).parent, number)["image"], side=64)


def _stale(found: Attribution, plan: Plan | None) -> None:
    if found.plan and (plan is None or plan.digest != found.plan):
        st.warning("The plan has changed since: these heat maps are of the plan as it was. Press Explain to follow it.", icon=":material/update:")


def _images(folder: Path, found: Attribution) -> None:
    """Thumbnails left, the chosen image's heat maps right."""
    numbers = [image.number for image in found.images]
    chosen = st.session_state.get(NUMBER)
    chosen = chosen if chosen in numbers else numbers[0]
    left, right = st.columns([3, 5], gap="medium")
    with left:
        both = PRUNED in found.images[0].answers
        said = f" · the answer changes on {found.changed} of {found.looked} looked at" if both else f" · of {found.looked} looked at"
        st.markdown(f"**{plural(len(numbers), 'image')}**{said if found.done else ', more to come'}")
        rows = []
        for image in found.images:
            mark = state.stamp(folder / f"{image.number}.npz")
            row = {"image": _thumbnail(mark, image.number) if mark else "", "number": image.number, "is": _class(found, image.label)}
            row |= {name: _class(found, answer.top[0][0]) for name, answer in image.answers.items()}
            rows.append(row)
        key = f"explain.table.{found.compared}.{len(numbers)}"
        st.dataframe(
            pd.DataFrame(rows), key=key, hide_index=True, row_height=52, height=min(720, 38 + 52 * len(rows)), on_select=lambda: _pick(numbers, key),
            selection_mode="single-row", selection_default={"selection": {"rows": [numbers.index(chosen)], "columns": []}},
            column_config={"image": st.column_config.ImageColumn("Image", width=60), "number": st.column_config.NumberColumn("No.", width=44),
                           "is": "Is", DENSE: "Dense says", PRUNED: "Pruned"},
            alt="Held-out images with their class and what each network says",
        )  # fmt: skip
        st.caption("Click a row to look at it.")
    with right.container(border=True):
        _heat(folder, found, found.images[numbers.index(chosen)])
    took = f" · took {duration(found.seconds)}" if found.done else ""
    st.caption(f"Grad-CAM reads {found.layer or 'no layer: no activation of this model lies on a grid'}{took}. Every map explains the dense model's answer, in both networks.")


def _pick(numbers: list[int], key: str) -> None:
    rows = st.session_state[key].selection.rows
    if rows:
        st.session_state[NUMBER] = numbers[rows[0]]


def _heat(folder: Path, found: Attribution, image: Explained) -> None:
    """One image: what each network says, and on which pixels it rests."""
    target = _class(found, image.target)
    part = "" if image.share == 1 else f", on the {percent(image.share)} of the pixels where the dense model sees it"
    st.markdown(f"**Image {image.number}** · what speaks for {target}{part}")
    methods = [name for name in found.methods if name in METHODS]
    pick, scale = st.columns([4, 2], gap="small", vertical_alignment="center")
    method = pick.segmented_control("Method", methods, key="explain.method", default=methods[0], required=True, label_visibility="collapsed",
                                    format_func=lambda name: METHODS[name].title) or methods[0]  # fmt: skip
    if method not in methods:
        method = methods[0]
    try:
        arrays = load_arrays(folder, image.number)
    except CpdError as error:
        st.error(str(error), icon=":material/error:")
        return
    maps = {name: arrays[f"{method}.{name}"] for name in image.answers if f"{method}.{name}" in arrays}
    if not maps:
        st.info("No activation of this model lies on a grid over the image, so there is no Grad-CAM; the other methods work on the pixels.", icon=":material/info:")
        return
    shared = scale.toggle("One colour scale", True, key="explain.shared", persist_state="session",
                       help="Off: each map gets its full range, which shows where a weak one looks but not how weak it is.")  # fmt: skip
    titles = {name: _says(found, name, image.answers[name]) for name in maps}
    drawn = {titles[name]: values for name, values in maps.items()}
    st.plotly_chart(heat_maps(arrays["image"], drawn, signed=METHODS[method].signed, difference="pruned − dense", shared=shared, dark=state.is_dark()),
                    key="explain.maps", config={"displayModeBar": False}, alt=f"Image {image.number} and {METHODS[method].title} of each network")  # fmt: skip
    for line in facts(found, image, method, maps):
        st.caption(line)


def facts(found: Attribution, image: Explained, method: str, maps: Mapping[str, np.ndarray[Any, Any]]) -> list[str]:
    """What the maps come to in numbers: answers, agreement, and how well the pixels add up."""
    lines = []
    for name, answer in image.answers.items():
        others = ", ".join(f"{_class(found, c)} {percent(p)}" for c, p in answer.top)
        lines.append(f"**{name.capitalize()}**: {others}. Score of {_class(found, image.target)}: {answer.score:.2f}.")
    if DENSE in maps and PRUNED in maps:
        alike = rank_correlation(maps[DENSE].reshape(-1), maps[PRUNED].reshape(-1))
        if alike == alike:
            word = "look at the same places" if alike > 0.7 else "look at partly different places" if alike > 0.3 else "look at different places"
            lines.append(f"The two networks {word}: rank correlation of their maps {alike:.2f}.")
    gaps = {name: image.gaps[f"{method}.{name}"] for name in maps if f"{method}.{name}" in image.gaps}
    if gaps:
        said = " and ".join(f"{percent(gap)} ({name})" for name, gap in gaps.items())
        lines.append(f"Completeness: the pixels miss the change of the score by {said}" + ("; more steps would mend that." if max(gaps.values()) > 0.1 else "."))
    return lines


def _says(found: Attribution, name: str, answer: Answer) -> str:
    return f"{name}: {_class(found, answer.top[0][0])} ({percent(answer.top[0][1], 0)})"


def _class(found: Attribution, number: int) -> str:
    return found.classes[number] if 0 <= number < len(found.classes) else "–"
