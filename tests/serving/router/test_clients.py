# SPDX-License-Identifier: Apache-2.0
"""Clients that are slow, huge, malformed, gone or not allowed; keys, limits and queues."""

import asyncio
import contextlib
import json
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.router.settings import Settings
from tests.serving.router.fakes import (
    HOST,
    MODEL,
    Caller,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)

LIMITS = "[limits]\nbody_bytes = 2000\nheader_bytes = 1000\nqueue_s = 0.3\n"


Certificate = tuple[Path, Path]  # and its key


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert,
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def over_tls(settings: Settings, certificate: Certificate) -> Settings:
    cert, key = certificate
    return replace(settings, listen=replace(settings.listen, tls_cert=cert, tls_key=key))


def trusting(certificate: Certificate) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    return {"ssl": context, "server_hostname": HOST}


async def raw(port: int, data: bytes) -> bytes:
    """All that comes back for these bytes until the router closes."""
    caller = await Caller.at(port)
    caller.writer.write(data)
    try:
        return await asyncio.wait_for(caller.reader.read(), 60)
    except ConnectionError:
        return b"reset"
    finally:
        caller.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"400"),
        (b"GET /v1/models HTTP/1.1\r\nx: " + b"a" * 1500 + b"\r\n\r\n", b"431"),
        (b"GET /v1/models HTTP/1.1\r\n" + b"x: a\r\n" * 400 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 3000, b"431"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 9999\r\n\r\n", b"413"),
        (b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
         + b"100\r\n" + b"x" * 256 + b"\r\n", b"413"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
         b"400"),
        (b"POST /v1/completions HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
         b"0\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nupgrade: h2c\r\nconnection: close, upgrade\r\n\r\n", b"404"),
        (b"POST /v1/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: 4\r\n\r\n{\"a\"",
         b"400"),
    ],
)  # fmt: skip
def test_what_is_no_request_gets_one_clear_error(data: bytes, status: bytes) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one], LIMITS)) as rig:
            if b"chunked" in data and b"100\r\n" in data:
                answer = await raw(rig.server.port, data + b"100\r\n" + b"x" * 256 + b"\r\n" + (
                    b"700\r\n" + b"x" * 1792))  # fmt: skip
            else:
                answer = await raw(rig.server.port, data)
            assert answer.startswith(b"HTTP/1.1 " + status), answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == int(status)
            assert not one.seen
            assert (await rig.complete()).status == 200

    run(main)


@pytest.mark.parametrize("tls", [False, True])
def test_who_sends_all_before_reading_is_told_that_it_is_too_large(
    tls: bool, certificate: Certificate
) -> None:
    async def main() -> None:
        async with replicas(1) as (one,):
            settings, more = settings_for([one], LIMITS), {}
            if tls:
                settings, more = over_tls(settings, certificate), trusting(certificate)
            async with routed(settings) as rig:
                caller = await Caller.at(rig.server.port, **more)
                caller.writer.transport.set_write_buffer_limits(0)
                caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
                head = b"POST /v1/completions HTTP/1.1\r\ncontent-length: 20000000\r\n\r\n"
                caller.writer.write(head + b"x" * 20_000_000)
                await caller.writer.drain()
                caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
                assert (await caller.read()).status == 413
                caller.close()
                await until(lambda: not rig.server.door.clients)
                assert not one.seen

    run(main)


def test_who_sends_on_after_a_refusal_without_end_is_let_go() -> None:
    async def main() -> None:
        times = "[timeouts]\nbody_s = 0.3\n"
        async with replicas(1) as (one,), routed(settings_for([one], times + LIMITS)) as rig:
            caller = await Caller.at(rig.server.port)
            caller.send("/v1/completions", "x" * 3000)
            assert (await caller.read()).status == 413
            assert await caller.reader.read() == b""

            async def drip() -> None:
                while not caller.writer.is_closing():
                    caller.writer.write(b"x")
                    await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            await until(lambda: not rig.server.door.clients)
            dripping.cancel()
            caller.close()

    run(main)


def test_slow_clients_are_let_go() -> None:
    async def main() -> None:
        times = "[timeouts]\nhead_s = 0.3\nbody_s = 0.3\nidle_s = 0.3\n"
        async with replicas(1) as (one,), routed(settings_for([one], times)) as rig:
            callers = [await Caller.at(rig.server.port) for _ in range(4)]
            callers[1].writer.write(b"POST /v1/comp")
            callers[2].writer.write(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nab")
            callers[3].send("/v1/models", method="GET")
            assert (await callers[3].read()).status == 200

            async def drip() -> None:
                while not callers[1].writer.is_closing():
                    callers[1].writer.write(b"x")
                    await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            await until(lambda: not rig.server.door.clients)
            dripping.cancel()
            for caller in callers:
                caller.close()

    run(main)


def test_a_client_that_never_reads_holds_its_replica_back_and_is_let_go() -> None:
    async def main() -> None:
        times = "[timeouts]\nclient_s = 0.5\n[limits]\nbody_bytes = 10000000\n"
        async with replicas(1) as (one,), routed(settings_for([one], times)) as rig:
            one.pad = "a" * 10_000
            caller = await Caller.at(rig.server.port)
            caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
            caller.send("/v1/completions", {"model": MODEL, "prompt": "a", "stream": True,
                "max_tokens": 2000})  # fmt: skip
            await until(lambda: one.running == 1)
            (exchange,) = rig.server.relay.live
            await until(lambda: exchange.paused_s is not None)
            sent = exchange.bytes_out
            await until(lambda: not rig.server.relay.live)
            # What is under way is a few buffers, not the whole answer.
            assert exchange.bytes_out - sent < 2**20
            assert exchange.bytes_out < 10_000_000
            await until(lambda: one.running == 0)
            assert b'code="499"' in rig.server.stats.text()
            caller.close()

    run(main)


@pytest.mark.parametrize("word", ["keep-alive", "close"])
def test_a_client_that_never_reads_a_plain_answer_is_let_go(word: str) -> None:
    async def main() -> None:
        times = "[timeouts]\nclient_s = 0.3\nidle_s = 0.1\n"
        async with replicas(1) as (one,), routed(settings_for([one], times)) as rig:
            caller = await Caller.at(rig.server.port)
            caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
            one._whole = lambda path, asked: {"text": "a" * 20_000_000}  # type: ignore[method-assign]
            caller.send("/v1/completions", {"model": MODEL, "prompt": "a"},
                headers=f"connection: {word}\r\n")  # fmt: skip
            await until(lambda: one.seen and not rig.server.relay.live)
            assert rig.server.door.clients
            await until(lambda: not rig.server.door.clients, 10)
            caller.close()

    run(main)


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_reads_slowly_gets_all_of_a_plain_answer(
    tls: bool, certificate: Certificate
) -> None:
    async def main() -> None:
        times = "[timeouts]\nclient_s = 0.5\nidle_s = 0.1\n"
        async with replicas(1) as (one,):
            settings, more = settings_for([one], times), {}
            if tls:
                settings, more = over_tls(settings, certificate), trusting(certificate)
            async with routed(settings) as rig:
                one._whole = lambda path, asked: {"text": "a" * 40_000_000}  # type: ignore[method-assign]
                # Little of it here: what this side holds is read, to the router.
                caller = await Caller.at(rig.server.port, limit=2**16, **more)
                caller.send("/v1/completions", {"model": MODEL, "prompt": "a"})
                _, headers = await caller.head()
                left = int(headers["content-length"])
                while left:
                    left -= len(await caller.reader.readexactly(min(left, 1_000_000)))
                    await asyncio.sleep(0.05)
                caller.close()

    run(main)


def test_who_asks_ahead_and_never_reads_is_asked_no_more() -> None:
    async def main() -> None:
        times = "[timeouts]\nclient_s = 0.5\n"
        async with replicas(1) as (one,), routed(settings_for([one], times)) as rig:
            caller = await Caller.at(rig.server.port)
            caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
            many = b"GET /health HTTP/1.1\r\n\r\n" * 40_000
            with contextlib.suppress(ConnectionError, TimeoutError):
                for _ in range(40):
                    caller.writer.write(many)
                    async with asyncio.timeout(0.2):
                        await caller.writer.drain()
            # Gone at once where it asked for more than may be asked ahead.
            left = [one._transport.get_write_buffer_size() for one in rig.server.door.clients]
            assert max(left, default=0) < 2**20
            await until(lambda: not rig.server.door.clients, 10)
            caller.close()

    run(main)


def test_who_asks_ahead_and_reads_late_gets_every_answer_in_order() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one._whole = lambda path, asked: {"said": asked["prompt"] * 2_000_000}  # type: ignore[method-assign]
            caller = await Caller.at(rig.server.port)
            caller.reader._transport.pause_reading()  # type: ignore[attr-defined]
            words = [chr(97 + at) for at in range(20)]
            for word in words:
                caller.send("/v1/completions", {"model": MODEL, "prompt": word})
            await until(lambda: next(iter(rig.server.door.clients), None) is not None)
            (client,) = rig.server.door.clients
            await until(lambda: client.paused and client._request is None)
            caller.reader._transport.resume_reading()  # type: ignore[attr-defined]
            for word in words:
                assert (await caller.read()).json["said"][:1] == word
            caller.close()

    run(main)


def test_json_that_is_deeper_than_we_write_is_refused_also_when_sent_ahead() -> None:
    async def main() -> None:
        deep = json.loads("[" * 400 + "]" * 400)
        async with replicas(1) as (one,), routed(settings_for([one], resume=True)) as rig:
            chat = {"model": MODEL, "messages": [{"role": "user", "content": deep}]}
            plain = {"model": MODEL, "prompt": "a", "stream": True, "metadata": deep}
            named = {"model": MODEL, "prompt": "a", "prompt_cache_key": deep}
            caller = await Caller.at(rig.server.port)
            for path, asked in (
                ("/v1/chat/completions", chat), ("/v1/completions", plain),
                ("/v1/completions", named),
            ) * 2:  # fmt: skip
                caller.send(path, asked)
            for _ in range(6):
                answer = await caller.read()
                assert answer.status == 400
                assert "too deep" in answer.json["error"]["message"]
            assert not one.seen
            caller.close()

    run(main)


def test_a_fault_of_ours_closes_the_connection_also_for_what_was_sent_ahead() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            bugs: list[BaseException] = []
            rig.server.door.bug = bugs.append
            caller = await Caller.at(rig.server.port)
            one.hold.clear()
            for _ in range(2):
                caller.send("/v1/completions", {"model": MODEL, "prompt": "a"})
            await until(lambda: one.seen)
            rig.server.door._asked = None  # type: ignore[assignment, method-assign]
            one.hold.set()
            assert (await caller.read()).status == 200
            assert await caller.reader.read() == b""
            assert len(bugs) == 1
            caller.close()

    run(main)


def test_chunks_may_have_trailers_after_any_body_but_not_without_end() -> None:
    async def main() -> None:
        more = "[limits]\nheader_bytes = 1000\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            body = json.dumps({"model": MODEL, "prompt": "a", "user": "b" * 3000}).encode()
            head = b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n"
            sent = b"connection: close\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body)
            answer = await raw(rig.server.port, head + sent + b"authorization: x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            assert len(one.seen) == 1
            caller = await Caller.at(rig.server.port)
            caller.writer.write(head + sent + b"x: ")
            with contextlib.suppress(ConnectionError):
                for _ in range(200):
                    caller.writer.write(b"a" * 10_000)
                    await caller.writer.drain()
                    await asyncio.sleep(0.001)
            assert (await caller.read()).status == 431
            assert rig.server.stats.refusals["431"] == 1
            caller.close()
            await until(lambda: not rig.server.door.clients, 10)

    run(main)


def test_offers_to_talk_another_protocol_are_no_limit_to_requests_sent_ahead() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            offer = b"GET /health HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
            last = b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n"
            answer = await raw(rig.server.port, offer * 2000 + last)
            assert answer.count(b"HTTP/1.1 200 OK") == 2001

    run(main)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("cut", [0, 60, 150, 250])
def test_a_body_after_an_offer_to_talk_another_protocol_is_no_request(
    chunked: bool, cut: int
) -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            body = json.dumps({"model": MODEL, "prompt": "a", "user": "b" * 100}).encode()
            length = b"content-length: %d" % len(body)
            if chunked:
                length = b"transfer-encoding: chunked"
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            offer = b"connection: upgrade\r\nupgrade: h2c\r\nx-request-id: mine\r\n"
            asked = b"POST /v1/completions HTTP/1.1\r\n%b%b\r\n\r\n%b" % (offer, length, body)
            caller = await Caller.at(rig.server.port)
            caller.writer.write(asked[:cut])
            if cut:
                await until(lambda: any(it.deadline_s for it in rig.server.door.clients))
            caller.writer.write(asked[cut:])
            caller.send("/v1/models", method="GET")
            answers = [(await caller.read()).status for _ in range(2)]
            caller.close()
            assert answers == [200, 200]
            (seen,) = one.seen
            assert (seen.body["user"], seen.headers["x-request-id"]) == ("b" * 100, "mine")

    run(main)


def test_an_offer_with_a_body_may_expect_one_word_first_and_end_the_connection() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            body = json.dumps({"model": MODEL, "prompt": "a"}).encode()
            head = (
                b"POST /v1/completions HTTP/1.1\r\nconnection: close, upgrade\r\nupgrade: h2c\r\n"
                b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
            )
            answer = await raw(rig.server.port, head + body)
            assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), answer

    run(main)


def test_a_client_that_goes_takes_its_request_with_it() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.gap_s = 0.02
            for stream in (True, False):
                one.hold.clear()
                caller = await Caller.at(rig.server.port)
                caller.send("/v1/completions", {"model": MODEL, "prompt": "a", "stream": stream,
                    "max_tokens": 500})  # fmt: skip
                await until(lambda: one.running == 1)
                caller.close()
                await until(rig.clean)
                one.hold.set()
                await until(lambda: one.running == 0)
            assert rig.server.fleet.replicas[one.url].breaker.failures == 0

    run(main)


def test_keys_models_and_sites_are_kept_apart(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "a").write_text("# of team a\nkey-of-team-a\nsecond-key-of-a\n")
        (tmp_path / "b").write_text("key-of-team-b\n")
        more = f"""
[[tenant]]
name = "a"
key_file = "{tmp_path}/a"
sites = ["s1"]
[[tenant]]
name = "b"
key_file = "{tmp_path}/b"
models = ["other"]
"""
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            asked = {"model": MODEL, "prompt": "abc"}

            async def status(key: str, path: str = "/v1/completions") -> int:
                header = f"authorization: {key}\r\n" if key else ""
                return (await rig.ask(path, asked, headers=header)).status

            assert await status("") == 401
            assert await status("Bearer key-of-team-x") == 401
            assert await status("Basic key-of-team-a") == 401
            assert await status("Bearer key-of-team-b") == 404
            for _ in range(10):
                assert await status("Bearer second-key-of-a") == 200
            assert len(both[1].seen) == 10
            assert not both[0].seen
            assert "authorization" not in both[1].seen[0].headers
            both[1].kill()
            assert await status("Bearer key-of-team-a") == 503
            assert not both[0].seen
            text = rig.server.stats.text()
            assert b'code="200",model="m",site="s1",tenant="a"' in text
            assert b"key-of-team" not in text

    run(main)


def test_a_tenant_has_so_many_requests_at_once_also_over_a_reload(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "k").write_text("key-of-a-tenant\n")
        more = f'[[tenant]]\nname = "t"\nkey_file = "{tmp_path}/k"\nrunning = 2\n'
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            asked = {"model": MODEL, "prompt": "abc"}
            bearer = "authorization: Bearer key-of-a-tenant\r\n"
            for _ in range(3):
                one.hold.clear()
                held = [asyncio.create_task(rig.ask(asked=asked, headers=bearer)) for _ in range(2)]
                await until(lambda: one.running == 2)
                rig.server.reload()
                refused = await rig.ask(asked=asked, headers=bearer)
                assert (refused.status, refused.headers["retry-after"]) == (429, "1")
                one.hold.set()
                assert [answer.status for answer in await asyncio.gather(*held)] == [200, 200]

    run(main)


def test_a_model_and_a_tenant_without_a_site_in_common(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "k").write_text("key-of-a-tenant\n")
        more = f"""
[[tenant]]
name = "t"
key_file = "{tmp_path}/k"
sites = ["s0"]
[[model]]
name = "{MODEL}"
sites = ["s1"]
"""
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            bearer = "authorization: Bearer key-of-a-tenant\r\n"
            answer = await rig.ask(asked={"model": MODEL, "prompt": "a"}, headers=bearer)
            assert answer.status == 403
            assert not both[0].seen + both[1].seen

    run(main)


def test_a_replica_gets_its_own_key(tmp_path: Path) -> None:
    async def main() -> None:
        async with replicas(1, key="replica-key") as (one,):
            (tmp_path / "key").write_text("replica-key\n")
            settings = settings_for(
                [], f'[[replica]]\nurl = "{one.url}"\nmodel = "m"\nkey_file = "{tmp_path}/key"\n'
            )
            async with routed(settings) as rig:
                assert (await rig.complete()).status == 200

    run(main)


def test_full_replicas_make_requests_wait_then_be_turned_away() -> None:
    async def main() -> None:
        more = "[limits]\nrunning_per_replica = 2\nqueue = 3\nqueue_s = 0.4\n"
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            for one in both:
                one.hold.clear()
            asked = [asyncio.create_task(rig.complete()) for _ in range(10)]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await until(lambda: sum(one.done() for one in asked) == 3)  # no place in the queue
            assert {one.result().status for one in done} == {429}
            await until(lambda: sum(one.done() for one in asked) == 6)  # waited in vain
            assert both[0].running == both[1].running == 2
            for one in both:
                one.hold.set()
            answers = await asyncio.gather(*asked)
            assert sorted(one.status for one in answers) == [200] * 4 + [429] * 6
            assert all("retry-after" in one.headers for one in answers if one.status == 429)
            await until(rig.clean)

    run(main)


def test_who_waits_gets_the_next_place_without_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        more = "[limits]\nrunning_per_replica = 1\nqueue_s = 5\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            monkeypatch.setattr(rig.server, "_changed", lambda _: None)
            rig.server.checks.stop()
            answers = await asyncio.gather(*(rig.complete(f"p{at}") for at in range(20)))
            assert [one.status for one in answers] == [200] * 20
            assert [seen.body["prompt"] for seen in one.seen] == [f"p{at}" for at in range(20)]

    run(main)


def test_who_comes_later_waits_behind_those_who_wait() -> None:
    async def main() -> None:
        more = "[limits]\nrunning_per_replica = 1\nqueue_s = 30\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            relay, group = rig.server.relay, rig.server.fleet.groups[MODEL]
            one.hold.clear()
            asked = [asyncio.create_task(rig.complete("first"))]
            await until(lambda: one.running)
            pump, relay.pump = relay.pump, lambda _: None  # type: ignore[method-assign]
            asked.append(asyncio.create_task(rig.complete("second")))
            await until(lambda: len(group.waiting) == 1)
            one.hold.set()
            await asked[0]
            # The replica is free, and nobody has told those who wait.
            asked.append(asyncio.create_task(rig.complete("third")))
            await until(lambda: len(group.waiting) == 2)
            relay.pump = pump  # type: ignore[method-assign]
            await asyncio.gather(*asked)
            assert [seen.body["prompt"] for seen in one.seen] == ["first", "second", "third"]

    run(main)


def test_tls(certificate: Certificate) -> None:
    async def main() -> None:
        async with (
            replicas(1) as (one,),
            routed(over_tls(settings_for([one]), certificate)) as rig,
        ):
            caller = await Caller.at(rig.server.port, **trusting(certificate))
            caller.send("/v1/completions", {"model": MODEL, "prompt": "abc", "stream": True,
                "max_tokens": 500})  # fmt: skip
            answer = await caller.read()
            assert answer.done
            assert answer.text == answer_of("abc", 500)
            caller.close()
            assert (await raw(rig.server.port, b"GET / HTTP/1.1\r\n\r\n"))[:4] != b"HTTP"

    run(main)
