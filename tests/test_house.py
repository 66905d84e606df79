"""The house rules that no linter knows: sizes, names, places, public surface, documentation.

Each rule is a function from a source to its faults, so that the second half of this file can show every one
of them a source that breaks it.  An exception is a line in a table below, with its reason.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "stanchion"

FILE_LINES, FILE_LINES_HARD = 300, 400
FUNCTION_LINES, FUNCTION_LINES_HARD = 50, 80  # docstring not counted
POSITIONAL, PARAMETERS = 6, 12  # `self` not counted; beyond the first few, parameters are keyword-only

# What may pass the soft limit (never the hard one), and why.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}  # "src/stanchion/room/file.py:function"
MANY_PARAMETERS: dict[str, str] = {}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

# Who may read the process environment, and why.
ENVIRONMENT_READERS = {
    "src/stanchion/engine/config": "settings are read here, once, at the edge",
    "src/stanchion/cli/": "a command is the edge",
}
# Who may start a task outside a task group, and who awaits it.
TASK_OWNERS: dict[str, str] = {
    "src/stanchion/gateway/leaving.py": "no task: the server's receive() gives a future, and Client cancels it",
    "src/stanchion/stores/postgres/database.py": "a store opens at its first question, in no group; aclose awaits its tasks",
    "src/stanchion/stores/redis/wire.py": "a store opens at its first question, in no group; aclose awaits its task",
    "src/stanchion/client/home.py": "the event loop owns it: it cancels the task at its end, which closes the engine",
}

# Put together here, so that this file does not name them itself.
REGISTRY_HOSTS = [
    f"{name}.{end}"
    for name, end in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("deb.debian", "org"),
        ("crates", "io"),
        ("proxy.golang", "org"),
    )
]
MACHINE_PATH = re.compile(
    r"""(?:^|[\s"'`(=:,<>\[])(?:file://)?/(?:work|root|tmp/\w|home/\w+|Users/\w+)/""", re.M
)
TEXT_ENDINGS = {
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
    ".json",
    ".js",
    ".css",
    ".html",
    ".sql",
    ".lua",
    ".sh",
    "",
}

Fault = str


def sources(*folders: str) -> list[str]:
    """Python files below the folders, as paths from the root."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def tracked() -> list[str]:
    """Every text file that git tracks."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    names = [name for name in done.stdout.split("\0") if name and Path(name).suffix in TEXT_ENDINGS]
    return [name for name in names if (ROOT / name).is_file()]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def each(rule: Callable[[str, str], Iterator[Fault]], names: list[str]) -> list[Fault]:
    return [fault for name in names for fault in rule(name, read(name))]


# --- the rules ---------------------------------------------------------------------------------------


def too_long(name: str, text: str) -> Iterator[Fault]:
    lines = text.count("\n")
    soft = FILE_LINES_HARD if name.startswith("tests/") else FILE_LINES  # a file of tests is a list
    if lines > FILE_LINES_HARD or (lines > soft and name not in LONG_FILES):
        yield f"{name}: {lines} lines, more than {soft}; split it by subject"


def functions(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def long_functions(name: str, text: str) -> Iterator[Fault]:
    for function in functions(text):
        start, end = function.lineno, function.end_lineno or function.lineno
        if ast.get_docstring(function, clean=False) is not None:
            doc = function.body[0]
            start += (doc.end_lineno or doc.lineno) - doc.lineno + 1
        lines, key = end - start + 1, f"{name}:{function.name}"
        if lines > FUNCTION_LINES_HARD or (lines > FUNCTION_LINES and key not in LONG_FUNCTIONS):
            yield f"{key}: {lines} lines, more than {FUNCTION_LINES}"


def many_parameters(name: str, text: str) -> Iterator[Fault]:
    for function in functions(text):
        taken = function.args
        positional = [each.arg for each in (*taken.posonlyargs, *taken.args)]
        positional = [each for each in positional if each not in {"self", "cls"}]
        every, key = len(positional) + len(taken.kwonlyargs), f"{name}:{function.name}"
        if (len(positional) > POSITIONAL or every > PARAMETERS) and key not in MANY_PARAMETERS:
            yield f"{key}: {len(positional)} positional, {every} parameters; a frozen Options takes more"


def vague_name(name: str, text: str) -> Iterator[Fault]:
    for part in Path(name).with_suffix("").parts:
        if part.strip("_") in VAGUE_NAMES:
            yield f"{name}: {part!r} says nothing; name it by what it is"


def no_docstring(name: str, text: str) -> Iterator[Fault]:
    if text.strip() and not ast.get_docstring(ast.parse(text)):
        yield f"{name}: opens without saying what it is"


def reads_environment(name: str, text: str) -> Iterator[Fault]:
    if name.startswith(tuple(ENVIRONMENT_READERS)):
        return
    names = {"environ", "environb", "getenv", "putenv"}
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=attribute, lineno=line) if attribute in names:
                yield f"{name}:{line}: reads the environment; settings come from engine/config.py"
            case ast.ImportFrom(module="os", names=imported, lineno=line) if names & {
                a.name for a in imported
            }:
                yield f"{name}:{line}: reads the environment; settings come from engine/config.py"
            case _:
                pass


def bare_task(name: str, text: str) -> Iterator[Fault]:
    if name in TASK_OWNERS:
        return
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr == "ensure_future" or (
            node.func.attr == "create_task" and (owner == "asyncio" or "loop" in owner.lower())
        ):
            yield f"{name}:{node.lineno}: a task nobody owns; use a task group"


def registry_host(name: str, text: str) -> Iterator[Fault]:
    for host in REGISTRY_HOSTS:
        if re.search(rf"(?<![\w-]){re.escape(host)}\b", text):
            yield f"{name}: names the package registry {host}"


def machine_path(name: str, text: str) -> Iterator[Fault]:
    for found in MACHINE_PATH.finditer(text):
        yield f"{name}: the path {found.group().strip()!r} exists on one machine only"


def metric_names(text: str) -> set[str]:
    """The metrics of a module, by the names a scrape shows: a counter's ends in `_total`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=kind), args=[ast.Constant(value=str(name)), *_], keywords=given):
                counter = kind == "Counter" or (kind == "Tallies" and "gauge" not in {k.arg for k in given})
                names.add(name.removesuffix("_total") + ("_total" if counter else ""))
            case _:
                pass
    return {name for name in names if re.fullmatch(r"stanchion_[a-z0-9_]+", name)}


def setting_names(kind: type[msgspec.Struct]) -> set[str]:
    """Every key that the configuration file may hold: `retry.attempts`, `providers.NAME.base_url`."""
    names: set[str] = set()
    for section, hint in get_type_hints(kind).items():
        table = get_origin(hint) is dict
        inner, at = (get_args(hint)[1], f"{section}.NAME") if table else (hint, section)
        names.update(f"{at}.{field.name}" for field in msgspec.structs.fields(inner))
    return names


def undocumented(names: set[str], page: str) -> list[str]:
    return sorted(name for name in names if not re.search(rf"`{re.escape(name)}[`{{]", page))


# --- the house, as it stands -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [too_long, long_functions, many_parameters, vague_name, no_docstring])
def test_every_module_keeps_the_measures_of_the_house(rule: Callable[[str, str], Iterator[Fault]]) -> None:
    assert each(rule, sources("src", "benchmarks", "examples", "scripts", "tests")) == []


@pytest.mark.parametrize("rule", [reads_environment, bare_task])
def test_the_product_keeps_to_its_places(rule: Callable[[str, str], Iterator[Fault]]) -> None:
    assert each(rule, sources("src")) == []


@pytest.mark.parametrize("rule", [registry_host, machine_path])
def test_no_tracked_file_names_a_registry_or_a_machine(rule: Callable[[str, str], Iterator[Fault]]) -> None:
    assert each(rule, tracked()) == []


def test_every_folder_of_the_product_is_a_package() -> None:
    folders = {Path(name).parent for name in sources("src")}
    assert [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").is_file()] == [], (
        "without __init__.py a folder escapes the import contracts"
    )


def test_no_exception_outlives_its_need() -> None:
    modules, known = sources("src", "benchmarks", "examples", "scripts", "tests"), set[str]()
    known.update(modules)
    known.update(f"{name}:{function.name}" for name in modules for function in functions(read(name)))
    assert (LONG_FILES.keys() | LONG_FUNCTIONS.keys() | MANY_PARAMETERS.keys() | TASK_OWNERS.keys()) <= known


def test_the_public_surface_is_the_frozen_list() -> None:
    import stanchion

    frozen = [line for line in read("tests/public_surface.txt").splitlines() if line and line[0] != "#"]
    assert sorted(stanchion.__all__) == frozen, (
        "a public name changed: change tests/public_surface.txt with it"
    )
    assert [name for name in frozen if not hasattr(stanchion, name)] == []


@pytest.mark.parametrize("page", ["docs/reference/metrics.md", "docs/zh/reference/metrics.md"])
def test_every_metric_is_documented(page: str) -> None:
    names = metric_names(read("src/stanchion/observe/metrics.py"))
    assert names, "observe/metrics.py names no metric: this test no longer finds them"
    assert undocumented(names, read(page)) == []


@pytest.mark.parametrize("page", ["docs/reference/settings.md", "docs/zh/reference/settings.md"])
def test_every_setting_is_documented(page: str) -> None:
    from stanchion.engine.settings import Settings

    assert undocumented(setting_names(Settings), read(page)) == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_readme_tells_how_to_run_and_to_test(page: str, command: str) -> None:
    assert command in read(page)


# --- each rule can fail ------------------------------------------------------------------------------

BROKEN: list[tuple[Callable[[str, str], Iterator[Fault]], str, str]] = [
    (too_long, "src/stanchion/core/x.py", "\n" * 301),
    (too_long, "tests/unit/test_x.py", "\n" * 401),
    (long_functions, "src/stanchion/core/x.py", "def f():\n" + "    a = 1\n" * 51),
    (many_parameters, "src/stanchion/core/x.py", "def f(a, b, c, d, e, f, g): ..."),
    (many_parameters, "src/stanchion/core/x.py", f"def f(*, {', '.join(f'k{n}' for n in range(13))}): ..."),
    (vague_name, "src/stanchion/core/utils.py", ""),
    (vague_name, "src/stanchion/_common/x.py", ""),
    (no_docstring, "src/stanchion/core/x.py", "a = 1"),
    (reads_environment, "src/stanchion/core/x.py", "import os\nos.environ['A']"),
    (reads_environment, "src/stanchion/core/x.py", "from os import getenv"),
    (bare_task, "src/stanchion/core/x.py", "asyncio.create_task(f())"),
    (bare_task, "src/stanchion/core/x.py", "asyncio.get_running_loop().create_task(f())"),
    (bare_task, "src/stanchion/core/x.py", "asyncio.ensure_future(f())"),
    (registry_host, "README.md", f"https://{REGISTRY_HOSTS[0]}/project"),
    (registry_host, "README.md", f"https://files.{REGISTRY_HOSTS[1]}/x"),
    (machine_path, "README.md", "see `/" + "work/notes`"),
    (machine_path, "README.md", "open file:///" + "home/someone/x"),
]


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_a_rule_sees_what_breaks_it(
    rule: Callable[[str, str], Iterator[Fault]], name: str, text: str
) -> None:
    assert list(rule(name, text))


@pytest.mark.parametrize(
    ("rule", "name", "text"),
    [
        (
            long_functions,
            "src/stanchion/core/x.py",
            'def f():\n    """One.\n' + "\n" * 60 + '    """\n    a = 1\n',
        ),
        (reads_environment, "src/stanchion/cli/x.py", "import os\nos.environ['A']"),
        (reads_environment, "src/stanchion/engine/x.py", "loaded.environ['A']"),
        (bare_task, "src/stanchion/core/x.py", "group.create_task(f())"),
        (machine_path, "README.md", "GET /v1/work/ and ../shared/"),
    ],
)
def test_a_rule_passes_what_keeps_it(
    rule: Callable[[str, str], Iterator[Fault]], name: str, text: str
) -> None:
    assert list(rule(name, text)) == []


def test_a_metric_missing_from_its_page_is_seen() -> None:
    names = metric_names(
        'a = Tallies("stanchion_calls", "Calls.")\nb = Tallies("stanchion_open", "Open.", gauge=True)'
    )
    assert undocumented(names, "| `stanchion_calls` | `stanchion_open_calls` |") == [
        "stanchion_calls_total",
        "stanchion_open",
    ]
    assert undocumented(names, "| `stanchion_calls_total{code}` | `stanchion_open` |") == []


class Section(msgspec.Struct):
    wait_s: float = 1.0


class Tree(msgspec.Struct):
    retry: Section
    providers: dict[str, Section]


def test_a_setting_missing_from_its_page_is_seen() -> None:
    assert undocumented(setting_names(Tree), "`retry.wait_s`") == ["providers.NAME.wait_s"]
    assert undocumented(setting_names(Tree), "`retry.wait_s` `providers.NAME.wait_s`") == []
