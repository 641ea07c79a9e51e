"""How long a session lasts, and how often a log-in may be tried. Time is in the test's hand."""

from __future__ import annotations

from gateway.console.access.roles import How, Person, Role
from gateway.console.access.sessions import MOST, MOST_EACH, Sessions, stamp_of
from gateway.console.access.throttle import (
    ADDRESS_REFILL_S,
    ADDRESS_TRIES,
    NAME_REFILL_S,
    NAME_TRIES,
    Throttle,
)

MIA = Person("mia", Role.VIEWER, How.SESSION)
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def test_a_session_is_found_by_its_cookie_alone() -> None:
    sessions = Sessions(60, 600)
    cookie, session = sessions.begin(MIA, "stamp", 0)
    assert sessions.find(cookie, 1) is session
    assert len(cookie) >= 43
    for other in ("", cookie[:-1], cookie + "x", session.csrf):
        assert sessions.find(other, 1) is None


def test_it_ends_when_nothing_comes_for_a_while() -> None:
    sessions = Sessions(60, 600)
    cookie, _ = sessions.begin(MIA, "stamp", 0)
    assert sessions.find(cookie, 59) is not None
    assert sessions.find(cookie, 59 + 59) is not None
    assert sessions.find(cookie, 59 + 59 + 60) is None
    assert sessions.find(cookie, 59 + 59) is None, "it does not come back"


def test_it_ends_after_its_whole_time_whatever_comes() -> None:
    sessions = Sessions(60, 600)
    cookie, _ = sessions.begin(MIA, "stamp", 0)
    assert all(sessions.find(cookie, at) is not None for at in range(0, 600, 30))
    assert sessions.find(cookie, 600) is None


def test_it_ends_when_the_person_logs_out() -> None:
    sessions = Sessions(60, 600)
    cookie, _ = sessions.begin(MIA, "stamp", 0)
    assert sessions.end(cookie) is not None
    assert sessions.find(cookie, 1) is None and sessions.end(cookie) is None


def test_each_session_has_a_csrf_token_of_its_own() -> None:
    sessions = Sessions(60, 600)
    _, one = sessions.begin(MIA, "stamp", 0)
    _, two = sessions.begin(MIA, "stamp", 0)
    assert one.accepts(one.csrf) and not one.accepts(two.csrf)
    assert not one.accepts("") and not one.accepts("ä\ud800")
    assert one.csrf not in repr(one)


def test_one_person_fills_no_memory_and_puts_nobody_out() -> None:
    sessions = Sessions(10_000, 10_000)
    eva, _ = sessions.begin(Person("eva", Role.VIEWER, How.SESSION), "stamp", 0)
    cookies = [sessions.begin(MIA, "stamp", at)[0] for at in range(1, MOST_EACH + 3)]
    assert [sessions.find(cookie, 100) is not None for cookie in cookies] == [False] * 2 + [True] * MOST_EACH
    assert sessions.find(eva, 100) is not None


def test_two_who_are_known_by_one_name_put_each_other_out_of_nothing() -> None:
    sessions = Sessions(10_000, 10_000)
    cookie, _ = sessions.begin(MIA, "stamp", 0)
    for at in range(1, MOST_EACH + 3):
        sessions.begin(Person("mia", Role.VIEWER, How.OIDC), "oidc", at)
    assert sessions.find(cookie, 100) is not None


def test_all_together_fill_no_memory() -> None:
    sessions = Sessions(10_000, 10_000)
    for number in range(MOST + 5):
        sessions.begin(Person(f"p{number}", Role.VIEWER, How.SESSION), "stamp", number)
    assert sessions.count(MOST + 5) == MOST


def test_a_stamp_changes_with_role_and_password() -> None:
    assert stamp_of("viewer", "hash") == stamp_of("viewer", "hash")
    assert len({stamp_of("viewer", "hash"), stamp_of("operator", "hash"), stamp_of("viewer", "other")}) == 3


# ── how often ─────────────────────────────────────────────────────────────────────────────────────────────────────


def tries(throttle: Throttle, address: str, name: str, now_s: float) -> int:
    """How many tries there are until it has to wait."""
    count = 0
    while throttle.wait_s(address, name, now_s) == 0 and count < 1000:
        throttle.take(address, name, now_s)
        count += 1
    return count


def test_an_address_that_guesses_is_stopped_whatever_names_it_guesses() -> None:
    throttle = Throttle()
    for number in range(ADDRESS_TRIES):
        assert throttle.wait_s(HERE, f"name-{number}", 0) == 0
        throttle.take(HERE, f"name-{number}", 0)
    assert throttle.wait_s(HERE, "another", 0) == ADDRESS_REFILL_S
    assert throttle.wait_s(ELSEWHERE, "another", 0) == 0


def test_it_may_again_after_a_while() -> None:
    throttle = Throttle()
    assert tries(throttle, HERE, "mia", 0) == ADDRESS_TRIES
    assert tries(throttle, HERE, "mia", ADDRESS_REFILL_S - 1) == 0
    assert tries(throttle, HERE, "mia", ADDRESS_REFILL_S) == 1
    assert tries(throttle, HERE, "eva", 1_000_000) == ADDRESS_TRIES


def test_a_name_that_many_addresses_guess_is_stopped() -> None:
    throttle = Throttle()
    done = sum(tries(throttle, f"198.51.100.{number}", "mia", 0) for number in range(50))
    assert done == NAME_TRIES
    assert 0 < throttle.wait_s(HERE, "mia", 0) <= NAME_REFILL_S
    assert throttle.wait_s(HERE, "eva", 0) == 0


def test_the_owner_of_a_name_that_is_guessed_still_gets_in_from_where_he_was_before_and_from_this_machine() -> None:
    throttle = Throttle()
    throttle.take(HERE, "mia", 0)
    throttle.succeeded(HERE, "mia", 0)
    for number in range(50):
        tries(throttle, f"198.51.100.{number}", "mia", 1)
    assert throttle.wait_s(ELSEWHERE, "mia", 1) > 0
    for address in (HERE, "127.0.0.1", "::1"):
        assert throttle.wait_s(address, "mia", 1) == 0


def test_who_guesses_behind_a_shared_address_stops_nobody_who_logged_in_from_there_before() -> None:
    throttle = Throttle()
    for address in (HERE, "127.0.0.1"):
        throttle.take(address, "mia", 0)
        throttle.succeeded(address, "mia", 0)
        for number in range(50):
            tries(throttle, address, f"name-{number}", 1)
        assert throttle.wait_s(address, "eva", 1) > 0
        assert throttle.wait_s(address, "mia", 1) == 0
        assert tries(throttle, address, "mia", 1) == ADDRESS_TRIES, "and she is not guessed without end"


def test_a_try_that_succeeds_does_not_count() -> None:
    throttle = Throttle()
    for _ in range(100):
        assert throttle.wait_s(HERE, "mia", 0) == 0
        throttle.take(HERE, "mia", 0)
        throttle.succeeded(HERE, "mia", 0)


def test_who_knows_one_password_cannot_guess_others_from_there_for_ever() -> None:
    throttle = Throttle()
    failed = 0
    for _ in range(100):
        if throttle.wait_s(HERE, "mia", 0) == 0:
            throttle.take(HERE, "mia", 0)
            throttle.succeeded(HERE, "mia", 0)
        if throttle.wait_s(HERE, "eva", 0) == 0:
            throttle.take(HERE, "eva", 0)
            failed += 1
    assert failed == ADDRESS_TRIES


def test_the_addresses_of_one_customer_count_as_one() -> None:
    throttle = Throttle()
    done = sum(tries(throttle, f"2001:db8:0:1::{number:x}", f"n{number}", 0) for number in range(1, 100))
    assert done == ADDRESS_TRIES
    assert throttle.wait_s("2001:db8:0:2::1", "mia", 0) == 0
    assert tries(throttle, "::ffff:192.0.2.1", "mia", 0) + tries(throttle, "192.0.2.1", "eva", 0) == ADDRESS_TRIES
