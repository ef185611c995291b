"""How a text is changed by its structure: its numbers, separators, nesting, length."""

from __future__ import annotations

import re

from fuzz import dictionary
from fuzz.environment import Environment

__all__ = ["TEXT_CHANGES"]

_NUMBER = re.compile(r"\d+")


def _change_number(text: str, env: Environment) -> str:
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return f"{text} {env.below(100)} of 100"
    match = numbers[env.below(len(numbers))]
    value = dictionary.INTEGERS[env.below(len(dictionary.INTEGERS))] if env.random() < 0.5 else env.below(1000)
    return f"{text[: match.start()]}{value}{text[match.end() :]}"


def _change_separator(text: str, env: Environment) -> str:
    places = [n for n, c in enumerate(text) if not c.isalnum()]
    if not places:
        return text + "/" + text
    at = places[env.below(len(places))]
    return text[:at] + ("", "/", "\\", ":", " ", ",", "\n", "\t", "=", "..")[env.below(10)] + text[at + 1 :]


def _nest(text: str, env: Environment) -> str:
    opening, closing = (("(", ")"), ("[", "]"), ("<", ">"), ("{", "}"), ('"', '"'), ("/", ""))[env.below(6)]
    depth = 1 + env.below(3) if env.random() < 0.9 else 1 + env.below(200)
    return opening * depth + text + closing * depth


def _insert_edge(text: str, env: Environment) -> str:
    at = env.below(len(text) + 1)
    return text[:at] + dictionary.TEXTS[env.below(len(dictionary.TEXTS))] + text[at:]


def _cut(text: str, env: Environment) -> str:
    return text[: env.below(len(text))]


def _to_length(text: str, env: Environment) -> str:
    length = dictionary.LENGTHS[int(env.random() ** 3 * len(dictionary.LENGTHS))]  # long ones are slow: rarer
    return (text * (length // len(text) + 1))[:length]


TEXT_CHANGES = (_change_number, _change_number, _change_separator, _nest, _insert_edge, _cut, _to_length)
