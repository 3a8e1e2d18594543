"""The mutation score of the modules that numbers and results rest on: which changes of their code no test notices.

    pip install mutmut
    python benchmarks/mutants.py [MODULE ...]

Each module is changed by mutmut, in one place at a time, in a copy of the source tree, and its own tests are run against every
change. Those that survive are printed, unless tests/mutants.yaml names them as equivalent, with the reason. A score is
the share of changes that a test noticed, of all but the equivalent ones. Caches are taken out of the module, since what they
hold would hide a change.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
COPIED = (
    "tests",
    "docs",
    "examples",
    "benchmarks",
    "contracts",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
    "pyproject.toml",
)
NOTICED = ("killed", "timeout", "suspicious", "segfault", "caught by type check")


def main() -> None:
    plan = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(plan)}; none: all of them")
    parser.add_argument("--children", type=int, default=1, help="tests at once")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(plan):
        parser.error(f"found {', '.join(sorted(unknown))}; allowed: {', '.join(plan)}")
    lines = []
    for module in options.modules or plan:
        lines.append(_line(module, plan[module], options.children))
        print(lines[-1], flush=True)
    print("\n| module | changes | noticed | equivalent | score |\n|---|---|---|---|---|", *lines, sep="\n")


def _line(module: str, plan: dict, children: int) -> str:
    """One row of the table; what survived is printed on the way."""
    with tempfile.TemporaryDirectory() as folder:
        tree = _copied(Path(folder), module, plan["tests"])
        ran = subprocess.run(
            [sys.executable, "-m", "mutmut", "run", "--max-children", str(children)],
            cwd=tree,
            capture_output=True,
            text=True,
        )
        found = dict(re.findall(r"^\s+(\S+): (.+)$", _said(tree, "results", "--all", "true"), flags=re.MULTILINE))
        if set(found.values()) <= {"not checked"}:
            said = f"{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
            sys.exit(f"{module}: mutmut found nothing to change, or its tests fail unchanged:\n{said}")
        counts, equivalent = Counter(found.values()), 0
        for name in sorted(name for name, state in found.items() if state not in NOTICED):
            changed = _changed(_said(tree, "show", name))
            if changed in {each["change"].strip() for each in plan.get("equivalent", ())}:
                equivalent += 1
            else:
                print(f"{name} ({found[name]})\n{changed}\n", flush=True)
    noticed = sum(counts[state] for state in NOTICED)
    share = noticed / max(1, len(found) - equivalent)
    return f"| `{module}` | {len(found)} | {noticed} | {equivalent} | {share:.0%} |"


def _copied(folder: Path, module: str, tests: list[str]) -> Path:
    """A tree of plain files to be changed, in which the rooms are no links."""
    tree = folder / "tree"
    without = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        tree.mkdir(exist_ok=True)
        copy(ROOT / name, tree / name, **({"ignore": without} if (ROOT / name).is_dir() else {}))
    shutil.copytree(ROOT / "src", tree / "src", ignore=without)
    changed = tree / "src" / "seethrough" / module
    changed.write_text(re.sub(r"(?m)^@(lru_)?cache\b.*\n", "", changed.read_text(encoding="utf-8")), encoding="utf-8")
    settings = (tree / "pyproject.toml").read_text(encoding="utf-8")
    (tree / "pyproject.toml").write_text(settings.replace('filterwarnings = ["error"]', ""), encoding="utf-8")
    lists = {
        "source_paths": ["src"],
        "only_mutate": [f"src/seethrough/{module}"],
        "also_copy": COPIED,
        "pytest_add_cli_args_test_selection": tests,
    }
    rows = ["\n    ".join([f"{name} =", *values]) for name, values in lists.items()]
    one = "process_isolation = forkserver"  # what tests leave behind in one process would hide changes too
    (tree / "setup.cfg").write_text("\n".join(["[mutmut]", one, *rows, ""]), encoding="utf-8")
    return tree


def _said(tree: Path, *words: str) -> str:
    return subprocess.run([sys.executable, "-m", "mutmut", *words], cwd=tree, capture_output=True, text=True).stdout


def _changed(difference: str) -> str:
    """The lines that differ."""
    lines = difference.splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")).strip()


if __name__ == "__main__":
    main()
