"""The architecture as a test: each rule holds for the package, and each rule can fail."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LINES = (
    "errors",
    "settings records numerics compiled",
    "io",
    "data",
    "teach match fuse merge prune align spans",
    "train evaluate",
    "flows",
    "demo",
    "report",
    "app",
    "cli",
)
"""An area may import from the lines above its own, never from its own line."""
LINE_OF = {area: number for number, line in enumerate(LINES) for area in line.split()}

METHOD_AREAS = ("fuse", "merge", "prune", "align")
"""Areas in which a file without a leading underscore is a method, but for ``settings``."""

WITHOUT_TORCH = ("errors", "settings", "records", "report", "cli")


def modules(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Dotted name, path and source of every module of the package under a checkout."""
    for path in sorted((root / "src/inarch").rglob("*.py")):
        parts = path.relative_to(root / "src").with_suffix("").parts
        yield ".".join(parts).removesuffix(".__init__"), path, path.read_text()


# ------------------------------------------------------------------------------------------ rules


def wrong_imports(root: Path) -> list[str]:
    """Imports, anywhere in a file, from the own line or one below."""
    return [
        f"{name}:{line} imports {imported}"
        for name, path, source in modules(root)
        for line, imported in imported_modules(name, path.stem == "__init__", ast.parse(source))
        if not may_import(name, imported)
    ]


def imported_modules(name: str, is_package: bool, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that a module imports; ``from a import b`` is ``a.b``."""
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module or "").split(".")] if node.module else base
            yield from ((node.lineno, ".".join([*full, alias.name])) for alias in node.names)


def may_import(name: str, imported: str) -> bool:
    """Whether a module may import a name; names outside the package are free."""
    if not imported.startswith("inarch."):
        return True
    own, other = (f"{dotted}.".split(".")[1] for dotted in (name, imported))
    if other.startswith("__"):  # inarch.__version__
        return True
    if own in ("", "__main__"):
        return own == "__main__" and other == "cli"
    if own not in LINE_OF or other not in LINE_OF:
        return False
    return own == other or LINE_OF[other] < LINE_OF[own]


def long_modules(root: Path) -> list[str]:
    """Modules of more than 400 lines."""
    counts = ((name, source.count("\n")) for name, _, source in modules(root))
    return [f"{name} has {count} lines" for name, count in counts if count > 400]


def undocumented(root: Path) -> list[str]:
    """Modules, and public functions and classes, without a docstring."""
    return [
        f"{name}:{getattr(node, 'lineno', 1)} has no docstring"
        for name, _, source in modules(root)
        for node in public_nodes(ast.parse(source))
        if not ast.get_docstring(node)
    ]


def public_nodes(
    tree: ast.Module | ast.ClassDef,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    """A module or class, and what is public in it."""
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_nodes(node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def unsafe(root: Path) -> list[str]:
    """Code that runs what a file says: pickles, torch.load, remote code."""
    return [
        f"{name}:{getattr(node, 'lineno', 1)} {ast.unparse(node)}"
        for name, _, source in modules(root)
        for node in ast.walk(ast.parse(source))
        if is_unsafe(node)
    ]


def is_unsafe(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in ("pickle", "dill") for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in ("pickle", "dill")
    if isinstance(node, ast.Attribute):
        return ast.unparse(node) in ("torch.load", "yaml.load", "yaml.unsafe_load")
    if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
        return not (isinstance(node.value, ast.Constant) and node.value.value is False)
    return False


def incomplete_methods(root: Path) -> list[str]:
    """Methods that lack a line in METHODS, a source, a test or a card; lines without a method."""
    gaps = []
    for area in METHOD_AREAS:
        folder = root / "src/inarch" / area
        if not folder.exists():
            continue
        files = {
            path.stem: ast.get_docstring(ast.parse(path.read_text())) or ""
            for path in folder.glob("*.py")
            if not path.stem.startswith("_") and path.stem != "settings"
        }
        table = literal_table((folder / "__init__.py").read_text())
        for name in sorted(files.keys() | table):
            needs = {
                f"a module src/inarch/{area}/{name}.py": name in files,
                f"a line in METHODS of inarch.{area}": name in table,
                "`Source:` in its docstring": "Source:" in files.get(name, ""),
                f"tests/{area}/test_{name}.py": (root / f"tests/{area}/test_{name}.py").exists(),
                f"docs/methods/{name}.md": (root / f"docs/methods/{name}.md").exists(),
            }
            gaps += [f"{area}.{name} lacks {need}" for need, met in needs.items() if not met]
    return gaps


def literal_table(source: str) -> set[str]:
    """The keys of ``METHODS = {...}``, which is a literal."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "METHODS" for target in targets):
            return {ast.literal_eval(key) for key in node.value.keys}
    return set()


def torch_loaders(root: Path) -> list[str]:
    """Modules, of the areas that must do without, that load torch or transformers."""
    names = [
        name
        for name, _, _ in modules(root)
        if name == "inarch" or name.split(".")[1] in WITHOUT_TORCH
    ]
    code = """if True:
        import importlib, sys
        for name in sys.argv[1:]:
            importlib.import_module(name)
            if {"torch", "transformers"} & sys.modules.keys():
                sys.exit(f"{name} loads torch")
    """
    command = [sys.executable, "-c", code, *names]
    env = {"PYTHONPATH": str(root / "src")}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return ended.stderr.splitlines()


RULES = (
    wrong_imports,
    long_modules,
    undocumented,
    unsafe,
    incomplete_methods,
    torch_loaders,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_keeps_the_rule(rule: Callable[[Path], list[str]]):
    assert "\n".join(rule(ROOT)) == ""


# --------------------------------------------------------------------------- each rule can fail


@pytest.fixture
def checkout(tmp_path):
    """A package in the making: a function that writes one of its files."""

    def write(path: str, text: str) -> Path:
        full = tmp_path / path
        for folder in full.relative_to(tmp_path).parents:
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            if str(folder).startswith("src/inarch"):
                init = tmp_path / folder / "__init__.py"
                init.touch()
        full.write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("path", "statement", "imported"),
    [
        ("fuse/mince", "import inarch.match", "inarch.match"),
        ("fuse/mince", "from inarch.match.maps import f", "inarch.match.maps.f"),
        ("fuse/mince", "from inarch import match", "inarch.match"),
        ("fuse/mince", "from ..match import f", "inarch.match.f"),
        ("fuse/__init__", "from ..match import f", "inarch.match.f"),
        ("fuse/mince", "def f():\n    from .. import train", "inarch.train"),
        (
            "io/runs",
            "if TYPE_CHECKING:\n    from inarch.flows.fuse import x",
            "inarch.flows.fuse.x",
        ),
        ("settings", "import inarch.records", "inarch.records"),
        ("flows/fuse", "import inarch.cli.main as m", "inarch.cli.main"),
        ("misc/x", "import inarch.errors", "inarch.errors"),
        ("flows/fuse", "import inarch.misc", "inarch.misc"),
        ("__init__", "from inarch.flows import fuse", "inarch.flows.fuse"),
    ],
)
def test_an_import_against_the_direction_is_found(checkout, path, statement, imported):
    (found,) = wrong_imports(checkout(f"src/inarch/{path}.py", statement))
    assert found.endswith(f" imports {imported}")


@pytest.mark.parametrize(
    ("path", "statement"),
    [
        ("fuse/mince", "import inarch.records, torch, inarchive"),
        ("fuse/mince", "from . import _cost"),
        ("fuse/mince", "from inarch.fuse._cost import f"),
        ("fuse/mince", "from ..io.runs import stage"),
        ("io/runs", "from inarch import __version__"),
        ("cli/main", "from inarch.flows import fuse"),
        ("__main__", "from inarch.cli.main import main"),
    ],
)
def test_an_import_along_the_direction_is_free(checkout, path, statement):
    assert wrong_imports(checkout(f"src/inarch/{path}.py", statement)) == []


def test_a_long_module_is_found(checkout):
    assert long_modules(checkout("src/inarch/io/x.py", "\n" * 400)) == []
    assert long_modules(checkout("src/inarch/io/x.py", "\n" * 401)) == ["inarch.io.x has 401 lines"]


def test_a_missing_docstring_is_found(checkout):
    text = '"""x."""\ndef _a(): pass\nclass B:\n    """b."""\n    def c(self): pass\ndef d(): pass'
    root = checkout("src/inarch/x.py", text)
    (root / "src/inarch/__init__.py").write_text('"""x."""')
    assert undocumented(root) == ["inarch.x:5 has no docstring", "inarch.x:6 has no docstring"]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from pickle import loads",
        "x = torch.load(path)",
        "x = f(path, trust_remote_code=True)",
        "x = f(path, trust_remote_code=settings.trust)",
    ],
)
def test_unsafe_code_is_found(checkout, line):
    assert len(unsafe(checkout("src/inarch/x.py", line))) == 1
    assert unsafe(checkout("src/inarch/x.py", "f(trust_remote_code=False)")) == []


def test_an_incomplete_method_is_found(checkout):
    checkout("src/inarch/fuse/__init__.py", 'METHODS: dict[str, F] = {"a": a, "gone": f}')
    checkout("src/inarch/fuse/_blend.py", "")
    checkout("src/inarch/fuse/settings.py", "")
    checkout("tests/fuse/test_a.py", "")
    checkout("docs/methods/a.md", "")
    checkout("src/inarch/fuse/b.py", '"""B."""')
    root = checkout("src/inarch/fuse/a.py", '"""A.\n\nSource: a paper.\n"""')
    assert incomplete_methods(root) == [
        "fuse.b lacks a line in METHODS of inarch.fuse",
        "fuse.b lacks `Source:` in its docstring",
        "fuse.b lacks tests/fuse/test_b.py",
        "fuse.b lacks docs/methods/b.md",
        "fuse.gone lacks a module src/inarch/fuse/gone.py",
        "fuse.gone lacks `Source:` in its docstring",
        "fuse.gone lacks tests/fuse/test_gone.py",
        "fuse.gone lacks docs/methods/gone.md",
    ]


def test_a_module_that_loads_torch_is_found(checkout):
    checkout("src/inarch/errors.py", "")
    root = checkout("src/inarch/report/page.py", "import transformers")
    assert torch_loaders(root) == ["inarch.report.page loads torch"]
