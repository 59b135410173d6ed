"""Lay down a step that runs at once: `python -m scaffold.new_step NAME AFTER [LANGUAGE] [OUTPUT]`, or `make step`.

Its folder, its block in config.yaml behind that of AFTER, and a test; all of it or nothing. The step reads the CSV file
that AFTER makes: OUTPUT, else the one that config.yaml speaks of.
"""

import contextlib
import importlib.util
import keyword
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import RequestError, unknown
from scaffold import locks

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "templates"
USAGE = "make step NAME=feature_selection AFTER=data_cleaning [LANGUAGE=python] [OUTPUT=clean_data.csv]"
NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
PACKAGES = ("mlflow-skinny", "sqlalchemy", "alembic", "numpy")  # what it takes to log to MLflow, and into a database


@dataclass(frozen=True)
class Language:
    """What a step in a language consists of."""

    title: str
    source: str  # the program, a file of templates/
    tool: str  # what runs it, or compiles it
    kit: tuple[str, ...] = ("launch", "step", "step_error", "step_outputs")

    @property
    def toolchain(self) -> list[str]:
        """The tools whose versions count for reuse, beside Python's packages."""
        return [] if self.tool == "python" else [self.tool]

    @property
    def command(self) -> str:
        if self.tool == "python":
            return f"python {self.source} --input {{input}}"
        return f"python launch.py {self.tool} {self.source} {{input}}"


LANGUAGES = {
    "python": Language("Python", "run.py", "python", kit=("step", "step_error")),
    "bash": Language("Bash", "step.sh", "bash"),
    "r": Language("R", "step.R", "Rscript"),
    "java": Language("Java", "Step.java", "java"),
    "node": Language("Node.js", "step.js", "node"),
    "cpp": Language("C++", "step.cpp", "g++"),
    "go": Language("Go", "step.go", "go"),
    "julia": Language("Julia", "step.jl", "julia"),  # never run here: Julia was not to be had
}


def main(arguments: Sequence[str]) -> int:
    name, after, language, output = [*arguments, "", "", "", ""][:4]
    try:
        print("\n".join(new_step(ROOT, name, after, language or "python", output)))
    except RequestError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    return 0


def new_step(root: Path, name: str, after: str, language: str = "python", output: str = "") -> list[str]:
    """Lay down the step in the project at `root`; what was done, in lines.

    Raises:
        RequestError: it cannot be, and nothing was written.
    """
    config, language = root / "config.yaml", {"c++": "cpp"}.get(language, language)
    text = config.read_text(encoding="utf-8")
    if not name or not after:
        raise RequestError(f"{'AFTER' if name else 'NAME'} is missing: {USAGE}")
    parsed = yaml.safe_load(text)
    check_name(root, name, parsed)
    if after not in parsed["pipeline"]:
        raise RequestError(unknown("step", after, parsed["pipeline"], "config.yaml"))
    if language not in LANGUAGES:
        raise RequestError(unknown("LANGUAGE", language, LANGUAGES))
    output = output or output_of(after, text)
    written = {config: with_block(text, name, after, output, LANGUAGES[language].toolchain)}
    if (pyproject := root / "pyproject.toml").is_file():
        written[pyproject] = with_folder(pyproject.read_text(encoding="utf-8"), name)

    # Beside where they go: to move them there cannot fail half-way for lack of space.
    with tempfile.TemporaryDirectory(prefix=".new-step-", dir=root) as temporary:
        folder, tests = Path(temporary, "step"), Path(temporary, "tests")
        make_step(root, folder, name, LANGUAGES[language], output)
        make_test(tests, name, LANGUAGES[language])
        put_in_place(root, {folder: root / name, tests: root / "tests" / name}, written)
    made = sorted(path.name for path in (root / name).iterdir())
    return [
        f"{name}/: {', '.join(made)}",
        f"config.yaml: the block {name}, behind {after}; it reads {output}, and makes {name}.csv",
        f"tests/{name}/test_run.py",
        "To run it:  python main.py",
        f"To read what it makes, in another step's block:  ${{artifact:{name},{name}.csv}}",
    ]


def check_name(root: Path, name: str, config: Mapping[str, Any]) -> None:
    """Raises RequestError where a step cannot have the name."""
    if not NAME.fullmatch(name) or keyword.iskeyword(name):
        raise RequestError(
            f"NAME={name!r} is no name for a step: small letters, digits and _, at most 32, a letter first; "
            "such as feature_selection"
        )
    places = [path.relative_to(root).as_posix() for path in (root / name, root / "tests" / name) if path.exists()]
    if name in {"all", *config, *config["pipeline"], *(config.get("groups") or {})}:
        places.append("config.yaml")
    if places:
        raise RequestError(f"NAME={name} is taken already, by {' and '.join(places)}; choose another")
    if importlib.util.find_spec(name):
        raise RequestError(f"NAME={name} is a Python module, which could not be imported any more; choose another")


def output_of(step: str, config: str) -> str:
    """The CSV file that the configuration says a step makes: the first that something reads of it.

    Raises:
        RequestError: nothing does.
    """
    block = yaml.safe_load(config)["pipeline"][step] or {}
    for maker in (step, block.get("extends"), block.get("uri")):
        if maker and (found := re.search(rf"\$\{{artifact:\s*{re.escape(maker)}\s*,\s*([^}}]+\.csv)\s*\}}", config)):
            return found[1]
    raise RequestError(f"config.yaml does not tell which CSV file {step} makes; say it: OUTPUT=FILE.csv")


def with_block(config: str, name: str, after: str, output: str, toolchain: Sequence[str] = ()) -> str:
    """The text of config.yaml with the step's block behind that of `after`; nothing else is touched.

    Raises:
        RequestError: it is written in a way that this cannot add to.
    """
    old = yaml.safe_load(config)
    reference = f"${{artifact:{after},{output}}}"
    block: dict[str, Any] = {"parameters": {"input": reference}, "summary_metrics": ["rows_in", "rows_out"]}
    manual = bool((old["pipeline"][after] or {}).get("manual"))  # then `all` does not make what it reads
    block |= {"manual": True} if manual else {}
    block |= {"toolchain": list(toolchain)} if toolchain else {}
    nodes: Any = yaml.compose(config)
    pipeline = next(value for key, value in nodes.value if key.value == "pipeline")
    mark = next(key.start_mark for key, _ in pipeline.value if key.value == after)
    indent = mark.column * " "
    lines = config.splitlines()
    inside = [number for number, line in enumerate(lines) if number > mark.line and line.strip()]
    outside = next((n for n in inside if len(lines[n]) - len(lines[n].lstrip()) <= mark.column), len(lines))
    end = max([mark.line, *(number for number in inside if number < outside)]) + 1
    added = [
        "",
        f"{indent}{name}:",
        f"{indent}  parameters:",
        f"{indent}    input: {reference}",
        *([f"{indent}  manual: true"] if manual else []),
        *([f"{indent}  toolchain: [{', '.join(toolchain)}]"] if toolchain else []),
        f"{indent}  summary_metrics: [rows_in, rows_out]",
    ]
    text = "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError:
        new = None
    if new != old | {"pipeline": old["pipeline"] | {name: block}}:
        raise RequestError(
            f"config.yaml is written in a way that this cannot add to; under {after} add" + "\n".join(added)
        )
    return text


def with_folder(pyproject: str, name: str) -> str:
    """pyproject.toml with the folder where the tests look for modules, and among those whose coverage is measured."""
    for key in ("pythonpath", "source"):
        pyproject = re.sub(
            rf'^({key} = \[[^\]]*?"),?(\s*)\]', rf'\g<1>, "{name}"\g<2>]', pyproject, count=1, flags=re.MULTILINE
        )
    return pyproject


def put_in_place(root: Path, folders: Mapping[Path, Path], files: Mapping[Path, str]) -> None:
    """Move the folders and write the files: all of them or, where one cannot be, none.

    Raises:
        RequestError: one cannot be.
    """
    before = {file: file.read_bytes() for file in files}
    try:
        (root / "tests").mkdir(exist_ok=True)
        for source, target in folders.items():
            source.rename(target)
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        for target in folders.values():
            shutil.rmtree(target, ignore_errors=True)
        for file, content in before.items():
            with contextlib.suppress(OSError):
                file.write_bytes(content)
        raise RequestError(f"nothing was made: {error.strerror}: {error.filename}") from None


def make_step(root: Path, folder: Path, name: str, language: Language, output: str) -> None:
    """Write the step's folder."""
    folder.mkdir()
    pins = pins_of((root / "conda.yml").read_text(encoding="utf-8"))
    words = {
        "@NAME@": name,
        "@READS@": output,
        "@COMMAND@": language.command,
        "@PINS@": "\n".join(f"      - {pin}" for pin in pins),
    }
    for file in ("MLproject", language.source):
        (folder / file).write_text(filled(file, words), encoding="utf-8")
    lock = lock_with(root, pins)
    (folder / locks.LOCK).write_text(lock, encoding="utf-8")
    (folder / "conda.yml").write_text(locks.with_digest(filled("conda.yml", words), lock), encoding="utf-8")
    for module in language.kit:
        shutil.copyfile(root / "kit" / f"{module}.py", folder / f"{module}.py")


def make_test(folder: Path, name: str, language: Language) -> None:
    """Write the step's test: of a language that is not on a machine, it is skipped there."""
    text = filled("test_run.py", {"@NAME@": name})
    if language.tool != "python":
        mark = "pytestmark = pytest.mark.integration\n"
        condition = f'shutil.which("{language.tool}") is None'
        reason = f"{language.title} is not on this machine: there is no {language.tool}"
        skip = f'    pytest.mark.skipif({condition}, reason="{reason}"),\n'
        metrics = '{"rows_in": 3, "rows_out": 2}\n'
        text = text.replace(metrics, metrics + '    assert done.run.data.tags["toolchain"]\n')
        text = text.replace(mark, f"pytestmark = [\n    pytest.mark.integration,\n{skip}]\n")
        text = text.replace("from collections", "import shutil\nfrom collections", 1)
    folder.mkdir()
    (folder / "test_run.py").write_text(text, encoding="utf-8")


def filled(template: str, words: dict[str, str]) -> str:
    """A template's text with each word in its place."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def pins_of(conda: str) -> list[str]:
    """The packages of a step, as the root's conda.yml pins them.

    Raises:
        RequestError: it does not have one of them.
    """
    found = {pin.partition("==")[0]: pin for pin in locks.declared(conda)}
    if missing := [package for package in PACKAGES if package not in found]:
        raise RequestError(f"conda.yml does not pin {', '.join(missing)}, which a step needs to log to MLflow; add it")
    return [found[package] for package in PACKAGES]


def lock_with(root: Path, pins: list[str]) -> str:
    """The shortest lock of the project's steps that has these packages; else the root's, which has all.

    It may have more than is needed; `make lock` makes it anew.
    """
    texts = [path.read_text(encoding="utf-8") for path in sorted(root.glob(f"*/{locks.LOCK}"))]
    having = [text for text in texts if set(pins) <= locks.locked(text)]
    return min(having, key=len, default=(root / locks.LOCK).read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
