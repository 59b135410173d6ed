"""Draw docs/architecture.svg from the code: the wings of `pipeline/`, the steps, and who imports whom.

    python docs/draw_architecture.py            write it (a test compares it with the code as it is)

A wing stands above what it imports; an arrow is at least one import, thicker for more. Standard library only.
"""

import ast
import html
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "architecture.svg"
WIDTH, MARGIN, LINE, GAP = 900, 24, 18, 46  # pixels


def rooms() -> dict[str, list[Path]]:
    """Each wing with its files; what lies beside the wings is a room of its own."""
    found: dict[str, list[Path]] = {"main.py": [ROOT / "main.py"]}
    for path in sorted((ROOT / "pipeline").iterdir()):
        if path.is_dir() and (path / "__init__.py").is_file():
            found[f"{path.name}/"] = sorted(path.rglob("*.py"))
        elif path.suffix == ".py" and path.name != "__init__.py":
            found[path.name] = [path]
    return found


def imports(room: str, files: list[Path], names: list[str]) -> Counter[str]:
    """How often the files of a room import another room."""
    found: Counter[str] = Counter()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            for module in modules:
                parts = module.split(".")
                if parts[0] == "pipeline" and len(parts) > 1:
                    other = f"{parts[1]}/" if f"{parts[1]}/" in names else f"{parts[1]}.py"
                    if other in names and other != room:
                        found[other] += 1
    return found


def floors(arrows: dict[str, Counter[str]]) -> dict[str, int]:
    """Each room's floor: one above the highest that it imports."""
    found: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in found:
            found[room] = 1 + max((floor(other) for other in arrows[room]), default=-1)
        return found[room]

    for room in arrows:
        floor(room)
    return found


def first_words(files: list[Path]) -> str:
    """What a room says of itself: the first sentence of its docstring."""
    source = next((f for f in files if f.name == "__init__.py"), files[0])
    text = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(text.split()).split(". ")[0].rstrip(".")


def draw() -> str:
    """The picture as SVG: light and dark, nothing fetched."""
    found = rooms()
    arrows = {room: imports(room, files, list(found)) for room, files in found.items()}
    levels = floors(arrows)
    boxes: dict[str, tuple[float, float, float, float]] = {}  # x, y, width, height
    body: list[str] = []
    y = float(MARGIN)
    for level in range(max(levels.values()), -1, -1):
        row = [room for room in found if levels[room] == level]
        width = (WIDTH - 2 * MARGIN - 20 * (len(row) - 1)) / len(row)
        lines = {room: lines_of(room, found[room], width) for room in row}
        height = LINE * max(map(len, lines.values())) + 30
        for place, room in enumerate(row):
            boxes[room] = (MARGIN + place * (width + 20), y, width, height)
        y += height + GAP
    for room, others in arrows.items():
        for other, count in others.items():
            if any(
                other in arrows[between] for between in others if between != other and levels[between] > levels[other]
            ):
                continue  # a longer way says it already
            (x1, y1, w1, h1), (x2, y2, w2, _) = boxes[room], boxes[other]
            start, end = x1 + w1 / 2, x2 + w2 / 2
            body.append(
                f'<path d="M{start:.0f},{y1 + h1:.0f} C{start:.0f},{y1 + h1 + 24:.0f} {end:.0f},{y2 - 24:.0f} '
                f'{end:.0f},{y2:.0f}" class="arrow" stroke-width="{1 + min(count, 12) / 6:.1f}"/>'
            )
    for room, (x, top, wide, high) in boxes.items():
        body.append(f'<rect x="{x:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{high:.0f}" rx="8" class="room"/>')
        for number, (line, style) in enumerate(lines_of(room, found[room], wide)):
            line_y = top + 24 + number * LINE
            body.append(f'<text x="{x + 12:.0f}" y="{line_y:.0f}" class="{style}">{html.escape(line)}</text>')
    style = (
        "text{font:13px system-ui,sans-serif;fill:#24292f}.name{font-weight:700;font-size:15px}.file{fill:#57606a}"
        ".room{fill:#f6f8fa;stroke:#8c959f}.arrow{fill:none;stroke:#8c959f}"
        "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.file{fill:#9198a1}.room{fill:#161b22;stroke:#3d444d}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y - GAP + MARGIN:.0f}" role="img">'
        f"<title>The rooms of the orchestrator and what they import</title><style>{style}</style>"
        f"{''.join(body)}</svg>\n"
    )


def lines_of(room: str, files: list[Path], width: float) -> list[tuple[str, str]]:
    """What stands in a box: name, first words, files; each with its style."""
    letters = int(width / 7)
    words = first_words(files)
    lines = [(room, "name"), *((part, "words") for part in wrapped(words, letters))]
    names = [f.name for f in files if f.name != "__init__.py"]
    if len(names) > 1:
        lines += [(part, "file") for part in wrapped("  ".join(names), letters)]
    return lines


def wrapped(text: str, letters: int) -> list[str]:
    """The text in lines of at most so many letters."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > letters and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8")
