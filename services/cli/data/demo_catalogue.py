"""A made-up film catalogue and its audience: the demo's data when it is given none.

It is the same on every run and has ml-100k's size. Its patterns are planted: viewers have favourite genres, watch a
genre per session, go from a genre to the one that follows it, and from a film to its sequel.
Popularity alone therefore does badly, and the order of a history says more than its contents.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

USERS = 943
ITEMS = 1_682
INTERACTIONS = 100_000
FEWEST = 20
SEED = 20
NEWEST = 1_750_000_000  # epoch seconds; nothing is watched later
NINETY_DAYS = 90 * 24 * 3600

ADJECTIVES = (
    "Amber Ashen Bitter Blue Borrowed Broken Copper Crimson Distant Double Eleventh Empty Final First "
    "Forgotten Frozen Gentle Gilded Golden Hidden Hollow Honest Iron Last Long Lost Midnight Narrow "
    "Northern Paper Patient Quiet Restless Saffron Second Secret Silver Sleeping Southern Stolen Tender "
    "Thirteenth Unwritten Velvet White"
)

#: Genre -> the subjects of its titles. Viewers go on to the next genre in this order.
SUBJECTS = {
    "Western": "Canyon Saddle Prairie Marshal Stagecoach Coyote Homestead Ranch Outlaw Badlands",
    "Science Fiction": "Orbit Nebula Airlock Android Colony Starfall Reactor Comet Signal Terraformer",
    "Animation": "Teapot Kite Dragonling Puddle Button Hedgehog Cloudlet Snowglobe Otter Lantern",
    "Romance": "Keepsake Promenade Waltz Orchard Bouquet Balcony Summer Rendezvous Violin Harbour",
    "Crime": "Alibi Ledger Safehouse Getaway Warehouse Informer Syndicate Verdict Heist Counterfeit",
    "Fantasy": "Grimoire Citadel Griffin Rune Enchanter Moonblade Oracle Labyrinth Crown Willowwood",
    "Documentary": "Glacier Estuary Migration Archive Reef Steppe Workshop Expedition Harvest Monsoon",
    "Horror": "Cellar Attic Scarecrow Seance Asylum Crypt Whisper Mirror Cradle Hollowing",
    "Comedy": "Roommate Wedding Parrot Landlord Detour Casserole Understudy Inheritance Moustache Caravan",
    "War": "Bunker Convoy Armistice Trench Battalion Bridgehead Radioman Ration Siege Sortie",
    "Musical": "Chorus Overture Spotlight Refrain Encore Tapdancer Ballroom Melody Footlight Cabaret",
    "Mystery": "Cipher Lighthouse Portrait Footprint Sleeper Manuscript Key Pavilion Stranger Telegram",
    "Adventure": "Sextant Lagoon Caravel Summit Treasure Rapids Jungle Map Voyage Idol",
    "Sports": "Sprint Underdog Scrimmage Goalkeeper Regatta Marathon Southpaw Podium Comeback Derby",
}
NUMERALS = ("", " II", " III", " IV", " V", " VI")
OCCUPATIONS = "baker carpenter doctor engineer farmer gardener lawyer librarian nurse painter student tailor writer"


@dataclass(frozen=True, slots=True)
class Film:
    """``sequel`` is the id of the next film of its series; ``appeal`` how readily its genre's viewers pick it."""

    id: int
    title: str
    year: int
    genres: tuple[str, ...]
    sequel: int | None
    appeal: float


#: Genre -> its films, and the appeal of each.
Shelves = Mapping[str, tuple[Sequence[Film], Sequence[float]]]


def write_demo_data(folder: Path) -> None:
    """Write interactions.csv, items.csv and users.csv into the folder."""
    luck = random.Random(SEED)  # noqa: S311 - a catalogue, not a secret
    films = _make_films(luck)
    shelves = _group_by_genre(films)
    occupations = OCCUPATIONS.split()
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(
        folder / "items.csv",
        ("ITEM_ID", "TITLE", "RELEASE_YEAR", "GENRES"),
        ((film.id, film.title, film.year, "|".join(film.genres)) for film in films),
    )
    _write_csv(
        folder / "users.csv",
        ("USER_ID", "AGE", "OCCUPATION"),
        ((user, luck.randint(14, 79), luck.choice(occupations)) for user in range(1, USERS + 1)),
    )
    _write_csv(
        folder / "interactions.csv",
        ("USER_ID", "ITEM_ID", "TIMESTAMP", "EVENT_TYPE"),
        (
            (user, film, at, "watch")
            for user, length in enumerate(_draw_history_lengths(luck), start=1)
            for film, at in _draw_history(luck, films, shelves, length)
        ),
    )


def _make_films(luck: random.Random) -> list[Film]:
    genres = list(SUBJECTS)
    series: list[tuple[str, str, int]] = []  # title, genre, parts
    names = {
        genre: [f"The {adjective} {noun}" for adjective in ADJECTIVES.split() for noun in SUBJECTS[genre].split()]
        for genre in genres
    }
    for titles in names.values():
        luck.shuffle(titles)
    while (missing := ITEMS - sum(parts for *_, parts in series)) > 0:
        genre = genres[len(series) % len(genres)]
        parts = min(missing, luck.choices(range(1, len(NUMERALS) + 1), (8, 4, 4, 3, 2, 1))[0])
        series.append((names[genre].pop(), genre, parts))
    films: list[Film] = []
    for title, genre, parts in series:
        year = luck.randint(1950, 2012)
        second = luck.choice(genres) if luck.random() < 0.3 else genre
        appeal = luck.paretovariate(1.2)
        for part in range(parts):
            film = len(films) + 1
            films.append(
                Film(
                    id=film,
                    title=title + NUMERALS[part],
                    year=year + 2 * part,
                    genres=(genre,) if second == genre else (genre, second),
                    sequel=film + 1 if part + 1 < parts else None,
                    appeal=appeal / (1 + part),
                )
            )
    return films


def _draw_history_lengths(luck: random.Random) -> list[int]:
    """How much each viewer watches: FEWEST or more, some a great deal, INTERACTIONS in all."""
    weights = [luck.lognormvariate(0.0, 0.9) for _ in range(USERS)]
    spare = INTERACTIONS - USERS * FEWEST
    lengths = [FEWEST + int(spare * weight / sum(weights)) for weight in weights]
    lengths[0] += INTERACTIONS - sum(lengths)
    return lengths


def _draw_history(
    luck: random.Random, films: Sequence[Film], shelves: Shelves, length: int
) -> Iterator[tuple[int, int]]:
    """``length`` different films with the times they were watched at, oldest first."""
    genres = list(SUBJECTS)
    favourites = luck.sample(genres, 3)
    genre = luck.choice(favourites)
    at, seen, watched = 0, set[int](), list[tuple[int, int]]()
    while len(watched) < length:
        if luck.random() < 0.5:
            genre = genres[(genres.index(genre) + 1) % len(genres)]
        else:
            genre = luck.choices(favourites, (5, 3, 2))[0]
        last: Film | None = None
        for _ in range(min(luck.randint(3, 9), length - len(watched))):
            last = _choose_next_film(luck, films, shelves[genre], last, seen)
            seen.add(last.id)
            watched.append((last.id, at))
            at += luck.randint(90, 150) * 60
        at += luck.randint(4, 60) * 3600
    start = NEWEST - watched[-1][1] - luck.randint(0, NINETY_DAYS)
    return ((film, start + after) for film, after in watched)


def _choose_next_film(
    luck: random.Random,
    films: Sequence[Film],
    shelf: tuple[Sequence[Film], Sequence[float]],
    last: Film | None,
    seen: set[int],
) -> Film:
    if last and last.sequel and last.sequel not in seen and luck.random() < 0.8:
        return films[last.sequel - 1]
    for film in luck.choices(*shelf, k=12):
        if film.id not in seen:
            return film
    return luck.choice([film for film in films if film.id not in seen])


def _group_by_genre(films: Sequence[Film]) -> Shelves:
    shelves = {}
    for genre in SUBJECTS:
        shelf = [film for film in films if genre in film.genres]
        shelves[genre] = (shelf, [film.appeal for film in shelf])
    return shelves


def _write_csv(path: Path, header: Sequence[str], rows: Iterator[tuple[object, ...]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
