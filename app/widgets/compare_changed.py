"""What pruning changed in the answers: images that flipped, classes that gained or lost, and confusions that appeared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from app import finished, state
from app.charts.attribution import picture
from app.charts.frame import tools
from app.compare import Entry
from app.numbers import percent, plural
from app.plain import plain
from app.widgets import chrome
from app.widgets.compare_when import Changed, when_changed, when_view
from app.widgets.compare_when_pixels import PixelsChanged, when_pixels_changed, when_pixels_view
from app.widgets.told import on_screen
from cpd.errors import CpdError
from cpd.measure.answers import Answers, Labelled
from cpd.measure.metrics import words
from cpd.report import charts

LOST, WON, OTHER = "right to wrong", "wrong to right", "one wrong answer to another"
_MANY = 12  # pictures at first


def changed_view(each: Entry) -> None:
    """All of it for one run."""
    st.subheader(f"What changed in {each.letter} against the dense model", anchor=False)
    try:
        answers = each.run.answers
        differences = finished.class_differences(each.id) if answers is not None else []
    except CpdError as error:
        st.error(str(error), icon=":material/error:")
        return
    if answers is None:
        chrome.note(
            "This run kept no answers", "It is of an earlier version, or its task has no classes; run it again to see what flipped.", "image_not_supported"
        )
        return
    st.markdown(" ".join(flips_in_words(answers)))
    since = when_changed(each.run, answers) if isinstance(answers.dense, Labelled) else when_pixels_changed(each.run, answers)
    pictures(each, answers, since)
    if isinstance(since, PixelsChanged):
        when_pixels_view(each, since)
    elif since is not None:
        when_view(each, since)
    metric = words(answers.metric)
    left, right = st.columns([3, 2], gap="medium")
    with left.container(border=True, height="stretch"):
        st.markdown(f"**{metric.per or metric.noun} of every class**", help=metric.about)
        if differences:
            clear = sum(change.is_clear for _, change in differences)
            st.plotly_chart(on_screen(charts.per_class(differences, metric.per or metric.noun.lower()), state.is_dark()), key=f"compare.classes.{each.id}",
                            config=tools(), alt="Change of every class with its 95 % interval")  # fmt: skip
            st.caption(f"Change with its 95 % interval. {clear} of {plural(len(differences), 'class', 'classes')} changed by more than chance explains; with "
                       "this many classes about one in twenty would seem to by chance alone.")  # fmt: skip
    with right.container(border=True, height="stretch"):
        what = "Images" if isinstance(answers.dense, Labelled) else "Pixels"
        st.markdown("**Confusions that appeared**", help=f"{what} of one class that are taken for another more often than by the dense model.")
        rows = answers.new_confusions(12)
        if rows:
            frame = pd.DataFrame([{"Is": a, "Taken for": b, "Dense": before, "Pruned": after, "More": after - before} for a, b, before, after in rows])
            if since is not None:
                found = [since.of_confusion(a, b) for a, b, _, _ in rows]
                frame["Since step"], frame["After"] = [step for step, _ in found], [cut for _, cut in found]
            st.dataframe(frame, hide_index=True, alt="Confusions that grew, largest first")
            st.caption(f"{what} of the class, before and after.")
        else:
            st.caption("None: no class is taken for another more often than before.")


def flips_in_words(answers: Answers) -> list[str]:
    """How many answers differ, and in which way."""
    if not isinstance(answers.dense, Labelled):
        return [
            f"On average **{percent(float(answers.flipped.mean()))}** of an image's pixels get another answer, over {plural(answers.images, 'held-out image')}."
        ]
    kinds = ways(answers)
    total = int(answers.flipped.sum())
    if not total:
        return [f"All {answers.images:,} held-out images get the same answer."]
    counted = [(int((kinds == kind).sum()), kind) for kind in (LOST, WON, OTHER)]
    return [f"**{plural(total, 'image')}** of {answers.images:,} {'gets' if total == 1 else 'get'} another answer ({percent(total / answers.images)}): "
            + ", ".join(f"{number} from {kind}" for number, kind in counted if number) + "."]  # fmt: skip


def ways(answers: Answers) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    """(N,) how each image's answer changed, "" where it did not."""
    assert isinstance(answers.dense, Labelled)
    assert isinstance(answers.pruned, Labelled)
    was, now = answers.dense.answer == answers.targets, answers.pruned.answer == answers.targets
    same = answers.dense.answer == answers.pruned.answer
    return np.select([same, was & ~now, now & ~was], ["", LOST, WON], OTHER)


def pictures(each: Entry, answers: Answers, since: Changed | PixelsChanged | None = None) -> None:
    """Images whose answer changed, with what both networks say."""
    flipped = [(place, int(number)) for place, number in enumerate(answers.shown) if answers.flipped[number] > 0]
    if not flipped:
        return
    kinds = ways(answers) if isinstance(answers.dense, Labelled) else None
    if kinds is not None:
        found = [kind for kind in (LOST, WON, OTHER) if any(kinds[number] == kind for _, number in flipped)]
        key = f"compare.way.{each.id}"
        if st.session_state.get(key) not in found:
            st.session_state[key] = found[0]
        way = st.segmented_control("Show images that went from", found, key=key, required=True) if len(found) > 1 else found[0]
        flipped = [(place, number) for place, number in flipped if kinds[number] == way]
    most = len(flipped) if st.session_state.get(f"compare.all.{each.id}") else _MANY
    with st.grid(6, gap="small", min_column_width=140):
        for place, number in flipped[:most]:
            with st.container(border=True, gap="xxsmall", horizontal_alignment="center"):
                st.image(picture(answers.pictures[place], side=112), width=112)
                for line in [*captions(answers, number), *(since.of_image(number) if since else [])]:
                    st.caption(line, text_alignment="center")
    with st.container(horizontal=True, vertical_alignment="center"):
        if len(flipped) > _MANY:
            st.toggle(f"Show all {len(flipped)}", key=f"compare.all.{each.id}")
        numbers = [number for _, number in flipped[:6]]
        if st.button("See what both networks look at", icon=":material/image_search:", key=f"compare.explain.{each.id}",
                     help="Heat maps of these images for both networks, on the Importance screen: press Explain there."):  # fmt: skip
            explain(each, numbers)
    kept = int((answers.flipped > 0).sum())
    if kept > len(answers.shown):
        st.caption(f"The run kept pictures of {len(answers.shown)} images, those that changed most first; {kept} changed in all.")


def explain(each: Entry, numbers: Sequence[int]) -> None:
    """On to the heat maps, with this run and these images filled in."""
    st.session_state["importance.view"] = "images"
    st.session_state["explain.compared"] = each.id
    st.session_state["explain.wanted"] = ", ".join(map(str, numbers))
    st.session_state[state.PROJECT] = each.project.id
    st.switch_page(chrome.page_path("importance"), query_params={state.PROJECT: each.project.id})


def captions(answers: Answers, number: int) -> list[str]:
    """What an image is, and what each network says of it."""
    if not (isinstance(answers.dense, Labelled) and isinstance(answers.pruned, Labelled)):
        return [f"no. {number}", f"{percent(float(answers.flipped[number]))} of its pixels"]
    is_ = int(answers.targets[number])

    def says(found: Labelled) -> str:
        answer = int(found.answer[number])
        colour = "green" if answer == is_ else "orange"
        return f":{colour}[{plain(answers.classes[answer])}], {percent(float(found.confidence[number]), 0)}"

    return [f"no. {number}, is **{plain(answers.classes[is_])}**", f"dense {says(answers.dense)}", f"pruned {says(answers.pruned)}"]
