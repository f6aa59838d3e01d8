"""Hand a finished run's model over: handover/ with every form, opened again and compared, and handover.zip."""

from __future__ import annotations

import zipfile
from pathlib import Path

from cpd.errors import RunError
from cpd.files import replacing, write_json
from cpd.runs.context import RunContext
from cpd.runs.workspace import check_id, run_folder

FOLDER, ARCHIVE = "handover", "handover.zip"


def run(context: RunContext) -> None:
    """Options: run, the id of the finished run; formats (all); images (512) to compare on; compiled (false)."""
    from cpd.export import FORMATS
    from cpd.runs.hand_over import hand_over_run

    options = context.spec.options
    if context.root is None or not options.get("run"):
        raise RunError("a hand-over needs a finished run of this workspace; name it as the option run.")
    source = run_folder(context.root, check_id(str(options["run"]), "run"))
    folder = context.run_dir / FOLDER
    found = hand_over_run(
        source,
        folder,
        formats=tuple(options.get("formats", FORMATS)),
        images=int(options.get("images", 512)),
        compiled=bool(options.get("compiled", False)),
        progress=context.tick,
    )
    _pack(folder, context.run_dir / ARCHIVE)
    write_json(context.run_dir / "result.json", found.to_dict() | {"run": options["run"]})
    verified = [form.form for form in found.forms if form.verified]
    context.event(1, "note", f"verified: {', '.join(verified) or 'nothing'}", verified=found.verified)


def _pack(folder: Path, archive: Path) -> None:
    """Weights hardly shrink, and the app should not wait for trying."""
    with replacing(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.iterdir()):
            packed.write(path, f"{folder.name}/{path.name}")
