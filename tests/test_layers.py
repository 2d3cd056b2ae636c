"""The layers of the architecture: nothing imports upward, nothing in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import auxin

SOURCE = Path(__file__).parents[1] / "src" / "auxin"

ALLOWED = {
    "errors": set(),
    "screen": set(),
    "display": set(),
    "values": {"errors"},
    "files": {"errors"},
    "outputs": {"files", "errors"},
    "architecture": {"values", "errors"},
    "tasks": {"files", "values", "errors"},
    "config": {"architecture", "tasks", "values", "errors"},
    "theory": {"display", "config", "architecture", "values", "errors"},
    "models": {"outputs", "config", "architecture", "values", "errors"},
    "families": {"models", "tasks", "outputs", "files", "config", "architecture", "values", "errors"},
    "probes": {"display", "families", "models", "theory", "config", "architecture", "values", "errors"},
    "measures": {
        "display",
        "families",
        "probes",
        "models",
        "tasks",
        "config",
        "architecture",
        "values",
        "errors",
    },
    "training": {"models", "tasks", "config", "architecture", "values", "errors"},
    "runs": {"display", "models", "outputs", "files", "config", "architecture", "values", "errors"},
}
BELOW = set(ALLOWED)
ALLOWED["experiment"] = BELOW
ALLOWED["lab"] = BELOW | {"experiment"}
ALLOWED["studies"] = BELOW | {"experiment", "lab"}
ALLOWED["report"] = (BELOW | {"lab"}) - {"display", "screen", "models", "probes", "families", "training"}
EVERYTHING = BELOW | {"report", "experiment", "lab", "studies"}
ALLOWED["notebook"] = EVERYTHING
ALLOWED["pytest_plugin"] = EVERYTHING
ALLOWED["__init__"] = EVERYTHING | {"notebook"}
ALLOWED["cli"] = EVERYTHING | {"__init__"}
ALLOWED["__main__"] = {"cli"}


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Every auxin module that the file imports, also inside functions, and by its name in a call."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    return {n for n in names if n == "auxin" or n.startswith("auxin.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downward(path: Path) -> None:
    here = layer(path)
    for module in imported_modules(path):
        parts = module.split(".")
        target = parts[1] if len(parts) > 1 else "__init__"
        if target != here and (target in ALLOWED or target == "__init__"):
            if (
                target == "__init__"
                and any(m != "auxin" for m in imported_modules(path))
                and module == "auxin"
            ):
                continue  # "from auxin import errors" names the package on the way to a module
            assert target in ALLOWED[here], f"{path}: {here} may not import {module}"


def test_pages_and_figures_are_drawn_for_people_only() -> None:
    for path in SOURCE.rglob("*.py"):
        if layer(path) not in ("report", "cli", "notebook"):
            assert not any(module.startswith("auxin.report") for module in imported_modules(path)), path


def test_no_circle_between_modules() -> None:
    files = {
        ".".join(("auxin", *p.relative_to(SOURCE).with_suffix("").parts)): p for p in SOURCE.rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {name: {m for m in imported_modules(path) if m in files} - {name} for name, path in files.items()}
    for name in graph:  # a package's modules may import its siblings, not the package that re-exports them
        graph[name] = {m for m in graph[name] if not name.startswith(m + ".")}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"circle: {' -> '.join((*above, name))}"
        if name not in done:
            for target in graph[name]:
                visit(target, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("package", ["models", "training", "tasks"])
def test_light_layers_import_no_heavy_library(package: str) -> None:
    heavy = ("polars", "altair", "svgling", "nltk", "scipy", "tyro", "ray", "pandas")
    code = (
        f"import sys, importlib, pkgutil, auxin.{package} as p\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("package", "above"), [("theory", "auxin.models"), ("models", "auxin.theory"), ("architecture", "torch")]
)
def test_packages_that_do_not_know_each_other(package: str, above: str) -> None:
    """All modules of a package are imported, inside functions, too, and what they must not know is not among them."""
    code = (
        f"import sys, importlib, pkgutil, auxin.{package} as p\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')]\n"
        f"print([m for m in sys.modules if m == {above!r} or m.startswith({above + '.'!r})])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    for path in sorted((SOURCE / package).rglob("*.py")):
        assert not any(name == above or name.startswith(f"{above}.") for name in imported_modules(path)), path


def test_no_module_below_the_top_goes_by_way_of_the_facade() -> None:
    """``import auxin`` or a public name of it would reach every layer."""
    names = set(auxin.__all__)
    for path in sorted(SOURCE.rglob("*.py")):
        if layer(path) in ("__init__", "__main__", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert all(alias.name != "auxin" for alias in node.names), path
            elif isinstance(node, ast.ImportFrom) and node.module == "auxin":
                assert not {alias.name for alias in node.names} & names, path


OF_A_NETWORK = {
    "head_dim",
    "qk_norm",
    "rotary",
    "alibi",
    "softcap",
    "window",
    "gated",
    "parallel",
    "placement",
}
"""Fields that describe a network."""


def fields(path: Path) -> dict[str, set[str]]:
    """The annotated fields of every class of a file."""
    classes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    return {
        node.name: {
            each.target.id
            for each in node.body
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
        }
        for node in classes
    }


def test_a_network_is_described_once() -> None:
    elsewhere = [
        f"{path.relative_to(SOURCE)}: {name}.{field}"
        for path in SOURCE.rglob("*.py")
        if layer(path) != "architecture"
        for name, found in fields(path).items()
        for field in found & OF_A_NETWORK
    ]
    assert not elsewhere


def test_no_public_class_has_a_name_that_stands_twice() -> None:
    names: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names.setdefault(node.name, set()).add(str(path.relative_to(SOURCE)))
    assert not {name: places for name, places in names.items() if len(places) > 1}


def test_few_functions_have_more_than_six_parameters() -> None:
    many = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                if len([each for each in given if each.arg not in ("self", "cls")]) > 6:
                    many.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert len(many) <= 8, many


def test_modules_are_short() -> None:
    sizes = {path: path.read_text().count("\n") for path in SOURCE.rglob("*.py")}
    assert not {str(path.relative_to(SOURCE)): size for path, size in sizes.items() if size > 350}
    assert sorted(sizes.values())[len(sizes) // 2] <= 180
