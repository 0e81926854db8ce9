"""Output directories: whole files or none; dependency rules."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tinycc_nn.diagnostics import TinyccError
from tinycc_nn.outputs import depfile, write_directory, write_file

FILES: dict[str, str | bytes] = {"a.c": "int a;\n", "b.bin": b"\0\1"}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    write_directory(out, FILES)
    write_directory(out, {"a.c": "int b;\n"})
    assert everything(tmp_path / "new") == {"folder/a.c": b"int b;\n", "folder/b.bin": b"\0\1"}
    assert [p.name for p in out.iterdir() if p.is_dir()] == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("disk full"), ValueError])
def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | BaseException
) -> None:
    write = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if path.name == "b.bin":
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    raised = TinyccError if isinstance(error, OSError) else error
    with pytest.raises(raised):  # type: ignore[arg-type]
        write_directory(tmp_path / "new" / "out", FILES)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_directory(tmp_path, FILES)

    def interrupt(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path, {"a.c": "new", "b.bin": "new"})
    assert everything(tmp_path) == {"a.c": b"int a;\n", "b.bin": b"\0\1"}


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TinyccError, match="can't write the output") as e:
        write_directory(tmp_path / "file" / "out", FILES)
    assert e.match("-o")


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "b.bin").mkdir()
    with pytest.raises(TinyccError, match=r"b\.bin is a directory"):
        write_directory(tmp_path, FILES)
    assert not (tmp_path / "a.c").exists()


def test_the_rule_names_each_dependency_once_and_escapes_it() -> None:
    text = depfile("out.c", [Path("a b.onnx"), Path("c#$.npz"), Path("a b.onnx")])
    assert text == "out.c: \\\n  a\\ b.onnx \\\n  c\\#$$.npz\n"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_understands_the_rule(tmp_path: Path) -> None:
    for name in ("a b.onnx", "c$.npz"):
        (tmp_path / name).write_text("")
    write_file(tmp_path / "out.d", depfile("out.c", [Path("a b.onnx"), Path("c$.npz")]))
    (tmp_path / "Makefile").write_text("out.c:\n\tcp 'a b.onnx' $@\ninclude out.d\n")

    def make() -> str:
        done = subprocess.run(["make"], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert "cp" in make()
    assert "up to date" in make()
    later = (tmp_path / "out.c").stat().st_mtime + 10
    os.utime(tmp_path / "c$.npz", (later, later))
    assert "cp" in make()
