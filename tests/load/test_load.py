"""Loads on a service in small, sound or with a fault: what the report must say of it."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import pytest

from occupancy.errors import InvalidInput
from occupancy.load import UNPACED, Audit, Conduct, Phase, Plan, Report, Site, Target, run_load
from occupancy.load.http import Answer, Endpoint, Questions
from tests.load.service import Faults, Service, serving

OFTEN = Audit(every=0.05, spaces=10)
ONCE_AND_LATER_AGAIN = (Phase(0.1, 10), Phase(1.2, 1e-9), Phase(0.1, 10))
QUICK = Conduct(timeout=5, drain=5)
FIELD: dict[str, Any] = {"late": 0.2, "max_delay": 5.0, "duplicates": 0.1, "out_of_order": 0.1}


async def loaded(
    service: Service,
    plan: Plan,
    conduct: Conduct = QUICK,
    audit: Audit | None = OFTEN,
    *,
    connections: int = 8,
    **more: Any,
) -> Report:
    target = Target(f"http://127.0.0.1:{service.port}", connections=connections)
    return await run_load(plan, Site(plan.dpus), target, conduct, audit, **more)


def total(report: Report) -> int:
    messages = report.document["messages"]
    return sum(number for end, number in messages.items() if end != "scheduled")


@pytest.mark.parametrize("batch_size", [1, 25])
async def test_a_sound_service_is_found_sound(batch_size: int) -> None:
    plan = Plan(90, (Phase(2, 300),), batch_size=batch_size, **FIELD)
    async with serving() as service:
        report = await loaded(service, plan)
    document = report.document
    assert report.right
    messages = document["messages"]
    assert messages["scheduled"] == 600 == messages["accepted"] + messages["duplicates"]
    assert messages["accepted"] == len(service.stored) == document["events_stored"]
    assert 30 <= messages["duplicates"] <= 90
    assert service.requests == 600 / batch_size == document["requests"]["sent"]
    assert document["counts"]["during"]["compared"] > 100
    assert document["counts"]["afterwards"] | {"seconds": 0} == {
        "compared": 26,
        "exactly": 26,
        "wrong": 0,
        "seconds": 0,
    }
    assert document["per_second"]["due"] == pytest.approx(300, abs=25)
    assert sum(row["acknowledged"] for row in document["timeline"]) == 600
    assert document["response_time_ms"]["number"] == 600 / batch_size


async def test_a_service_that_acknowledges_and_forgets_is_found_out() -> None:
    forgotten: list[dict[str, Any]] = []

    def drops(event: dict[str, Any]) -> bool:
        if event["seq"] == 3 and not forgotten:
            forgotten.append(event)
        return event in forgotten

    async with serving(Faults(drops=drops)) as service:
        report = await loaded(service, Plan(40, (Phase(2, 200),)))
    counts = report.document["counts"]
    assert forgotten
    assert not report.right
    # the room and the floor of that one event, and no other
    assert counts["afterwards"]["wrong"] == 2
    assert counts["during"]["wrong"] > 0
    for wrong in counts["wrong"]:
        must_be = wrong["entries_must_be"][0] + wrong["exits_must_be"][0]
        assert wrong["entries"] + wrong["exits"] == must_be - 1


async def test_an_event_that_nobody_sent_is_found_out() -> None:
    def invented(receipt: dict[str, Any]) -> dict[str, Any]:
        key = next(iter(service.stored))
        service.store((key[0], key[1], 1_000_000 + len(service.stored)), 1)
        return receipt

    async with serving(Faults(receipt=invented)) as service:
        report = await loaded(service, Plan(40, (Phase(1, 100),)))
    assert report.document["counts"]["afterwards"]["wrong"] == 2
    assert not report.right


async def test_receipts_that_call_a_duplicate_accepted_are_found_out() -> None:
    def boasting(receipt: dict[str, Any]) -> dict[str, Any]:
        return {"accepted": receipt["accepted"] + receipt["duplicates"], "duplicates": 0, "rejected": []}

    async with serving(Faults(receipt=boasting)) as service:
        report = await loaded(service, Plan(40, (Phase(1, 200),), duplicates=0.2))
        later = await loaded(service, Plan(40, (Phase(1, 50),), duplicates=0.2), audit=Audit(settle=5))
    assert report.document["counts"]["afterwards"]["wrong"] == 0
    assert report.document["receipts_agree"] is False
    assert not report.right
    # Where events are stored some time after the receipt, it cannot know of duplicates.
    assert later.document["receipts_agree"] is None
    assert later.right


async def test_a_stall_counts_for_all_who_would_have_come_meanwhile() -> None:
    """The proof that nothing is omitted: one connection, a stall of a second, 100 messages due in it."""
    async with serving(Faults(stalls=(100, 1.0))) as service:
        report = await loaded(service, Plan(40, (Phase(3, 100),)), audit=None, connections=1)
    response, service_time = report.document["response_time_ms"], report.document["service_time_ms"]
    assert response["number"] == service_time["number"] == 300
    # From when it was sent, one request in 300 was slow: a client that waits its turn sees no more than that.
    assert service_time["p99"] < 500
    assert service_time["max"] > 950
    # From when it was due, a third of them was, by half a second on average.
    assert response["p90"] > 650
    assert response["p99"] > 950
    assert max(row["waiting"] for row in report.document["timeline"]) > 50


async def test_messages_go_out_on_time_however_slow_the_answers_are() -> None:
    async with serving(Faults(waits=lambda _: 0.8)) as service:
        report = await loaded(service, Plan(40, (Phase(2, 100),)), audit=None, connections=200)
    slots = [arrival - service.arrivals[0] for arrival in service.arrivals]
    assert len(slots) == 200
    assert max(abs(slot - place / 100) for place, slot in enumerate(slots)) < 0.25
    assert report.document["service_time_ms"]["p50"] == pytest.approx(800, abs=100)
    assert not report.document["messages"]["unsent"]


async def test_what_was_not_sent_or_not_answered_at_the_end_is_told() -> None:
    conduct = Conduct(timeout=30, drain=0.3)
    async with serving(Faults(waits=lambda request: 60 if request >= 20 else 0)) as service:
        report = await loaded(service, Plan(40, (Phase(1, 100),)), conduct, connections=10)
    messages = report.document["messages"]
    assert messages["accepted"] == 20
    assert messages["unknown"] == 10
    assert messages["unsent"] == 70
    assert total(report) == messages["scheduled"] == 100
    assert report.document["receipts_agree"] is None
    # Ten events may have been stored or not; here they were.
    assert report.right
    assert len(service.stored) == 30


async def test_who_finds_no_connection_for_too_long_gives_up() -> None:
    conduct = Conduct(patience=0.5)
    async with serving(Faults(stalls=(20, 2.5))) as service:
        report = await loaded(service, Plan(40, (Phase(4, 50),)), conduct, connections=1)
    messages = report.document["messages"]
    assert total(report) == messages["scheduled"] == 200
    assert 60 < messages["unsent"] < 130
    # Whoever came after that was served at once.
    assert report.document["timeline"][-2]["p99"] < 200
    assert report.right


async def test_an_answer_that_does_not_come_is_given_up_and_the_connection_replaced() -> None:
    conduct = Conduct(timeout=0.5, drain=5)
    async with serving(Faults(waits=lambda request: 60 if request in {5, 6, 7} else 0)) as service:
        report = await loaded(service, Plan(40, (Phase(3, 50),)), conduct, connections=2)
    messages = report.document["messages"]
    assert (messages["accepted"], messages["unknown"]) == (147, 3)
    assert report.document["requests"]["by_answer"] == {"200": 147, "no answer in 0.5 s": 3}


async def test_devices_that_send_again_lose_nothing() -> None:
    def answers(request: int) -> int:
        return {1: 429, 4: 503, 7: 500}.get(request % 10, 200) if request < 150 else 200

    faults = Faults(answers=answers, hangs_up=lambda request: request % 10 == 9 and request < 150)
    async with serving(faults) as service:
        report = await loaded(service, Plan(40, (Phase(2, 100),), **FIELD), Conduct(retry=True, drain=20))
    document = report.document
    messages = document["messages"]
    assert total(report) == messages["scheduled"] == 200 == messages["accepted"] + messages["duplicates"]
    assert document["events_stored"] == len(service.stored)
    assert document["requests"]["sent_again"] > 50
    assert document["requests"]["sent"] == service.requests
    assert {"429", "503", "500", "200"} < set(document["requests"]["by_answer"])
    assert report.right
    assert document["counts"]["afterwards"]["exactly"] == 11


async def test_devices_wait_as_long_as_they_are_told() -> None:
    faults = Faults(answers=lambda request: 429 if request == 0 else 200, retry_after=1)
    async with serving(faults) as service:
        report = await loaded(service, Plan(1, (Phase(0.5, 2),)), Conduct(retry=True))
    assert report.document["messages"]["accepted"] == 1
    assert 1.0 <= service.arrivals[-1] - service.arrivals[0] <= 3.0
    # From when it was due: waiting to be allowed is waiting.
    assert report.document["response_time_ms"]["max"] > 1000
    assert report.document["service_time_ms"]["max"] < 1000


async def test_without_sending_again_refused_is_refused() -> None:
    async with serving(Faults(answers=lambda request: 200 if request % 3 else 429)) as service:
        report = await loaded(service, Plan(40, (Phase(1, 90),), warm_up=0.5))
    document = report.document
    assert document["messages"]["refused"] == 30
    assert document["messages"]["accepted"] == 60 == len(service.stored)
    assert document["messages_measured"] == dict.fromkeys(document["messages_measured"], 0) | {
        "accepted": 30,
        "refused": 15,
    }
    assert document["refusal_time_ms"]["number"] == 15
    assert document["response_time_ms"]["number"] == 30
    assert report.right


async def test_rejected_events_are_counted_by_code_and_not_expected_in_counts() -> None:
    async with serving() as service:
        service.known_dpus = 30
        report = await loaded(service, Plan(40, (Phase(1, 80),), batch_size=20))
    assert report.document["rejected_by_code"] == {"unknown_dpu": 20}
    assert report.document["messages"]["rejected"] == 20
    assert report.document["messages"]["accepted"] == 60
    assert report.right


async def test_connections_closed_while_idle_lose_nothing() -> None:
    async with serving(Faults(hangs_up=lambda request: request == 1)) as service:
        report = await loaded(service, Plan(4, ONCE_AND_LATER_AGAIN), connections=1)
    assert report.document["messages"] == report.document["messages"] | {
        "scheduled": 2,
        "accepted": 1,
        "duplicates": 1,
    }
    assert report.document["requests"]["sent_again"] == 1
    assert service.requests == 3


async def test_as_fast_as_it_goes() -> None:
    async with serving() as service:
        report = await loaded(
            service, Plan(40, (Phase(1, UNPACED),), batch_size=10), audit=Audit(0.3), connections=2
        )
    messages = report.document["messages"]
    assert messages["scheduled"] == messages["accepted"] == len(service.stored) > 500
    assert report.right
    assert report.document["plan"]["phases"] == [{"seconds": 1, "rate": "max"}]


async def test_a_load_on_top_of_another_starts_from_the_counts_that_it_finds() -> None:
    async with serving() as service:
        await loaded(service, Plan(40, (Phase(1, 100),), **FIELD))
        report = await loaded(service, Plan(40, (Phase(1, 100),), seed=2, **FIELD))
    assert report.right
    assert report.document["counts"]["afterwards"]["compared"] == 11


async def test_the_ledger_tells_of_every_event(tmp_path: Path) -> None:
    faults = Faults(answers=lambda request: 429 if request % 4 == 1 else 200)
    async with serving(faults) as service:
        await loaded(service, Plan(40, (Phase(1, 100),)), ledger_file=tmp_path / "ledger.csv")
    with (tmp_path / "ledger.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    stored = {(row["dpu_id"], row["seq"], row["direction"]) for row in rows if row["fate"] == "stored"}
    assert stored == {(key[0], str(key[2]), str(direction)) for key, direction in service.stored.items()}
    assert sum(row["fate"] == "not stored" for row in rows) == 25


async def test_a_question_that_is_cancelled_as_its_answer_comes_is_cancelled() -> None:
    """The load would otherwise ask on for ever, and never end."""
    async with serving() as service:
        questions = Questions(Endpoint.of(f"http://127.0.0.1:{service.port}", None))
        await questions.open()
        path = "/v1/counts?at=2026-03-02T08:00:00Z&space_id=load-room-0"
        asking = asyncio.create_task(questions.get(path))

        def answered(future: asyncio.Future[Answer], answer: Answer) -> None:
            future.set_result(answer)
            asking.cancel()

        questions._pool._on_answer = answered
        with pytest.raises(asyncio.CancelledError):
            await asking
        await questions.close()


async def test_who_cannot_be_reached_is_named() -> None:
    async with serving() as service:
        pass
    with pytest.raises(InvalidInput, match="cannot be reached") as refused:
        await loaded(service, Plan(1, (Phase(1, 1),)))
    assert refused.value.field == "url"
    for url in ("ftp://x", "127.0.0.1:80", "http://", "http://x:99999"):
        with pytest.raises(InvalidInput) as refused:
            await run_load(Plan(1, (Phase(1, 1),)), Site(1), Target(url), QUICK, None)
        assert refused.value.field == "url"
