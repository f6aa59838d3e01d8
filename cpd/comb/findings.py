"""What the doctor found, as names and numbers: a row a group, and the table that is pasted into an issue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cpd.errors import StorageError

SCHEMA = 1
_MARKS = {True: "yes", False: "**no**", None: "–"}


@dataclass(frozen=True)
class Row:
    """One group under trial cuts. None stands for what was not tried.

    Attributes:
        certified: whether both errors lie below the tolerance of `cpd.comb.certify`.
        relabel_error, silence_error: the certificate's two errors, relative; the largest of all ratios.
        forward: the cut network takes another batch size and answers with the dense model's shapes.
        backward: it trains: a gradient, and a finite one, reaches every weight that the dense model trains.
        reload: saved, loaded into a new network and run again it gives the same bits.
        ratios: pruning ratios granted to the group in trials of its own.
        verdict: the row in words; begins with "fine" where nothing is wrong.
    """

    group: str
    units: int
    verdict: str
    certified: bool | None = None
    relabel_error: float | None = None
    silence_error: float | None = None
    forward: bool | None = None
    backward: bool | None = None
    reload: bool | None = None
    ratios: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether this examination, not an earlier one, found something wrong."""
        return False in (self.certified, self.forward, self.backward, self.reload)


@dataclass(frozen=True)
class Findings:
    """What the doctor says of one model.

    Attributes:
        model: SPEC or class name.
        digest: of the architecture, as in the comb's record.
        surroundings: machine and versions, by what they are of.
        rows: a row a group, in forward order.
        faults: what is wrong with the model as a whole, whatever is cut.
        unknown: operators without a rule, with module and source line.
        unread: tensors of the state_dict that the forward pass never reads.
    """

    model: str
    digest: str
    rows: tuple[Row, ...]
    surroundings: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[str, ...]:
        """Groups that had to be locked."""
        return tuple(row.group for row in self.rows if row.failed)

    @property
    def well(self) -> bool:
        return not self.failed and not self.faults

    @property
    def summary(self) -> str:
        """One sentence."""
        tried = [row for row in self.rows if row.certified is not None]
        locked = len(self.rows) - len(tried)
        text = f"{len(tried) - len(self.failed)} of {len(tried)} groups passed every check"
        text += f"; locked now: {_listed(self.failed)}" if self.failed else ""
        return text + (
            f"; {locked} cannot be pruned by {'its' if locked == 1 else 'their'} place in the model." if locked else "."
        )

    def table(self) -> str:
        """Markdown: surroundings, a row a group, and what else was found."""
        head = {"model": f"`{self.model}`"} | dict(self.surroundings) | {"examined in": f"{self.seconds:.1f} s"}
        lines = [f"**Doctor:** {self.summary}", "", *(f"- {name}: {text}" for name, text in head.items()), ""]
        lines += ["| group | units | ratios | relabel | silence | forward | backward | reload | verdict |",
                  "|---|--:|---|--:|--:|---|---|---|---|"]  # fmt: skip
        for row in self.rows:
            cells = (
                f"`{row.group}`", str(row.units), ", ".join(f"{r:.2f}" for r in row.ratios) or "–", _error(row.relabel_error),
                _error(row.silence_error), _MARKS[row.forward], _MARKS[row.backward], _MARKS[row.reload], row.verdict,
            )  # fmt: skip
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        for title, texts in (
            ("Faults of the whole model", self.faults),
            ("Operators without a rule", self.unknown),
            ("In the state_dict, never read by the forward pass", tuple(f"`{name}`" for name in self.unread)),
        ):
            if texts:
                lines += ["", f"{title}:", *(f"- {text}" for text in texts)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON (which has no infinity: such an error is the text "inf")."""
        row = {"schema": SCHEMA} | asdict(self)
        for entry in row["rows"]:
            for name in ("relabel_error", "silence_error"):
                entry[name] = "inf" if entry[name] == float("inf") else entry[name]
        return row

    @staticmethod
    def from_dict(row: Mapping[str, Any], source: str = "doctor.json") -> Findings:
        """Read what `to_dict` made.

        Raises:
            StorageError: another schema, or not the doctor's findings.
        """
        try:
            if row["schema"] != SCHEMA:
                raise StorageError(
                    f"{source}: schema {row['schema']}, this version reads {SCHEMA}; run the doctor again."
                )
            values = {name: value for name, value in row.items() if name != "schema"}
            values |= {name: tuple(values[name]) for name in ("faults", "unknown", "unread")}
            return Findings(**(values | {"rows": tuple(_row(entry) for entry in values["rows"])}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"{source}: cannot be read ({error}); run the doctor again.") from error


def _row(entry: Mapping[str, Any]) -> Row:
    errors = {name: None if entry[name] is None else float(entry[name]) for name in ("relabel_error", "silence_error")}
    return Row(**{**entry, **errors, "ratios": tuple(entry["ratios"])})


def _error(value: float | None) -> str:
    return "–" if value is None else f"{value:.0e}" if value else "0"


def _listed(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
