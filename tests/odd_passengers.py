"""A passenger list with every oddity in it that a CSV file can have."""

import csv
import io
import random


def odd_header() -> bytes:
    """The first line of a passenger list, with a byte order mark."""
    names = "PassengerId,Survived,Pclass,Name,Sex,Age,SibSp,Parch,Ticket,Fare,Cabin,Embarked"
    return f"\ufeff{names}\r\n".encode()


def odd_rows(rows: int, seed: int = 0, first: int = 1) -> bytes:
    """Passengers with quotes, line ends of every kind inside and outside them, blank lines, bad and ragged rows, and
    rows and keys that come again far from where they were first; the same bytes each time."""
    draw = random.Random(seed)
    names = [
        "Smith, Mr. A",
        'O"Neil, Mrs. "B"',
        "Line,\nMr. End",
        "CR,\r\nMiss. LF",
        "Zoë, Master. É",
        " space, Mr. D ",
    ]
    text, kept = io.StringIO(newline=""), []
    for number in range(first, first + rows):
        row = [number, draw.randint(0, 1), draw.randint(1, 3), draw.choice([*names, "?"])]
        row += [draw.choice(["male", "FEMALE"]), draw.choice([22, "0.42", "7,5", "", 60, 61, 62, "x"])]
        row += [draw.choice([0, 1, 2, 3, 4, "1.5"]), 0, "A/5 21171", draw.choice([7.25, "71.2833", ""])]
        row += [draw.choice(["", "C85"]), draw.choice("SCQs")]
        if kept and draw.random() < 0.05:
            row = draw.choice(kept)  # the same row again
        elif kept and draw.random() < 0.05:
            row = [draw.choice(kept)[0], *row[1:]]  # another row of the same key
        kept.append(row)
        line = draw.choice(["\n", "\r\n", "\r", "\n\n", "\r\n \n"])
        style = draw.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        csv.writer(text, lineterminator=line, quoting=style).writerow(row[: 12 if draw.random() < 0.95 else 5])
        if draw.random() < 0.01:
            text.write(f'{1_000_000_000 + number},1,2,a 5" pipe,male,2,0,0, "spaced",1,,S\n')
    return text.getvalue().encode()
