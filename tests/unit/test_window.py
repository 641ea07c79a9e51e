"""The concurrency window and the breaker, with a clock in the test's hand."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.flow.window import INITIAL, PROBE_JITTER, Window, initial
from gateway.model import Breaker


def test_a_new_destination_begins_small_and_up() -> None:
    window = initial(4, 5, 300)
    assert (window.associations, window.breaker) == (int(INITIAL), Breaker.UP)


def test_a_limit_of_one_is_kept() -> None:
    window = initial(1, 5, 300)
    for _ in range(10):
        window = window.succeeded()
    assert window.associations == 1


def test_successes_grow_the_window_by_one_a_cohort_up_to_the_limit() -> None:
    window = initial(4, 5, 300)
    sizes = []
    for _ in range(12):
        window = window.succeeded()
        sizes.append(window.associations)
    assert sizes == sorted(sizes)
    assert sizes[-1] == 4
    assert sizes[0] == 2, "one success of a cohort of two is half an association"


def test_a_failed_cohort_shrinks_it_and_takes_it_down() -> None:
    window = initial(4, 5, 300).failed(100.0, 0.0)
    assert window.breaker is Breaker.UP
    assert window.size < INITIAL
    window = window.failed(101.0, 0.0)
    assert window.breaker is Breaker.DOWN
    assert window.associations == 0
    assert window.probe_at == 101.0 + 5


def test_a_success_forgets_failures() -> None:
    window = initial(4, 5, 300)
    for _ in range(20):
        window = window.failed(0.0, 0.0).succeeded()
        assert window.breaker is Breaker.UP


def test_probes_back_off_to_the_maximum_and_half_open_lets_one_through() -> None:
    window = initial(1, 5, 60).failed(0.0, 0.0)
    pauses = []
    now = 0.0
    for _ in range(6):
        pauses.append(window.probe_at - now)
        now = window.probe_at
        window = window.probed(False, now, 0.0)
    assert pauses == [5, 10, 20, 40, 60, 60]
    window = window.probed(True, now, 0.0)
    assert (window.breaker, window.associations) == (Breaker.HALF_OPEN, 1)
    assert window.failed(now, 0.0).breaker is Breaker.DOWN
    up = window.succeeded()
    assert (up.breaker, up.probes, up.failed_cohorts) == (Breaker.UP, 0, 0.0)


def test_a_permanent_rejection_goes_down_at_once_and_is_probed_slowly() -> None:
    window = initial(4, 5, 300).failed(0.0, 0.0, permanent=True)
    assert window.breaker is Breaker.DOWN
    assert window.probe_at == 300


def test_what_was_begun_half_open_and_not_answered_does_not_keep_it_down_for_long() -> None:
    window = initial(1, 5, 300).failed(0.0, 0.0)
    for _ in range(6):
        window = window.probed(False, 0.0, 0.0)
    half_open = window.probed(True, 0.0, 0.0)
    assert half_open.failed(0.0, 0.0).probe_at == 300, "the destination's own failure: as if the probe had failed"
    assert half_open.failed(0.0, 0.0, unanswered=True).probe_at == 5, "an instance that it cannot bear, perhaps"


def test_a_changed_configuration_is_a_reason_to_probe_at_once() -> None:
    window = initial(1, 5, 300).failed(0.0, 0.0, permanent=True).probe_now(7.0)
    assert (window.breaker, window.probe_at) == (Breaker.DOWN, 7.0)
    assert window.probed(False, 7.0, 0.0).probe_at == 12.0


@given(
    limit=st.integers(1, 64),
    events=st.lists(st.tuples(st.sampled_from(["ok", "fail", "probe-ok", "probe-fail"]), st.floats(-1, 1))),
)
def test_whatever_happens_the_window_stays_in_its_bounds(limit: int, events: list[tuple[str, float]]) -> None:
    window: Window = initial(limit, 5, 300)
    now = 0.0
    for what, jitter in events:
        now += 1.0
        if window.breaker is Breaker.DOWN:
            window = window.probed(what.endswith("ok"), now, jitter)
        elif what.endswith("ok"):
            window = window.succeeded()
        else:
            window = window.failed(now, jitter)
        assert 1 <= window.size <= limit
        assert 0 <= window.associations <= limit
        if window.breaker is Breaker.DOWN:
            assert now < window.probe_at <= now + 300 * (1 + PROBE_JITTER)
        else:
            assert window.associations >= 1
