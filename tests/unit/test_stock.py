"""Whose turn it is among what a destination's queue has claimed."""

import asyncio

from gateway.flow.stock import PATIENCE, Stock
from gateway.model import DeliveryLease, PayloadFile

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def lease(number: int, sop_class: str = CT, *, alone: bool = False) -> DeliveryLease:
    payload = PayloadFile("x", 0, 1, b"", sop_class, f"1.2.{number}", "1.2.840.10008.1.2")
    return DeliveryLease(number, 1, "pacs", "0" * 32, 1, False, 0, 0, "", payload, "CT1", alone=alone)


def anything(_: DeliveryLease) -> bool:
    return True


def nothing(_: DeliveryLease) -> bool:
    return False


def only_ct(waiting: DeliveryLease) -> bool:
    return waiting.payload.sop_class_uid == CT


def test_without_an_association_it_goes_in_order() -> None:
    stock = Stock()
    stock.add([lease(1), lease(2)])
    assert [taken.delivery_id for taken in (stock.take(nothing), stock.take(nothing)) if taken] == [1, 2]
    assert stock.take(nothing) is None


def test_an_association_takes_first_what_it_has_a_context_for() -> None:
    stock = Stock()
    stock.add([lease(1, MR), lease(2), lease(3)])
    assert [stock.take(only_ct).delivery_id for _ in range(3)] == [2, 3, 1]  # type: ignore[union-attr]


def test_no_context_is_starved_by_a_stream_of_another() -> None:
    stock = Stock()
    stock.add([lease(0, MR)])
    for number in range(1, 10 * PATIENCE):
        stock.add([lease(number)])
        taken = stock.take(only_ct)
        assert taken is not None
        if taken.delivery_id == 0:
            assert number == PATIENCE + 1
            return
    raise AssertionError("the MR never had its turn")


def test_what_is_out_is_not_given_out_again_before_it_is_done() -> None:
    stock = Stock()
    stock.add([lease(1)])
    out = stock.take(anything)
    assert out is not None
    again = out._replace(token=out.token + 1)
    stock.add([again, lease(2)])
    taken = stock.take(anything)
    assert taken is not None
    assert taken.delivery_id == 2
    assert stock.take(anything) is None

    async def waiting() -> bool:
        waiter = asyncio.create_task(stock.wait(60))
        await asyncio.sleep(0)
        stock.done(out)
        return await waiter

    assert asyncio.run(waiting())
    assert stock.take(anything) == again


def test_what_is_put_back_is_first_again() -> None:
    stock = Stock()
    stock.add([lease(1), lease(2)])
    taken = stock.take(anything)
    assert taken is not None
    stock.put_back(taken)
    assert [waiting.delivery_id for waiting in stock] == [1, 2]


def test_of_the_lone_ones_one_is_out_at_a_time_and_others_pass_it() -> None:
    stock = Stock()
    stock.add([lease(1, alone=True), lease(2, alone=True), lease(3)])
    first = stock.take(nothing)
    assert first is not None
    assert first.delivery_id == 1
    other = stock.take(nothing)
    assert other is not None
    assert other.delivery_id == 3
    assert stock.take(nothing) is None, "the second lone one waits for the first"
    stock.done(first)
    second = stock.take(nothing)
    assert second is not None
    assert second.delivery_id == 2


def test_who_waits_hears_of_what_is_added_and_of_what_is_put_back() -> None:
    async def scene() -> None:
        stock = Stock()
        for put in (lambda: stock.add([lease(1)]), lambda: stock.put_back(lease(2)), stock.wake):
            waiting = asyncio.create_task(stock.wait(30))
            await asyncio.sleep(0)
            put()
            assert await asyncio.wait_for(waiting, 5)
        assert not await stock.wait(0.01), "nothing new: time runs out"

    asyncio.run(scene())


def test_it_is_busy_until_nothing_is_in_line_and_nothing_out() -> None:
    stock = Stock()
    assert not stock.is_busy
    stock.add([lease(1)])
    assert stock.is_busy
    taken = stock.take(anything)
    assert taken is not None
    assert stock.is_busy
    stock.done(taken)
    assert not stock.is_busy
