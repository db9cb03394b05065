"""Goldens: files in, files out; a new case is files and no code.

A case is `<case>.in.yaml` in a folder and what is expected of it beside it: `<case>.out.yaml`, or one
file per kind of output (`<case>.clusters.yaml`, `<case>.routes.yaml`). With `--update-golden` the
expected files are rewritten, those of outputs that are gone are removed, and the test passes; the
reviewer reads the difference. Expected files without a case, or without an output, are orphans and fail.

    @pytest.mark.parametrize("case", golden.cases(FOLDER), ids=str)
    def test_translate(case: golden.Case, update_golden: bool) -> None:
        case.check({"out": translate(case.documents())}, update=update_golden)

    def test_no_orphans(update_golden: bool) -> None:
        golden.check_orphans(FOLDER, update=update_golden)

Input and output are read strictly: a duplicate key is an error, because YAML would silently take the last.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

IN_SUFFIX = ".in.yaml"


class GoldenMismatch(AssertionError):  # noqa: N818 - the name says what is the matter
    """What came out is not what the file says; the text is a unified diff."""


class DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping names a key twice."""


@dataclass(frozen=True, slots=True)
class Case:
    """One input and the files that are expected of it."""

    folder: Path
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def input(self) -> Path:
        """The input file."""
        return self.folder / f"{self.name}{IN_SUFFIX}"

    def documents(self) -> list[Any]:
        """Return the documents of the input; empty ones are left out."""
        return load_all(self.input)

    def document(self) -> Any:
        """Return the only document of the input; raises ValueError if there are more or none."""
        documents = self.documents()
        if len(documents) != 1:
            raise ValueError(f"{self.input.name} holds {len(documents)} documents; expected one")
        return documents[0]

    def expected(self, output: str) -> Path:
        """Return the file of an output, for example `out`."""
        return self.folder / f"{self.name}.{output}.yaml"

    def expected_files(self) -> list[Path]:
        """Return the expected files that are there."""
        cases_here = _names(self.folder)
        return [path for path in _outputs(self.folder) if _case_of(path, cases_here) == self.name]

    def check(self, outputs: Mapping[str, Any], *, update: bool = False) -> None:
        """Compare outputs with their files.

        Args:
            outputs: by name of the output; a list is written as several documents, anything else as one.
            update: rewrite the files instead.

        Raises:
            GoldenMismatch: an output differs, lacks its file, or a file lacks its output.
        """
        texts = {self.expected(output): dump(value) for output, value in outputs.items()}
        extra = [path for path in self.expected_files() if path not in texts]
        if update:
            _write(texts, extra)
            return
        problems = [_difference(path, text) for path, text in texts.items() if _read(path) != text]
        problems += [f"{path.name}: no such output any more" for path in extra]
        if problems:
            raise GoldenMismatch("\n".join([*problems, "If that is intended: pytest --update-golden"]))


def cases(folder: Path) -> list[Case]:
    """Return the cases of a folder, sorted by name.

    Raises:
        FileNotFoundError: the folder holds none, so a test over it would be empty.
    """
    found = [Case(folder, name) for name in _names(folder)]
    if not found:
        raise FileNotFoundError(f"no *{IN_SUFFIX} in {folder}")
    return found


def check_orphans(folder: Path, *, update: bool = False) -> None:
    """Fail for expected files that belong to no case, or remove them on `update`."""
    known = _names(folder)
    orphans = [path for path in _outputs(folder) if _case_of(path, known) is None]
    if update:
        _write({}, orphans)
    elif orphans:
        names = ", ".join(path.name for path in orphans)
        raise GoldenMismatch(f"{names}: no *{IN_SUFFIX} of that name. To remove: pytest --update-golden")


def load_all(path: Path) -> list[Any]:
    """Return the documents of a YAML file, read strictly; empty ones are left out.

    Raises:
        DuplicateKey: with the line.
        yaml.YAMLError: the file is no YAML.
    """
    with path.open(encoding="utf-8") as stream:
        documents = list(yaml.load_all(stream, Loader=_StrictLoader))
    return [item for item in documents if item is not None]


def dump(value: Any) -> str:
    """Return YAML with sorted keys; a list becomes several documents, so that a difference stays local."""
    documents = value if isinstance(value, list) else [value]
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)
    return text if documents else ""


class _StrictLoader(yaml.SafeLoader):
    """Refuses duplicate keys; merge keys (`<<`) work as usual."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Return the mapping after a look at its keys."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "found a key that is no scalar", key_node.start_mark
                )
            if key in seen:
                raise DuplicateKey(None, None, f"found the key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases and texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _string)


def _names(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(IN_SUFFIX) for path in folder.glob(f"*{IN_SUFFIX}"))


def _outputs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.yaml") if not path.name.endswith(IN_SUFFIX))


def _case_of(path: Path, names: list[str]) -> str | None:
    """Return the case of an expected file: all but the last dotted part of its stem."""
    name = path.name.removesuffix(".yaml").rpartition(".")[0]
    return name if name in names else None


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _write(texts: Mapping[Path, str], unwanted: list[Path]) -> None:
    for path, text in texts.items():
        if _read(path) != text:
            path.write_text(text, encoding="utf-8")
    for path in unwanted:
        path.unlink()


def _difference(path: Path, text: str) -> str:
    before = (_read(path) or "").splitlines(keepends=True)
    lines = difflib.unified_diff(before, text.splitlines(keepends=True), path.name, "what came out")
    return "".join(lines)
