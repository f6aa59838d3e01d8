"""Who may only look on is refused by the library itself, whichever function is asked."""

from __future__ import annotations

import ast
import inspect
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cpd import access
from cpd.access import AccessError, Person, Role
from cpd.runs import control, policy, project
from cpd.runs.journal import Journal
from cpd.runs.spec import RunSpec
from cpd.runs.states import States
from cpd.runs.store import Store
from cpd.runs.workspace import database, open_workspace
from cpd.uploads import bring, receive

ROOT = Path(__file__).resolve().parents[2]
SPEC = RunSpec("comb", "", "timm:resnet18")
WEIGHTS = ("w.safetensors", io.BytesIO(b"x"))


def ask(role: Role, name: str = "ann@example.org") -> None:
    access.ask_by(lambda: Person(name, role))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with a project, a waiting and a paused run, in a process that nobody else can ask anything of."""
    monkeypatch.setenv("CPD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("cpd.runs.supervisor.ensure", lambda *_: True)
    home = open_workspace(tmp_path / "home")
    project.create_project(home, "p", "timm:resnet18")
    with_store = Store(database(home))
    for name in ("waits", "pauses"):
        with_store.add(name, SPEC)
        (home / "runs" / name).mkdir()
    with_store.request_pause("pauses")
    with_store.close()
    yield home
    access.ask_by(None)


def everything(home: Path) -> dict[str, Any]:
    """All files below a folder, and all rows of the store."""
    files = {
        str(path.relative_to(home)): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not path.name.startswith("runs.db")
    }
    store = Store(database(home))
    rows = [store._read(f"SELECT * FROM {table}", ()) for table in ("runs", "metrics", "events")]
    store.close()
    return {"files": files, "folders": sorted(str(path) for path in home.rglob("*") if path.is_dir()), "rows": rows}


# Every public function of these changes something or only looks; a new one has to be put into one of the two lists.
CHANGES: dict[Any, dict[str, Callable[[Path], Any]]] = {
    control: {
        "submit": lambda root: control.submit(root, SPEC),
        "stop": lambda root: control.stop(root, "waits"),
        "pause": lambda root: control.pause(root, "waits"),
        "resume": lambda root: control.resume(root, "pauses"),
        "move": lambda root: control.move(root, "waits", 1),
        "annotate": lambda root: control.annotate(root, "waits", "a note"),
        "clone": lambda root: control.clone(root, "waits"),
        "roll_back": lambda root: control.roll_back(root, "waits", 1),
    },
    policy: {"set_parallel": lambda root: policy.set_parallel(root, 3)},
    project: {"create_project": lambda root: project.create_project(root, "q", "timm:resnet18")},
    receive: {
        "receive_weights": lambda root: receive.receive_weights(*WEIGHTS, root / "projects" / "p"),
        "receive_data": lambda root: receive.receive_data("d.zip", io.BytesIO(b"x"), root / "projects" / "p"),
    },
    bring: {"bringing": lambda root: bring.bringing("timm:resnet18", WEIGHTS, None)(root / "projects" / "p")},  # type: ignore[misc]
    States: {
        "add": lambda root: Store(database(root)).add("new", SPEC),
        "move": lambda root: Store(database(root)).move("waits", 1),
        "annotate": lambda root: Store(database(root)).annotate("waits", "a note"),
        "launch": lambda root: Store(database(root)).launch("waits"),
        "begin": lambda root: Store(database(root)).begin("waits"),
        "requeue": lambda root: Store(database(root)).requeue("waits", 0.0),
        "requeue_halved": lambda root: Store(database(root)).requeue_halved("waits", "", 0),
        "finish": lambda root: Store(database(root)).finish("waits", "failed"),
        "request_stop": lambda root: Store(database(root)).request_stop("waits"),
        "request_pause": lambda root: Store(database(root)).request_pause("waits"),
        "resume": lambda root: Store(database(root)).resume("pauses"),
        "roll_back": lambda root: Store(database(root)).roll_back("waits", 0),
        "got_further": lambda root: Store(database(root)).got_further("waits"),
    },
    Journal: {
        "advance": lambda root: Store(database(root)).advance("waits", [(0, "a", 1.0)]),
        "add_event": lambda root: Store(database(root)).add_event("waits", 0, "note", "x"),
        "rewind": lambda root: Store(database(root)).rewind("waits", 0),
        "copy_history": lambda root: Store(database(root)).copy_history("waits", "pauses", 0),
    },
}
LOOKS = {
    control: {"checkpoints"},
    policy: {"startable"},
    project: {"open_project", "list_projects", "project_folder", "names_the_machine"},
    receive: {"shown", "one_line"},
    bring: set(),
    States: {"run", "list_runs", "unfinished", "queue", "note", "close"},
    Journal: {"names", "metrics", "events", "close"},
}


def public(home: Any) -> set[str]:
    """Functions that a module defines, or methods that a class offers."""
    if isinstance(home, ModuleType):
        return {
            name
            for name, value in vars(home).items()
            if inspect.isfunction(value) and value.__module__ == home.__name__ and not name.startswith("_")
        }
    return {name for name, _ in inspect.getmembers(home, inspect.isfunction) if not name.startswith("_")}


@pytest.mark.parametrize("home", CHANGES, ids=lambda home: home.__name__)
def test_every_public_function_is_known_to_change_something_or_only_to_look(home):
    assert public(home) == CHANGES[home].keys() | LOOKS[home]


@pytest.mark.parametrize(
    ("home", "name"),
    [(home, name) for home, row in CHANGES.items() for name in row],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.parametrize("role", [Role.VIEWER, Role.NONE], ids=lambda role: role.name)
def test_who_looks_on_is_refused_and_nothing_changes(root, home, name, role):
    before = everything(root)
    ask(role)
    with pytest.raises(AccessError) as refused:
        CHANGES[home][name](root)
    assert "\n" not in str(refused.value)
    assert "sharing.toml" in str(refused.value)
    access.ask_by(None)
    assert everything(root) == before


def test_an_editor_may_do_all_that_and_the_command_line_too(root):
    ask(Role.EDITOR)
    run = control.submit(root, SPEC)
    control.pause(root, run)
    control.resume(root, run)
    assert control.stop(root, run).state == "stopped"
    with pytest.raises(AccessError, match="an owner"):
        policy.set_parallel(root, 3)
    access.ask_by(None)
    assert policy.set_parallel(root, 3).parallel == 3


@pytest.mark.parametrize(
    "named",
    [
        {"model": "/home/me/net.py:Net"},
        {"model": "net.py:Net"},
        {"model": "/home/me/bundle"},
        {"model": "timm:hf-hub:who/knows"},
        {"model": "timm:local-dir:/etc"},
        {"weights": "/etc/passwd"},
        {"data": "imagefolder:/home/me"},
        {"data": "torch/cifar10"},
        {"settings": {"checkpoint_path": "/etc/passwd"}},
        {"settings": {"pretrained": True}},
    ],
    ids=str,
)
def test_only_an_owner_names_files_and_downloads_of_the_machine(root, named):
    given = {"name": "q", "model": "timm:resnet18"} | named
    before = everything(root)
    ask(Role.EDITOR)
    with pytest.raises(AccessError, match="that takes an owner"):
        project.create_project(root, **given)
    ask(Role.OWNER)
    project.create_project(root, **given)
    access.ask_by(None)
    assert len(everything(root)["files"]) == len(before["files"]) + 1


def test_an_editor_opens_every_demo(root):
    from cpd.tasks.demos import DEMOS

    ask(Role.EDITOR)
    for demo in DEMOS:
        project.create_project(root, demo.title, demo.model, str(demo.weights), dict(demo.settings), demo.data)


def test_a_provider_that_fails_lets_nobody_in(root):
    def broken() -> Person:
        raise ValueError("the header is gone")

    access.ask_by(broken)
    with pytest.raises(AccessError):
        access.require_look()
    with pytest.raises(AccessError):
        control.stop(root, "waits")


def test_a_worker_is_nobodys_visitor():
    """A process of its own asks nobody, whoever the app that started it is talking to."""
    code = "from cpd import access; access.require_owner('do anything'); assert not access.is_shared()"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, timeout=300).returncode == 0


# What writes past the two guarded places, and who calls it: all of it behind one of the functions above, in a worker, the
# supervisor, the upload checker's own process, or the command line.
WRITES = {
    "write_text",
    "write_bytes",
    "unlink",
    "rmtree",
    "rename",
    "symlink_to",
    "touch",
    "copyfile",
    "copytree",
    "rmdir",
}
KNOWN = {
    "cpd/files.py", "cpd/runs/checkpoint.py", "cpd/runs/control.py", "cpd/runs/project.py", "cpd/runs/worker.py", "app/desk.py",
    "cpd/runs/subject.py", "cpd/runs/relay.py", "cpd/runs/ray_agent.py",
}  # fmt: skip


def writers() -> set[str]:
    found = set()
    for path in [
        *(ROOT / "cpd" / "runs").rglob("*.py"),
        *(ROOT / "app").rglob("*.py"),
        *(ROOT / "pages").rglob("*.py"),
        ROOT / "cpd" / "files.py",
    ]:
        if "jobs" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = (
                node.func.attr
                if isinstance(node.func, ast.Attribute)
                else node.func.id
                if isinstance(node.func, ast.Name)
                else ""
            )
            opened = name == "open" and any(
                isinstance(a, ast.Constant) and isinstance(a.value, str) and set(a.value) & set("wax+")
                for a in node.args[1:2]
            )
            if opened or (
                isinstance(node.func, ast.Attribute)
                and (name in WRITES or (name == "move" and ast.unparse(node.func.value) == "shutil"))
            ):
                found.add(str(path.relative_to(ROOT)))
    return found


def test_nothing_new_writes_past_the_guarded_places():
    assert writers() <= KNOWN, "ask cpd.access first, then add the file here"


def test_a_note_of_a_sharing_file_names_no_secret(tmp_path):
    """What goes wrong is said without what must not be said."""
    from app.sharing import read_sharing

    (tmp_path / "sharing.toml").write_text(
        'public = "https://a.example"\nviewers = "any signed-in"\n[proxy]\nuser_header = "X-User"\nsecret_header = "X-Secret"\nsecret_env = "S"\n'
    )
    (tmp_path / "sharing.toml").chmod(0o600)
    sharing = read_sharing(tmp_path, "proxy", 1, {"S": "s" * 40})
    assert "s" * 40 not in repr(sharing)
