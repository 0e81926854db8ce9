"""The benchmarks fail where something grew, and keep the results that were better."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def networks(results: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """benchmarks/networks.py on the example network, one core, one level."""
    few = ("--cpu", "cortex-m4", "--level", "Os", "--samples", "2", "--results", str(results))
    command = [sys.executable, str(BENCHMARKS / "networks.py"), *few, *options]
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_networks_fail_where_a_figure_grew(tmp_path: Path) -> None:
    done = networks(tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "example.json"
    (key, row), *_ = json.loads(file.read_text()).items()
    assert key == "digits cortex-m4 -Os" and row["mismatches"] == 0
    assert (tmp_path / "example.svg").stat().st_size > 1000
    better = row | {"instructions": int(row["instructions"] / 1.03), "flash": row["flash"] - 1}
    file.write_text(json.dumps({key: better}))

    failed = networks(tmp_path)
    assert failed.returncode == 1
    assert (
        f"{key}: instructions {better['instructions']:,} -> {row['instructions']:,}"
        in failed.stderr
    )
    assert "flash" not in failed.stderr  # by less than 2 %
    assert json.loads(file.read_text())[key]["instructions"] == better["instructions"]

    assert networks(tmp_path, "--accept").returncode == 0
    assert json.loads(file.read_text())[key]["instructions"] == row["instructions"]


@pytest.mark.parametrize("grown", [False, True])
def test_layers_fail_where_a_figure_grew(grown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import kernels
    import networks as of_networks

    row = kernels.Row("kws", "cortex-m4", "0: conv", "gemm", 10, 1021, 900, 5, 6, 2000, 3000)
    before = {row.key: {"instructions": 1000 if grown else 1001, "cycles": 899}}
    worse = of_networks.regressions({row.key: row}, before, kernels.COSTS)
    assert worse == ({row.key: "instructions 1,000 -> 1,021"} if grown else {})
    if grown:
        with pytest.raises(SystemExit, match="grew by more than 2 %"):
            of_networks.fail_if(worse)
