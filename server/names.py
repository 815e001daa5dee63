"""Invented people and vehicles for the seed, for load clients and for the demo: plausible, and nobody's.

Every choice comes from the random generator that is handed in, so that a seed repeats the same people.
"""

import random
import string
from typing import NamedTuple

from storage.enrol import Car

FIRST = (
    "Adaeze", "Aino", "Alba", "Alma", "Amadou", "Amina", "Anders", "Anika", "Arlo", "Asel", "Bao",
    "Beatriz", "Bilal", "Bruno", "Camila", "Carlo", "Chidi", "Chloe", "Daria", "Dario", "Dawit", "Diego",
    "Edda", "Elif", "Emeka", "Emil", "Esra", "Farah", "Felix", "Fatou", "Gita", "Goran", "Hana", "Hugo",
    "Ibrahim", "Ines", "Ivan", "Jana", "Jonas", "Kamal", "Karin", "Kofi", "Lara", "Leila", "Liam",
    "Lucia", "Luka", "Malik", "Mara", "Marek", "Mei", "Milan", "Mira", "Nadia", "Nils", "Noor", "Oksana",
    "Olena", "Omar", "Paula", "Pedro", "Priya", "Rafael", "Rania", "Ravi", "Rosa", "Samir", "Sara",
    "Selma", "Sina", "Sofia", "Tariq", "Tomas", "Ulla", "Vera", "Viktor", "Wen", "Yara", "Yusuf", "Zeno",
    "Zofia",
)  # fmt: skip
LAST = (
    "Abara", "Adler", "Aksoy", "Alvarez", "Amador", "Andrade", "Arslan", "Bakker", "Balogun", "Barros",
    "Becker", "Berg", "Bondar", "Brandt", "Castell", "Chen", "Costa", "Dahl", "Demir", "Diallo",
    "Dvorak", "Ekholm", "Farkas", "Ferrari", "Fischer", "Galli", "Garcia", "Haddad", "Hakim", "Hansen",
    "Horvat", "Ibsen", "Ivanenko", "Jansen", "Kaya", "Keller", "Khalil", "Kim", "Kovac", "Kravets",
    "Lang", "Lehto", "Lindgren", "Lopes", "Marin", "Mbeki", "Mensah", "Moreau", "Nakano", "Nasser",
    "Novak", "Nwosu", "Okafor", "Olsen", "Orlova", "Osei", "Pereira", "Petrov", "Quispe", "Rahman",
    "Reyes", "Rossi", "Sato", "Schuster", "Shevchuk", "Silva", "Sorensen", "Suzuki", "Tanaka", "Toure",
    "Ucar", "Varga", "Vasquez", "Vogel", "Wagner", "Weber", "Yilmaz", "Zafar", "Zeman",
)  # fmt: skip
CARS = (
    ("Skoda", "Octavia", "sedan", 4),
    ("Toyota", "Corolla", "sedan", 4),
    ("Hyundai", "Ioniq", "electric", 4),
    ("Renault", "Zoe", "electric", 4),
    ("Kia", "Sportage", "suv", 4),
    ("Volkswagen", "Golf", "hatchback", 4),
    ("Ford", "Galaxy", "minivan", 6),
    ("Mercedes", "E 220", "luxury", 4),
)
CARRIERS = (
    ("Honda", "PCX 125", "motorcycle", 1),
    ("Yamaha", "NMAX", "motorcycle", 1),
    ("Riese", "Load 75", "bicycle", 1),
    ("Fiat", "Fiorino", "van", 2),
)
COLORS = ("white", "silver", "graphite", "black", "blue", "red", "green")
YEARS = (2014, 2024)


class Person(NamedTuple):
    first_name: str
    last_name: str


def person(chance: random.Random) -> Person:
    return Person(chance.choice(FIRST), chance.choice(LAST))


def car(chance: random.Random, role: str) -> Car:
    """Something to drive; couriers get what carries parcels. Random plates are unique enough."""
    make, model, kind, seats = chance.choice(CARRIERS if role == "courier" else CARS)
    letters = "".join(chance.choices(string.ascii_uppercase, k=7))
    plate = f"{letters[:2]}-{chance.randrange(1000, 10000)}-{letters[2:]}"
    return Car(make, model, chance.randint(*YEARS), chance.choice(COLORS), plate, kind, seats)
