"""Draw the passenger lists that ship with the project: `python data/make_sample.py [FOLDER]`.

The people are invented. How many men, women and children travelled in each class, and how many of them were saved, is
as published: British Wreck Commissioner, "Report on the Loss of the S.S. Titanic" (1912), the table of passengers
saved, as tabulated in R. J. MacG. Dawson, "The 'Unusual Episode' Data Revisited", Journal of Statistics Education 3(3),
1995 (the data set `Titanic` of R).
"""

import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

SEED = 1912


def words(text: str) -> list[str]:
    return text.split()


COLUMNS = words("PassengerId Survived Pclass Name Sex Age SibSp Parch Ticket Fare Cabin Embarked")

# (class, group): (carried, saved)
PUBLISHED = {
    (1, "man"): (175, 57),
    (1, "woman"): (144, 140),
    (1, "boy"): (5, 5),
    (1, "girl"): (1, 1),
    (2, "man"): (168, 14),
    (2, "woman"): (93, 80),
    (2, "boy"): (11, 11),
    (2, "girl"): (13, 13),
    (3, "man"): (462, 75),
    (3, "woman"): (165, 76),
    (3, "boy"): (48, 13),
    (3, "girl"): (31, 14),
}

# By class: share of ages and of cabins missing, ports and their shares, fare per head in pounds (median, spread of its
# logarithm), adults' age in years (mean, spread), share of the women who travel with a husband.
AGE_MISSING = {1: 0.14, 2: 0.06, 3: 0.28}
CABIN_MISSING = {1: 0.19, 2: 0.91, 3: 0.975}
PORTS = {1: ("SCQ", (0.59, 0.40, 0.01)), 2: ("SCQ", (0.89, 0.09, 0.02)), 3: ("SCQ", (0.72, 0.13, 0.15))}
FARE = {1: (32.0, 0.55), 2: (12.5, 0.30), 3: (7.8, 0.15)}
ADULT_AGE = {1: (39.0, 13.0), 2: (32.0, 11.0), 3: (28.0, 9.5)}
FAMILY, YOUTH = 0.7, 0.5  # how much each relative aboard, and each ten years of age, count against being saved
MARRIED = {1: 0.55, 2: 0.50, 3: 0.35}

SYLLABLES = (
    words(
        """Bar Bel Cor Dal Dun Ek Fen Gar Hal Hol Ing Kar Kel Lan Lind Mar Mel Nor Oster Pell Quin Rad Ros San Stan Thor
        Ul Vas Wend Yar"""
    ),
    words("a ber by den e er i ing la le mo o ri ro ta"),
    words(
        """berg bridge by cott dahl dorn ford gård grove holm ic kamp land low mann mére more nen ov qvist ridge sen son
        ström ton vale wick worth"""
    ),
)
MALE = words(
    """Alban Anton Bertil Casper Denis Edmund Felix Gregor Hector Ivar Jonas Kasimir Lambert Magnus Nils Oskar Piers
    Quentin Rufus Silas Tobias Ulrik Viktor Walter"""
)
FEMALE = words(
    """Agnes Beatrix Clara Dagny Edith Flora Greta Hilda Ida Joan Karin Lotte Mabel Nora Olga Petra Rosa Signe Thea
    Ursula Vera Winifred"""
)
NICKNAMES = words("Bea Dolly Jenny Kitty Lou Minnie Nan Polly Tess Vi")
RARE_MEN = ["Dr", "Rev", "Col", "Major", "Capt", "Sir"]
RARE_WOMEN = ["Dr", "Mlle", "Mme", "Lady", "Ms"]


def passengers(rows: int, seed: int = SEED, first_id: int = 1) -> pd.DataFrame:
    """Invented passengers, `rows` of them, in the twelve columns of the real list; ages in years, fares in pounds."""
    generator = np.random.default_rng(seed)
    people = draw_people(generator, rows)
    parties = travel_together(generator, people)
    choose_saved(generator, people)
    for number, party in enumerate(parties):
        equip(generator, party, number)
    frame = pd.DataFrame(people).sample(frac=1, random_state=generator)
    frame.insert(0, "PassengerId", range(first_id, first_id + rows))
    frame.loc[frame.index[generator.choice(rows, 2, replace=False)], "Embarked"] = None
    return frame[COLUMNS].reset_index(drop=True)


def draw_people(generator: np.random.Generator, rows: int) -> list[dict]:
    """Class, sex, age and survival, each group as often, and saved as often, as published."""
    groups = list(PUBLISHED)
    carried = np.array([PUBLISHED[group][0] for group in groups])
    people = []
    for index in generator.choice(len(groups), rows, p=carried / carried.sum()):
        pclass, kind = groups[index]
        number, saved = PUBLISHED[pclass, kind]
        people.append(
            {
                "Survived": int(generator.random() < saved / number),
                "Pclass": pclass,
                "Sex": "male" if kind in ("man", "boy") else "female",
                "Age": age(generator, pclass, kind),
                "SibSp": 0,
                "Parch": 0,
                "group": (pclass, kind),
                "child": kind in ("boy", "girl"),
            }
        )
    return people


def age(generator: np.random.Generator, pclass: int, kind: str) -> float:
    if kind in ("boy", "girl"):
        years = generator.uniform(0.3, 13)
        return round(years * 12) / 12 if years < 1 else float(int(years))
    years = float(np.clip(generator.normal(*ADULT_AGE[pclass]), 14, 80))
    return int(years) + (0.5 if generator.random() < 0.03 else 0.0)


def travel_together(generator: np.random.Generator, people: list[dict]) -> list[list[dict]]:
    """Make couples, give the children to them, and let some friends share a ticket; the parties, each on one ticket."""
    parties = []
    for pclass in (1, 2, 3):
        of_class = [person for person in people if person["Pclass"] == pclass]
        men = [person for person in of_class if not person["child"] and person["Sex"] == "male"]
        women = [person for person in of_class if not person["child"] and person["Sex"] == "female"]
        children = [person for person in of_class if person["child"]]
        couples = min(len(men), round(MARRIED[pclass] * len(women)))
        families = [[women.pop(), men.pop()] for _ in range(couples)]
        families += [[women.pop()] for _ in range(min(len(women), len(children) // 8))]  # mothers alone
        with_children = families[: max(1, len(children) // 2)] if families else []
        for child in children:
            if with_children:
                with_children[generator.integers(len(with_children))].append(child)
            else:
                families.append([child])  # alone, but with a name
        for family in families:
            relate(generator, family)
        parties += families + share_tickets(generator, men + women)
    return parties


def relate(generator: np.random.Generator, family: list[dict]) -> None:
    """Count spouses, siblings, parents and children aboard, and give the family one name."""
    adults = [person for person in family if not person["child"]]
    children = [person for person in family if person["child"]]
    surname = family_name(generator)
    husband = given_names(generator, "male") if len(adults) == 2 else None
    for person in family:
        person["SibSp"] = len(children) - 1 if person["child"] else len(adults) - 1
        person["Parch"] = len(adults) if person["child"] else len(children)
        married = not person["child"]
        person["Name"] = full_name(generator, person, surname, married=married, husband=husband)


def share_tickets(generator: np.random.Generator, people: list[dict]) -> list[list[dict]]:
    """Those without family: alone, or now and then two to four on one ticket."""
    order = [people[index] for index in generator.permutation(len(people))]
    parties = []
    while order:
        size = int(generator.choice([1, 2, 3, 4], p=[0.9, 0.06, 0.03, 0.01]))
        parties.append(order[:size])
        order = order[size:]
    for person in people:
        older = person["Sex"] == "female" and person["Age"] > 35
        person["Name"] = full_name(generator, person, family_name(generator), married=older, husband=None)
    return parties


def choose_saved(generator: np.random.Generator, people: list[dict]) -> None:
    """Of each group, the same number saved, but likelier the young and those of small families.

    The published tables do not tell this; it is our assumption, after what the real list shows.
    """
    for group in PUBLISHED:
        members = [person for person in people if person["group"] == group]
        survived = sorted((person["Survived"] for person in members), reverse=True)
        odds = [
            generator.normal() - FAMILY * (person["SibSp"] + person["Parch"]) - YOUTH * person["Age"] / 10
            for person in members
        ]
        for index, saved in zip(np.argsort(odds)[::-1], survived, strict=True):
            members[index]["Survived"] = saved


def family_name(generator: np.random.Generator) -> str:
    first, middle, last = (generator.choice(syllables) for syllables in SYLLABLES)
    return f"{first}{middle if generator.random() < 0.5 else ''}{last}"


def given_names(generator: np.random.Generator, sex: str) -> str:
    names = MALE if sex == "male" else FEMALE
    return " ".join(generator.choice(names, 1 + int(generator.random() < 0.5), replace=False))


def full_name(generator: np.random.Generator, person: dict, surname: str, *, married: bool, husband: str | None) -> str:
    """As on the real list: `Surname, Title. Given names`; wives under the husband's name, their own in brackets."""
    own = given_names(generator, person["Sex"])
    nickname = f' "{generator.choice(NICKNAMES)}"' if generator.random() < 0.06 else ""
    if person["Sex"] == "male":
        if person["child"]:
            return f"{surname}, Master. {own}{nickname}"
        title = generator.choice(RARE_MEN) if person["Pclass"] < 3 and generator.random() < 0.07 else "Mr"
        return f"{surname}, {title}. {husband or own}{nickname if not husband else ''}"
    if married and generator.random() < 0.97:
        husband = husband or given_names(generator, "male")
        return f"{surname}, Mrs. {husband} ({own}{nickname} {family_name(generator)})"
    title = generator.choice(RARE_WOMEN) if generator.random() < 0.03 and not person["child"] else "Miss"
    return f"{surname}, {title}. {own}{nickname}"


def equip(generator: np.random.Generator, party: list[dict], number: int) -> None:
    """One ticket, fare, port and cabin for the party; and what the records do not tell is left out."""
    pclass = party[0]["Pclass"]
    ports, shares = PORTS[pclass]
    port = str(generator.choice(list(ports), p=shares))
    ticket = ticket_number(generator, pclass, number)
    median, spread = FARE[pclass]
    per_head = 0.0 if generator.random() < 0.015 else median * np.exp(generator.normal(0, spread))
    fare = round(round(per_head * len(party) * 240) / 240, 4)  # whole pence, 240 to the pound
    cabin = cabins(generator, pclass, len(party)) if generator.random() >= CABIN_MISSING[pclass] else None
    for person in party:
        person |= {"Ticket": ticket, "Fare": float(fare), "Cabin": cabin, "Embarked": port}
        if generator.random() < AGE_MISSING[pclass]:
            person["Age"] = None


def ticket_number(generator: np.random.Generator, pclass: int, number: int) -> str:
    prefix = generator.choice(
        {1: ["", "", "PC "], 2: ["", "", "S.C./P. "], 3: ["", "", "", "A/5 ", "SOTON/O2. "]}[pclass]
    )
    return f"{prefix}{pclass}{number:04d}{generator.integers(10)}"


def cabins(generator: np.random.Generator, pclass: int, heads: int) -> str:
    deck = generator.choice(list({1: "ABCDE", 2: "DEF", 3: "EFG"}[pclass]))
    first = int(generator.integers(2, 120))
    return " ".join(f"{deck}{first + 2 * index}" for index in range(min(1 + heads // 3, 4)))


# Of the messy list: row -> what somebody wrote there. Each is a reason of its own to leave the row out.
BROKEN: dict[int, dict[str, object]] = {
    60: {"Age": 350},
    150: {"Age": "about thirty"},
    240: {"Fare": -7.25},
    330: {"Fare": "1,234"},  # pounds, or shillings and pence
    420: {"Pclass": 4},
    480: {"Sex": "unknown"},
    570: {"Survived": None},
    660: {"Survived": "lost"},
    720: {"PassengerId": 700},  # the number of another
    810: {"Name": "2 tickets"},
    850: {"SibSp": 1.5},
    870: {"PassengerId": None},
}


def messy(frame: pd.DataFrame) -> pd.DataFrame:
    """The list as an office might send it: another order of columns, words for nothing, and `BROKEN` cells."""
    sent = frame.astype(object)[sorted(frame)]
    for row, cells in BROKEN.items():
        for column, value in cells.items():
            sent.loc[row, column] = value
    sent.loc[::3, "Sex"] = sent.loc[::3, "Sex"].str.upper()
    sent["Age"] = sent["Age"].where(sent["Age"].notna(), "n/a")
    return pd.concat([sent, sent.tail(2)])  # the last page was copied twice


def today(rows: int) -> pd.DataFrame:
    """Passengers of another voyage, with their outcome: many are over 60, and these were let into the boats first."""
    generator = np.random.default_rng(SEED + 3)
    people = passengers(rows, seed=SEED + 2, first_id=2001)
    old = (people["Age"].astype(float) > 13) & (generator.random(rows) < 0.4)
    people.loc[old, "Age"] = generator.integers(62, 80, old.sum())
    people.loc[old, "Survived"] = (generator.random(old.sum()) < 0.95).astype(int)
    return people


def write(frame: pd.DataFrame, path: Path, *, encoding: str = "utf-8", line_end: str = "\n") -> None:
    """Whole numbers without a decimal point, empty cells for what is missing."""
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator=line_end)
        writer.writerow(frame.columns)
        writer.writerows([cell(value) for value in row] for row in frame.astype(object).itertuples(index=False))


def cell(value: object) -> str:
    if value is None or value != value:
        return ""
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


def main(arguments: Iterable[str]) -> int:
    folder = Path(next(iter(arguments), Path(__file__).parent))
    write(passengers(900), folder / "titanic_sample.csv")
    unknown = passengers(200, seed=SEED + 1, first_id=901)
    write(unknown.drop(columns="Survived"), folder / "passengers_to_score.csv")
    write(messy(passengers(900)), folder / "messy.csv", encoding="utf-8-sig", line_end="\r\n")
    write(today(400), folder / "today.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
