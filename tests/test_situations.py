"""Every situation that the page names has tests, and the page is made of them."""

import re
from pathlib import Path

import pytest

from situations import PAGE, SITUATIONS, head, tables

FOLDER = Path(__file__).parent
THERE = {
    name for path in FOLDER.glob("test_*.py") for name in re.findall(r"^def test_(\w+)", path.read_text(), re.MULTILINE)
}


def test_the_page_is_made_of_the_situations():
    page = PAGE.read_text()
    assert page == head(page) + tables(), "run python tests/situations.py"
    assert sum(map(len, SITUATIONS.values())) >= 40


@pytest.mark.parametrize("group", SITUATIONS)
def test_each_situation_has_its_tests(group):
    for situation, done, tests in SITUATIONS[group]:
        assert done
        assert tests.split(), situation
        assert set(tests.split()) <= THERE, situation


def test_no_situation_stands_twice():
    names = [situation for rows in SITUATIONS.values() for situation, *_ in rows]
    assert len(set(names)) == len(names)
