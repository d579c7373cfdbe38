import pytest

from tests.protocol.pages import PAGE, PARTS, part


@pytest.mark.parametrize("name", PARTS)
def test_the_page_says_what_the_code_does(name: str) -> None:
    """`python -m tests.protocol.pages` brings the page up to date."""
    assert part(PAGE.read_text(encoding="utf-8"), name) == PARTS[name]()
