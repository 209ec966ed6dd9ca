"""The made-up films: the same each time, of ml-100k's size, and with something to learn in them."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from services.cli.data import demo_catalogue


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    demo_catalogue.write_demo_data(folder)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_has_the_size_of_ml_100k(films: Path) -> None:
    events = rows(films / "interactions.csv")
    assert len(events) == demo_catalogue.INTERACTIONS
    assert len({event["USER_ID"] for event in events}) == demo_catalogue.USERS
    assert len(rows(films / "items.csv")) == demo_catalogue.ITEMS
    assert len(rows(films / "users.csv")) == demo_catalogue.USERS
    assert {event["ITEM_ID"] for event in events} <= {item["ITEM_ID"] for item in rows(films / "items.csv")}


def test_it_is_the_same_each_time(films: Path, tmp_path: Path) -> None:
    demo_catalogue.write_demo_data(tmp_path)
    for name in ("interactions.csv", "items.csv", "users.csv"):
        first, second = ((folder / name).read_bytes() for folder in (films, tmp_path))
        assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def test_nobody_watches_a_film_twice_or_two_at_once(films: Path) -> None:
    events = rows(films / "interactions.csv")
    assert len({(event["USER_ID"], event["ITEM_ID"]) for event in events}) == len(events)
    assert len({(event["USER_ID"], event["TIMESTAMP"]) for event in events}) == len(events)


def test_titles_are_told_apart(films: Path) -> None:
    titles = [item["TITLE"] for item in rows(films / "items.csv")]
    assert len(set(titles)) == len(titles)


def test_the_last_films_genre_says_more_than_popularity(films: Path) -> None:
    """Recommend what is popular in the genre that mostly follows: a first-order Markov chain over genres."""
    genre = {item["ITEM_ID"]: item["GENRES"].split("|")[0] for item in rows(films / "items.csv")}
    histories: dict[str, list[str]] = defaultdict(list)
    for event in rows(films / "interactions.csv"):
        histories[event["USER_ID"]].append(event["ITEM_ID"])
    popular = Counter(item for history in histories.values() for item in history[:-1])
    follows: dict[str, Counter[str]] = defaultdict(Counter)
    for history in histories.values():
        for before, after in pairwise(history[:-1]):
            follows[genre[before]][genre[after]] += 1
    ranked = [item for item, _ in popular.most_common()]
    of_genre = {name: [item for item in ranked if genre[item] == name] for name in follows}
    likeliest = {name: counter.most_common(1)[0][0] for name, counter in follows.items()}
    hits_markov = sum(history[-1] in of_genre[likeliest[genre[history[-2]]]][:25] for history in histories.values())
    hits_popular = sum(history[-1] in ranked[:25] for history in histories.values())
    assert hits_markov > 2 * hits_popular
