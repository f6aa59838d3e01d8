"""A workspace with a project in every state that a screen can be in: nothing yet, busy, full, failed, damaged, stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cpd.comb.record import CombRecord
from cpd.prune.plan import uniform_plan
from cpd.runs.project import Project, create_project, project_folder
from cpd.runs.spec import RunSpec
from cpd.runs.store import Store
from cpd.runs.workspace import database, new_run_id, run_folder
from cpd.sensitivity.table import SensitivityTable
from cpd.tasks.demos import DEMOS
from tests.app import synthetic

DEMO = next(demo for demo in DEMOS if demo.id == "digits-cnn")
TRAIN: dict[str, Any] = {"multiple": 16, "steps": 8, "batch_size": 16, "schedule": "few-step", "evaluate_every": 4, "score_batches": 1, "checkpoint_s": 600.0}
ROOT = Path(__file__).resolve().parents[2]
SCAN: dict[str, Any] = {"images": 64, "ratios": [0.3, 0.6], "calibration": 32, "latency_s": 0.03, "batch": 8}
OUT_OF_MEMORY = "CUDA out of memory: 2.10 GiB asked for, 1.34 GiB free; give a smaller batch size, or another device."

# Workers of one run each, one after another in a process of its own: what takes them longest here is to begin.
WORK = "import sys; from cpd.runs.worker import main; sys.exit(max(main([each]) for each in sys.argv[1:]))"
HOLD = """
import sys
from pathlib import Path
from cpd.runs.lock import FileLock
locks = [FileLock(Path(each)) for each in sys.argv[1:]]
assert all(lock.acquire() for lock in locks)
print("held", flush=True)
sys.stdin.read()
"""


class Shown:
    """The workspace. Real workers fill one project; the others are made of its files.

    Attributes:
        full, fresh, arriving, busy, failed, damaged, stale: projects by the state they are in; `new` has nothing at all.
        run: id of the run that a project's screens show.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store(database(home))
        self.going: list[Path] = []
        self.run: dict[str, str] = {}
        (home / "policy.json").write_text('{"parallel": 0, "light": 0}')  # what waits here waits for ever
        self._fill()
        self.new = self._project("Not combed")
        self.fresh = self._project("Just opened", "comb.json", "comb.npz", "baseline.json")
        self._arriving()
        self._busy()
        self._failed()
        self._damaged()
        self._stale()
        self._held()

    def close(self) -> None:
        """Runs that only seem to be under way end here."""
        for run in self.store.unfinished():
            self.store.finish(run.id, "stopped")
        self.holder.communicate()
        self.store.close()

    # Projects ------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        """Every job that a user would start, small: combing, then the scores and the scan beside the runs."""
        self.full = create_project(self.home, DEMO.title, DEMO.model, str(DEMO.weights), dict(DEMO.settings), DEMO.data, "cpu")
        folder = project_folder(self.home, self.full.id)
        self._work([("comb", {"timeout_s": 240, "certify": True})])
        record = CombRecord.load(folder)
        plan = uniform_plan(record, 0.5)
        plan.save(folder / "plan.json")
        uniform = json.loads(uniform_plan(record, 0.3).to_json())
        learning = [("measure", {"batches": [1, 32]}), ("distill", {**TRAIN, "plan": uniform, "baseline": "uniform"}), ("distill", {**TRAIN, "target": {"macs": 0.35}})]
        looking = [("score", {"criteria": ["fisher", "l2"], "batches": 2}), ("profile", {"batch": 8, "seconds": 1}), ("sense", SCAN),
                   ("trial", {"plan": json.loads(plan.to_json()), "batches": [8]})]  # fmt: skip
        self.run[self.full.id] = self._work(learning, looking)[-1]

    def _arriving(self) -> None:
        """Combing goes on, measuring waits for its turn."""
        self.arriving = self._project("On its way")
        self._going("comb", self.arriving, 3, 9)
        self._row("measure", self.arriving)

    def _busy(self) -> None:
        self.busy = self._project("Under way", "comb.json", "comb.npz", "baseline.json")
        folder = project_folder(self.home, self.busy.id)
        whole = SensitivityTable.load(project_folder(self.home, self.full.id) / "sensitivity.json")
        replace(whole, groups=dict(list(whole.groups.items())[:6]), done=False).save(folder / "sensitivity.json")
        self._going("score", self.busy, 5, 8)
        self._going("sense", self.busy, 6, 13)
        for kind in ("profile", "trial"):
            self._row(kind, self.busy)
        source = self.store.run(self.run[self.full.id])
        run = self._going("distill", self.busy, source.total // 2, source.total, {"target": {"macs": 0.35}})
        self.store.copy_history(source.id, run, source.total // 2)
        self.run[self.busy.id] = run
        self.store.request_pause(self._row("distill", self.busy, {"target": {"macs": 0.25}}))
        self._row("distill", self.busy, {"target": {"macs": 0.15}})

    def _failed(self) -> None:
        """Every job ended with an error."""
        self.failed = self._project("Out of luck", "comb.json", "comb.npz")
        for kind in ("measure", "score", "sense", "profile", "trial"):
            self._fail(self._row(kind, self.failed), OUT_OF_MEMORY)
        source = self.store.run(self.run[self.full.id])
        run = self._row("distill", self.failed, {"target": {"macs": 0.35}})
        self.store.copy_history(source.id, run, source.total // 2)
        (run_folder(self.home, run) / "worker.log").write_text("epoch 1 of 1\nRuntimeError: " + OUT_OF_MEMORY + "\n")
        self._fail(run, OUT_OF_MEMORY)
        self.run[self.failed.id] = run
        self.uncombed = self._project("No such model")
        for kind in ("comb", "measure"):
            self._fail(self._row(kind, self.uncombed), "timm has no model 'resnet81'; did you mean resnet18? Correct the project's details.")

    def _damaged(self) -> None:
        """Files of the project, and of its run, hold half of what they should."""
        self.damaged = self._project("Torn pages", "comb.json", "comb.npz", "baseline.json", "scores", "sensitivity.json", "plan.json", "latency.json", "trial.json")
        folder = project_folder(self.home, self.damaged.id)
        self.run[self.damaged.id] = self._adopted(self.damaged)
        run = run_folder(self.home, self.run[self.damaged.id])
        files = (*sorted(folder.glob("scores/*.json")), *(folder / name for name in ("sensitivity.json", "latency.json", "plan.json", "trial.json")), run / "result.json")
        for path in files:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def _stale(self) -> None:
        """The model was combed anew and has other groups; all results are of before."""
        self.stale = self._project("Combed anew", "baseline.json", "scores", "sensitivity.json", "plan.json", "latency.json", "trial.json")
        synthetic.chain((32, 32, 64, 64, 128, 128)).save(project_folder(self.home, self.stale.id))
        self.run[self.stale.id] = self._adopted(self.stale)

    def _project(self, name: str, *files: str) -> Project:
        """A project with some of the full one's files."""
        made = create_project(self.home, name, DEMO.model, str(DEMO.weights), dict(DEMO.settings), DEMO.data, "cpu")
        source, folder = (project_folder(self.home, each.id) for each in (self.full, made))
        for file in files:
            if (source / file).is_dir():
                shutil.copytree(source / file, folder / file)
            else:
                shutil.copy(source / file, folder / file)
        return made

    # Runs ----------------------------------------------------------------------------------------------------------

    def _row(self, kind: str, project: Project, options: Mapping[str, Any] | None = None) -> str:
        """A run that waits for its turn."""
        run, spec = new_run_id(kind), project.spec(kind, 0, options)
        folder = run_folder(self.home, run)
        folder.mkdir(mode=0o700)
        (folder / "spec.json").write_text(spec.to_json())
        self.store.add(run, spec)
        return run

    def _work(self, *chains: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Do it for real, the chains beside each other; ids of the runs of the first."""
        runs = [[self._row(kind, self.full, options) for kind, options in chain] for chain in chains]
        command = [sys.executable, "-c", WORK]
        started = [subprocess.Popen([*command, *(str(run_folder(self.home, run)) for run in chain)], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}) for chain in runs]
        try:
            for process in started:
                process.wait(540)
        finally:
            for process in started:
                process.kill()
        for run in (run for chain in runs for run in chain):
            assert self.store.run(run).state == "finished", (run, self.store.run(run).error)
        return runs[0]

    def _going(self, kind: str, project: Project, step: int, total: int, options: Mapping[str, Any] | None = None) -> str:
        """A run that stays where it is, once somebody holds its lock."""
        run = self._row(kind, project, options)
        self.going.append(run_folder(self.home, run) / "lock")
        self.store.launch(run)
        self.store.begin(run)
        self.store.advance(run, [], (step, total), 2.4)
        return run

    def _held(self) -> None:
        """Who holds the lock of a run is its worker: here a process that does nothing, until its input ends."""
        self.holder = subprocess.Popen([sys.executable, "-c", HOLD, *map(str, self.going)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == b"held\n"

    def _fail(self, run: str, error: str) -> None:
        self.store.launch(run)
        self.store.begin(run)
        self.store.advance(run, [], (5, 10))
        self.store.finish(run, "failed", error, 5)

    def _adopted(self, project: Project) -> str:
        """The full project's finished run, as this one's."""
        source = self.run[self.full.id]
        spec: RunSpec = replace(self.store.run(source).spec, project=project.id)
        run = new_run_id("distill")
        shutil.copytree(run_folder(self.home, source), run_folder(self.home, run))
        (run_folder(self.home, run) / "spec.json").write_text(spec.to_json())
        self.store.add(run, spec)
        self.store.launch(run)
        self.store.begin(run)
        self.store.copy_history(source, run, 10**9)
        self.store.finish(run, "finished", "", self.store.run(source).step)
        return run


__all__ = ["DEMO", "Shown"]
