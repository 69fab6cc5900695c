"""What the README promises is what the project does."""

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_make_commands_of_the_readme_are_targets_of_the_makefile():
    named = set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) | set(
        re.findall(r"`make (\w+)`", README)
    )
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^(\w+):", MAKEFILE, flags=re.MULTILINE))


def test_make_demo_runs_the_command_that_the_readme_shows():
    assert "xpaste demo --out runs/demo" in README and "xpaste demo --out runs/demo" in MAKEFILE


def test_pictures_and_files_that_the_readme_links_to_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_figures_of_the_readme_are_those_of_the_benchmark_files():
    spec = spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert "| measured |" in README and tables.with_tables(README) == README


def test_gates_of_the_benchmark_files_are_kept():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        missed = [gate["name"] for gate in json.loads(path.read_text())["gates"] if not gate["passed"]]
        assert missed == [], path.name


def test_ci_runs_the_readmes_commands():
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(f"make {target}" in ci for target in ("check", "test", "test-faults", "demo"))
