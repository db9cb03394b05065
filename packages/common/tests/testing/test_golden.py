"""Goldens fail on any difference, and the option rewrites them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kubelb_common.testing import golden

pytest_plugins = ["pytester"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.in.yaml").write_text("x: 1\n---\n---\ny: 2\n")
    (tmp_path / "a.b.in.yaml").write_text("z: 3\n")
    return tmp_path


def case(folder: Path, name: str = "a") -> golden.Case:
    return next(item for item in golden.cases(folder) if item.name == name)


def test_cases_are_found_and_read(folder: Path) -> None:
    assert [str(item) for item in golden.cases(folder)] == ["a", "a.b"]
    assert case(folder).documents() == [{"x": 1}, {"y": 2}]
    assert case(folder, "a.b").document() == {"z": 3}
    with pytest.raises(ValueError, match="2 documents"):
        case(folder).document()


def test_a_folder_without_cases_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        golden.cases(tmp_path)


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "o: {k: 1, k: 1}\n", "- {x: 1, 'x': 2}\n", "? [1]\n: 1\n? [1]\n: 2\n"]
)
def test_duplicate_keys_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.in.yaml").write_text(text)
    with pytest.raises(yaml.YAMLError):
        case(tmp_path).documents()


def test_merge_keys_and_anchors_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.in.yaml").write_text("base: &b {x: 1, y: 1}\nmore: {<<: *b, x: 2}\n")
    assert case(tmp_path).document()["more"] == {"x": 2, "y": 1}


def test_update_then_equal_then_different(folder: Path) -> None:
    outputs = {"out": [{"b": "two\nlines\n", "a": 1}], "routes": {"r": []}}
    with pytest.raises(golden.GoldenMismatch, match="--update-golden"):
        case(folder).check(outputs)
    case(folder).check(outputs, update=True)
    case(folder).check(outputs)
    with pytest.raises(golden.GoldenMismatch, match=r"(?s)-a: 1\n\+a: 2"):
        case(folder).check({**outputs, "out": [{"b": "two\nlines\n", "a": 2}]})


def test_files_round_trip_strictly(folder: Path) -> None:
    value = {"yes": "no", "on": "1", "text": "a\nb \n", "ü": None, "same": [[1], [1]]}
    case(folder).check({"out": [value, {"second": 1}]}, update=True)
    assert golden.load_all(folder / "a.out.yaml") == [value, {"second": 1}]


def test_an_output_that_is_gone_fails_and_is_removed(folder: Path) -> None:
    case(folder).check({"out": 1, "routes": 2}, update=True)
    with pytest.raises(golden.GoldenMismatch, match=r"a\.routes\.yaml"):
        case(folder).check({"out": 1})
    case(folder).check({"out": 1}, update=True)
    assert not (folder / "a.routes.yaml").exists()


def test_a_case_does_not_take_the_files_of_a_longer_name(folder: Path) -> None:
    case(folder, "a.b").check({"out": 1}, update=True)
    case(folder).check({"out": 1}, update=True)
    assert (folder / "a.b.out.yaml").exists()
    assert (folder / "a.b.in.yaml").exists()


def test_orphans(folder: Path) -> None:
    case(folder).check({"out": 1}, update=True)
    golden.check_orphans(folder)
    (folder / "gone.out.yaml").write_text("1\n")
    with pytest.raises(golden.GoldenMismatch, match=r"gone\.out\.yaml"):
        golden.check_orphans(folder)
    golden.check_orphans(folder, update=True)
    assert sorted(path.name for path in folder.iterdir()) == ["a.b.in.yaml", "a.in.yaml", "a.out.yaml"]


def test_the_option_reaches_the_tests(pytester: pytest.Pytester) -> None:
    (pytester.path / "one.in.yaml").write_text("a: 1\n")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(
        """
        from pathlib import Path
        import pytest
        from kubelb_common.testing import golden

        @pytest.mark.parametrize("case", golden.cases(Path(__file__).parent), ids=str)
        def test_it(case, update_golden):
            case.check({"out": case.document()}, update=update_golden)
        """
    )
    plugin = ["-p", "kubelb_common.testing.pytest_golden", "-p", "no:cacheprovider"]
    assert pytester.runpytest_inprocess(*plugin).ret == 1
    assert pytester.runpytest_inprocess(*plugin, "--update-golden").ret == 0
    assert pytester.runpytest_inprocess(*plugin).ret == 0
