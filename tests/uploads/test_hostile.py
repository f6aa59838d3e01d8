"""A campaign: files made to do harm, or broken. None runs, none ends the checker, each is refused in one line."""

from __future__ import annotations

import io
import itertools
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import hostile_archives as zips
import hostile_weights as tensors
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cpd.errors import CpdError
from cpd.uploads import limits
from cpd.uploads.child import ask as ask_child
from cpd.uploads.receive import Data, Weights, receive_data, receive_weights

MARK = "/mark"  # beside the project's folder; payloads hold its full path
Case = tuple[str, str, bytes]
Receive = Callable[[str, io.BytesIO, Path], Weights | Data]


def weights_cases(mark: str) -> list[Case]:
    return list(itertools.chain(tensors.pickled(mark), tensors.state_dicts(), tensors.forged(), tensors.bundles(), tensors.misnamed()))


def archive_cases() -> list[Case]:
    return list(itertools.chain(zips.archives(), zips.sets(), zips.images()))


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refusals(cases: list[Case], receive: Receive, project: Path) -> dict[str, str]:
    """What is wrong with how each case was met; empty when all were refused as they should be."""
    home = project.parents[2]
    before, wrong = below(home), {}
    (project / "uploads").mkdir(mode=0o700)
    expected = sorted([*before, str((project / "uploads").relative_to(home))])
    for what, name, data in cases:
        try:
            wrong[what] = f"taken: {receive(name, io.BytesIO(data), project)}"
            for path in (project / "uploads").iterdir():  # the next case begins as this one did
                path.rename(home / f"taken-{len(wrong)}")
            expected = below(home)
        except CpdError as error:
            text = str(error)
            if len(text.splitlines()) != 1 or len(text) > 420 or not text.isprintable() or str(home) in text or ".tmp-" in text or "incoming" in text:
                wrong[what] = f"said badly: {text!r}"
        if below(home) != expected:
            wrong[what] = f"left behind: {sorted(set(below(home)) - set(expected))}"
    return wrong


@pytest.fixture
def watched(warm, monkeypatch):
    """Checkers that are forked, and how each ended."""
    monkeypatch.setattr("cpd.uploads.receive.ask", warm)
    warm.ends.clear()
    return warm.ends


def test_weights_that_do_harm_or_are_broken(project, watched, tmp_path):
    mark = f"{tmp_path}{MARK}"
    assert refusals(weights_cases(mark), receive_weights, project) == {}
    assert not Path(mark).exists()
    assert {code for code, _ in watched} == {3}  # said no by itself: no signal, no traceback


def test_archives_that_do_harm_or_are_broken(project, watched):
    assert refusals(archive_cases(), receive_data, project) == {}
    assert {code for code, _ in watched} == {3}


def test_there_are_two_hundred_and_each_is_another():
    every = [*weights_cases("mark"), *archive_cases()]
    assert len({(name, data) for _, name, data in every}) == len(every) >= 200


@pytest.mark.parametrize("name", [name for name in tensors.payloads("x") if name not in ("__import__", "code")])
def test_the_payloads_would_run_where_nothing_stops_them(name, tmp_path):
    """Else the campaign would show nothing."""
    mark = tmp_path / "mark"
    loaded = pickle.loads(pickle.dumps(tensors.payloads(str(mark))[name], 2))
    if hasattr(loaded, "wait"):
        loaded.wait(30)
    if hasattr(loaded, "close"):
        loaded.close()
    assert os.path.lexists(mark)


def test_what_the_forgeries_are_made_from_is_taken(project, watched):
    """Each refusal is for what was forged, not for how the file was made."""
    values = np.arange(6, dtype=np.float32)
    taken = receive_weights("w.pt", io.BytesIO(tensors.state_dict(values, shape=(2, 3), stride=(3, 1))), project)
    assert np.array_equal(load_file(taken.path)["w"], values.reshape(2, 3))
    assert receive_weights("w.safetensors", io.BytesIO(tensors.safetensors()), project).bundle == ""
    for cases in (zips.zipped(zips.CLASSES), zips.zipped(zips.CLASSES | {"__MACOSX/cat/._1.png": b"x", ".DS_Store": b"x", "read.me": b"x"})):
        (project / "uploads" / "data").rename(project / "before") if (project / "uploads" / "data").exists() else None
        data = receive_data("d.zip", io.BytesIO(cases), project)
        assert (data.images, data.classes) == (2, ("cat", "dog"))
    assert data.left_out == 1
    assert {code for code, _ in watched} == {0}


def test_what_torch_itself_saves_is_taken_to_the_bit(project, watched):
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 5), nn.Linear(5, 5))
    net[3].weight = net[2].weight  # tied
    net[2].bias.data = net[2].bias.data.to(torch.bfloat16)
    state = {name: value.float().numpy() for name, value in net.state_dict().items()}
    forms = ((net.state_dict(), True), (net.state_dict(), False), ({"state_dict": net.state_dict(), "epoch": 3}, True), (dict(net.named_parameters()) | dict(net.named_buffers()), True))
    for saved, as_zip in forms:
        content = io.BytesIO()
        torch.save(saved, content, _use_new_zipfile_serialization=as_zip)
        content.seek(0)
        with safe_open(receive_weights("w.pth", content, project).path, framework="pt") as file:
            found = {name: file.get_tensor(name).float().numpy() for name in file.keys()}  # noqa: SIM118  not a dict
        assert set(found) == set(state) - ({"3.weight"} if saved is forms[3][0] else set())  # a parameter is named once
        assert all(np.array_equal(found[name], state[name]) for name in found)
    whole = io.BytesIO()
    torch.save(net, whole)
    whole.seek(0)
    with pytest.raises(CpdError, match="torch.nn.modules"):
        receive_weights("w.pth", whole, project)


@pytest.mark.parametrize(
    "name, data, why",
    [
        ("w.pt", tensors._saved(pickle.dumps(tensors.Call(os.system, "true"), 2)), "could run code"),
        ("w.safetensors", tensors.safetensors(length=1 << 62), "its header claims"),
        ("d.zip", zips.zipped(zips.CLASSES | {"../x.png": zips.PNG}), "leads outside its folder"),
        ("d.zip", zips.zipped(zips.CLASSES | {"cat/2.png": zips.png(60_000, 60_000)}), "more pixels than"),
    ],
)
def test_the_same_through_the_process_that_the_app_starts(project, name, data, why):
    receive = receive_data if name.endswith(".zip") else receive_weights
    with pytest.raises(CpdError, match=why):
        receive(name, io.BytesIO(data), project)


def test_too_large_is_refused_before_it_is_written_whole(project, monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return bytes(size)

    monkeypatch.setattr(limits, "WEIGHTS_MIB", 3)
    with pytest.raises(CpdError, match="larger than 3 MiB"):
        receive_weights("w.pt", Endless(), project)
    assert below(project) == ["uploads"]


HOG = "import sys; from cpd.uploads import fence; from pathlib import Path; fence.limit(64 << 20, 1, 1 << 20); fence.fence(Path(sys.argv[5])); "


@pytest.mark.parametrize(
    "what, seen",
    [
        ("x = bytearray(1 << 30)", "MemoryError"),
        ("exec('while True: pass')", "OutOfTime"),
        ("import os; os.system('touch ' + sys.argv[5] + '/mark')", "Forbidden"),
        ("import subprocess; subprocess.Popen(['true'])", "Forbidden"),
        ("import socket; socket.create_connection(('127.0.0.1', 1))", "Forbidden"),
        ("open('/tmp/cpd-fence-mark', 'w')", "Forbidden"),
        ("open(sys.argv[5] + '/../mark', 'w')", "Forbidden"),
        ("open(sys.argv[5] + '/big', 'wb').write(bytes(2 << 20))", "File too large"),
    ],
)
def test_the_fence_holds(tmp_path, what, seen):
    """Each limit, in a process that tries to break it."""
    import subprocess
    import sys

    folder = tmp_path / "stage"
    folder.mkdir()
    command = [sys.executable, "-B", "-c", HOG + what, "1", "2", "3", "4", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert seen in done.stderr
    assert not (folder / "mark").exists()
    assert not (tmp_path / "mark").exists()
    assert not Path("/tmp/cpd-fence-mark").exists()


def test_a_checker_that_dies_is_a_refusal(project, monkeypatch, tmp_path):
    """Killed from outside: as the kernel does when memory runs out."""
    shell = tmp_path / "python"
    shell.write_text("#!/bin/sh\necho '{\"made\": null, \"bundle\": null}'\nkill -9 $$\n")
    shell.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(shell))
    assert "refused" in ask_child("weights", tmp_path / "x", tmp_path)
    with pytest.raises(CpdError, match="more memory or time"):
        receive_weights("w.safetensors", io.BytesIO(tensors.safetensors()), project)
