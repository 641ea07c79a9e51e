"""The console's door and anything at all: whatever comes is refused in order, or taken for what it is."""

from __future__ import annotations

from types import MappingProxyType
from urllib.parse import urljoin, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers

from gateway.console.access.csrf import comes_from_elsewhere
from gateway.console.access.entrance import inside
from gateway.console.access.roles import Role
from gateway.console.access.tokens import person_of_token
from gateway.console.access.userfile import Token, User, read_users, text_of
from gateway.errors import ConfigurationError

OURS = "https://console.example.org"
NAMES = st.from_regex(r"[a-z0-9]{1,8}([_-][a-z0-9]{1,8}){0,2}", fullmatch=True)
HASHES = st.sampled_from(["", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"])
MOMENTS = st.integers(0, 4_000_000_000).map(lambda seconds: seconds * 1000)
WAYS = st.text(st.sampled_from("/\\:@.?#%&;= \t\r\nabhtps\x00\x7f\u2028\uff0f"), max_size=12) | st.text(max_size=20)


@given(WAYS)
@settings(max_examples=150, deadline=None)
def test_wherever_somebody_asks_to_go_after_the_log_in_it_is_a_page_of_ours(way: str) -> None:
    went = inside(way)
    # As browsers read it (URL Standard): tabs and line ends are dropped, a backslash is a slash.
    read = "".join(character for character in went if character not in "\t\r\n").replace("\\", "/")
    assert urlsplit(urljoin(OURS, read)).netloc == "console.example.org"
    assert went.startswith("/") and not went.startswith(("//", "/\\"))


@given(st.dictionaries(st.sampled_from(["origin", "sec-fetch-site", "host"]), st.text(st.characters(codec="latin-1"))))
@settings(max_examples=100, deadline=None)
def test_a_request_passes_as_ours_only_if_nothing_says_that_it_is_not(sent: dict[str, str]) -> None:
    headers = Headers(sent)
    if comes_from_elsewhere(headers) == "":
        assert headers.get("sec-fetch-site", "same-origin") == "same-origin"
        origin = headers.get("origin")
        assert origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower() != ""


@st.composite
def anybody(draw: st.DrawFn) -> User:
    role = draw(st.sampled_from(Role))
    lesser = st.sampled_from([each for each in Role if each.within(role)])
    names = draw(st.lists(NAMES, unique=True, max_size=2))
    tokens = {
        name: Token(
            name,
            draw(lesser),
            draw(st.uuids()).hex[:12],
            draw(st.uuids()).hex * 2,
            draw(MOMENTS),
            draw(MOMENTS),
        )
        for name in names
    }
    return User(draw(NAMES), role, draw(HASHES), MappingProxyType(tokens))


@given(st.lists(anybody(), max_size=4, unique_by=lambda user: user.name))
@settings(max_examples=30, deadline=None)
def test_whatever_users_there_are_the_file_says_them(people: list[User]) -> None:
    users = {user.name: user for user in people}
    assert read_users(text_of(users), "users.yaml") == users


@given(st.text(max_size=200) | st.text(st.sampled_from("users:\n {}[]-roletknpaswdvi#&*!|>'\""), max_size=60))
@settings(max_examples=100, deadline=None)
def test_whatever_a_file_says_it_is_users_or_complaints_with_their_places(text: str) -> None:
    try:
        read_users(text, "users.yaml")
    except ConfigurationError as error:
        assert error.problems and all(problem.file == "users.yaml" for problem in error.problems)


@given(st.text())
@settings(max_examples=100, deadline=None)
def test_whatever_is_shown_as_a_token_is_nobodys(text: str) -> None:
    token = Token("t", Role.VIEWER, "0123456789ab", "0" * 64, 0, 1 << 50)
    users = {"mia": User("mia", Role.VIEWER, "", MappingProxyType({"t": token}))}
    assert person_of_token(users, text, 0) is None
    assert person_of_token(users, f"gwt_0123456789ab_{text}", 0) is None
