"""Make a repository of one's own of this one: `python -m scaffold.new_project FOLDER [NAME]`, or `make new`.

The code, the tests that need no data of ours, and a small made-up table; without our data, history, benchmarks and
prose. NAME is the project's and the registered model's; the folder's name where it is not given. All of it or nothing.
"""

import csv
import datetime
import math
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.errors import RequestError

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = Path(__file__).resolve().parent / "project"
USAGE = "make new FOLDER=../churn [NAME=churn]"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

# Ours: files, and folders with all that is in them.
LEFT_OUT = (
    "README.md",
    "README.it.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CITATION.cff",
    "dataset.yaml",
    ".github/ISSUE_TEMPLATE/",
    ".github/PULL_REQUEST_TEMPLATE.md",
    "data/",
    "benchmarks/",
    "docs/decisions/",
    "docs/architecture.md",
    "docs/architecture.svg",
    "docs/draw_architecture.py",
    "docs/screenshots/",
    "examples/",
    "scaffold/new_project.py",
    "scaffold/project/",
    "tests/data/",
    "tests/scaffold/test_new_project.py",
    "tests/test_adoption.py",
    "tests/test_architecture.py",
    "tests/test_benchmarks.py",
    "tests/test_collection.py",
    "tests/test_readme.py",
    "tests/test_words.py",
)
# A test that has one of these words is about our data; it stays here, and so does what imports it.
OF_OUR_DATA = re.compile(r"TITANIC|make_sample|titanic_sample|passengers_to_score|real_list|passenger_list|Pclass")
SHARED_BY_TESTS = ("tests/conftest.py", "tests/example_tables.py")

OUR_TARGETS = "new|demo|screenshots|toolchains|bench|bench-scale"

# File -> what is cut out of it, or put in its place.
CHANGES: Mapping[str, Sequence[tuple[str, str]]] = {
    "Makefile": [
        (r"(?m)^\t.*(ISSUE_TEMPLATE|CITATION|make bench|make demo|make new|test_serving_contract).*\n", ""),
        (rf"(?m)^(# (Needs nothing but Git|The pictures).*\n)?({OUR_TARGETS}):.*\n(\t.*\n)+\n", ""),
        (rf" ({OUR_TARGETS})(?= [^\n]*\nhelp:)", ""),  # in .PHONY, which stands above help
    ],
    "mkdocs.yml": [(r"(?m)^ +- (docs/architecture|README\.it|CONTRIBUTING|CHANGELOG|SECURITY)\.md\n", "")],
    ".pre-commit-config.yaml": [(r"      - id: (issue-forms|citation)\n(        .*\n)+", "")],
    ".ci/run": [(r"(?m)^examples/.*\n", "")],
    ".gitlab-ci.yml": [(r"(?m)^    - make toolchains\n", "")],
    ".github/workflows/ci.yml": [(r"(?m)^      - if: .*\n        run: make toolchains\n", "")],
    "docs/production.md": [(r" `make demo` [^\n]*", "")],
    "docs/your-step.md": [(r"(?m)^\n`examples/languages/` .*\n", "")],
    ".github/dependabot.yml": [(r": see CONTRIBUTING\.md", "")],
    "pyproject.toml": [
        (r'(?m)^"(benchmarks|scaffold/project)/.*\n', ""),
        (r'(?m)^(pythonpath = .*), "data"', r"\1"),
        (r'(?m)^(    "scaffold/templates/\*"), "scaffold/project/\*"', r"\1"),
        (r"(?m)^fail_under = \d+", "fail_under = 30"),  # many of the tests that reach our code stay here
    ],
    "conda.yml": [(r"titanic_pipeline", "titanic")],
    "MLproject": [(r"titanic_pipeline", "titanic")],
    "config.yaml": [(r"titanic_sample", "customers")],
    "tests/conftest.py": [
        (r"(?m)^REAL_LIST = .*\n", ""),
        (r"(?ms)^@pytest\.fixture[^\n]*\ndef (real_list|passenger_list)\(.*?\n\n\n", ""),
        (r"the real list where it is there, a real store", "a real store"),
    ],
    "tests/test_layout.py": [
        (
            r're\.findall\(\s*r"\(\?i\)titanic\|passenger\|survived\|"(.*?), file\.read_text\(\)\s*\)',
            r're.findall("(?i)"\1, file.read_text())',
        ),
    ],
}
# Our table's words, and those of the made-up one.
WORDS = {"PassengerId": "customer", "Survived": "churned", "passenger": "customer", "Passenger": "Customer"}
WORDS["PASSENGER"] = "CUSTOMER"
# In tests, words of the same length: no line has to be broken in another place.
TEST_WORDS = {"titanic": "example", "TITANIC": "EXAMPLE", "Titanic": "Example"}
TEST_WORDS |= {"passenger": "applicant", "Passenger": "Applicant", "PASSENGER": "APPLICANT"}


def main(arguments: Sequence[str]) -> int:
    folder, name = [*arguments, "", ""][:2]
    try:
        target = new_project(ROOT, folder, name)
    except RequestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{target}: a repository of your own, with one commit. Next:")
    print(f"cd {folder} && make run")
    return 0


def new_project(root: Path, folder: str, name: str = "") -> Path:
    """Make the repository in `folder` of the one at `root`; its path.

    Raises:
        RequestError: it cannot be made, and nothing was.
    """
    if not folder:
        raise RequestError(f"FOLDER is missing: {USAGE}")
    target = Path(folder).expanduser().resolve()
    name = name or target.name
    if not NAME.fullmatch(name) or name.lower() in YAML_WORDS:
        raise RequestError(
            f"NAME={name!r} is no name for a model: letters, digits, _, - and ., at most 100, a letter first; {USAGE}"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RequestError(f"FOLDER={folder} is there already, and not empty; choose another")
    if target.is_relative_to(root):
        raise RequestError(f"FOLDER={folder} is inside this repository; choose one beside it, such as ../{name}")
    names = git(root, "ls-files", "-z").split("\0")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            made = Path(temporary, target.name)
            copy_files(root, made, names, name)
            write_data(made / "data")
            commit(made, name)
            made.replace(target)
    except OSError as error:
        raise RequestError(f"FOLDER={folder} cannot be made ({error.strerror}: {error.filename})") from None
    return target


def copy_files(root: Path, made: Path, names: Sequence[str], name: str) -> None:
    """Copy those of the files that stay, with what is to be another in them, and the templates."""
    for source in staying(root, names):
        text = (root / source).read_bytes().decode("utf-8", errors="surrogateescape")
        words = TEST_WORDS if source.startswith("tests/") else {**WORDS, "titanic": name, "Titanic": name}
        text = replaced(changed(source, text), words)
        write(made / replaced(source, words), text, root / source)
    for template in sorted(path for path in TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        text = template.read_text(encoding="utf-8").replace("@NAME@", name)
        write(made / template.relative_to(TEMPLATES), text, template)


def staying(root: Path, names: Sequence[str]) -> Iterator[str]:
    """The files that are for everybody."""
    there = [name for name in names if name and (root / name).is_file()]
    kept = [name for name in there if not name.startswith(LEFT_OUT)]
    ours = tests_of_our_data({name: (root / name).read_text(encoding="utf-8") for name in kept if is_test(name)})
    return (name for name in kept if name not in ours)


def is_test(name: str) -> bool:
    return name.startswith("tests/") and name.endswith(".py") and name not in SHARED_BY_TESTS


def tests_of_our_data(tests: Mapping[str, str]) -> set[str]:
    """The tests that speak of our data, with those that import one of them or have it for a conftest.py."""
    ours = {name for name, text in tests.items() if OF_OUR_DATA.search(text)}
    while True:
        modules = {name.removesuffix(".py").replace("/", ".") for name in ours}
        folders = {name.removesuffix("conftest.py") for name in ours if name.endswith("conftest.py")}
        more = {
            name
            for name, text in tests.items()
            if modules & set(re.findall(r"(?m)^(?:from|import) (tests[\w.]+)", text))
            or any(name.startswith(folder) for folder in folders)
        }
        if more <= ours:
            return ours
        ours |= more


def changed(source: str, text: str) -> str:
    for pattern, replacement in CHANGES.get(source, ()):
        text = re.sub(pattern, replacement, text)
    return text


def replaced(text: str, words: Mapping[str, str]) -> str:
    for ours, theirs in words.items():
        text = text.replace(ours, theirs)
    return text


def write(path: Path, text: str, like: Path) -> None:
    """Write a file with the mode of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    shutil.copymode(like, path)


def write_data(folder: Path) -> None:
    """The made-up table, and others to be scored, whose outcome nobody knows."""
    folder.mkdir()
    rows = list(customers(400))
    write_csv(folder / "customers.csv", rows[:300])
    write_csv(
        folder / "customers_to_score.csv", [{k: v for k, v in row.items() if k != "churned"} for row in rows[300:]]
    )


def customers(count: int, seed: int = 12) -> Iterator[dict[str, object]]:
    """Made-up customers: those who come seldom, and pay for little, leave."""
    random_numbers = random.Random(seed)  # noqa: S311 (no secret)
    for number in range(1, count + 1):
        joined = datetime.date(2021, 1, 1) + datetime.timedelta(days=random_numbers.randrange(1400))
        plan = random_numbers.choice(["basic", "plus", "family"])
        visits = int(random_numbers.expovariate(0.2))
        leaning = 2.2 - 0.7 * visits + {"basic": 1.5, "plus": 0, "family": -1.5}[plan]
        age = 18 + int(random_numbers.random() * 60)
        yield {
            "customer": number,
            "joined": joined.isoformat(),
            "age": "" if random_numbers.random() < 0.05 else age,
            "plan": plan,
            "visits": visits,
            "churned": str(random_numbers.random() < 1 / (1 + math.exp(-leaning))).lower(),
        }


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def commit(folder: Path, name: str) -> None:
    """Begin a history with one commit, by whoever Git says the user is."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all", "--force")
    known = [key for key in ("user.name", "user.email") if git(folder, "config", "--default", "", key).strip()]
    anonymous = [] if len(known) == 2 else ["-c", f"user.name={name}", "-c", f"user.email={name}@localhost"]
    git(folder, *anonymous, "-c", "commit.gpgsign=false", "commit", "--quiet", "--no-verify", "-m", f"Begin {name}")


def git(folder: Path, *arguments: str) -> str:
    """What Git prints.

    Raises:
        RequestError: there is no Git, or it fails.
    """
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise RequestError("git is not on the PATH; install it") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        command = next(word for word in arguments if not word.startswith("-") and "=" not in word)
        raise RequestError(f"git {command} failed in {folder} ({last})")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
