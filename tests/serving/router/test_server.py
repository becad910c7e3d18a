# SPDX-License-Identifier: Apache-2.0
"""A whole router: registrations, reload, drain, power, its own port, several processes."""

import asyncio
import errno
import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from serving.router import server as server_module
from serving.router import workers
from serving.router.balance import Balanced
from serving.router.config import loads
from serving.router.policy.protocol import Moment, Orders, SiteOrder
from serving.router.registration import DRAINING, Registration, write_registration
from serving.router.settings import RoutePolicy
from tests.serving.router.fakes import (
    HOST,
    MODEL,
    Caller,
    FakeReplica,
    Rig,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)  # fmt: skip


def register(folder: Path, one: FakeReplica, state: str = "ready", site: str = "s0") -> None:
    told = Registration(url=one.url, model=one.model, site=site, key=one.key, state=state)
    write_registration(folder / f"{one.port}.json", told, datetime.now(UTC))


def test_registered_replicas_come_drain_and_go(tmp_path: Path) -> None:
    async def main() -> None:
        for old in tmp_path.glob("*.json"):  # of a try that was slow
            old.unlink()
        async with replicas(2, key="its-own-key") as both:
            more = f'[registrations]\ndir = "{tmp_path}"\n'
            async with routed(settings_for([], more)) as rig:
                assert (await rig.complete()).status == 404  # nobody has that model
                for one in both:
                    register(tmp_path, one)
                known = rig.server.fleet.replicas
                await until(lambda: len(known) == 2 and all(r.view.ready for r in known.values()))
                while not (both[0].seen and both[1].seen):
                    assert (await rig.complete()).status == 200
                both[0].gap_s = 0.05
                both[0].hold.clear()
                asked = [asyncio.create_task(rig.complete(stream=True)) for _ in range(8)]
                await until(lambda: both[0].running)
                register(tmp_path, both[0], DRAINING)
                await until(lambda: not known[both[0].url].view.ready)
                (tmp_path / f"{both[0].port}.json").unlink()
                await until(lambda: both[0].url not in known)
                both[0].hold.set()
                # What had begun ends where it was, the rest elsewhere.
                assert all(one.done for one in await asyncio.gather(*asked))
                seen = len(both[0].seen)
                for _ in range(10):
                    assert (await rig.complete()).status == 200
                assert len(both[0].seen) == seen
                await until(rig.clean)

    run(main)


# A reload that reads a profile holds the loop, and the fake replicas with it, for some 0.1 s.
_PATIENT = """
[timeouts]
first_byte_s = 5
progress_s = 5
connect_s = 5
[health]
period_s = 0.05
timeout_s = 5
scrape = false
"""


def test_a_reload_under_load_loses_nothing_and_a_mistake_changes_nothing() -> None:
    async def main() -> None:
        async with replicas(3) as three, routed(settings_for(three[:2], _PATIENT)) as rig:
            server, stop = rig.server, asyncio.Event()
            wanted = [settings_for(three[:2], _PATIENT)]
            server._reload = lambda: wanted[0]
            good: list[int] = []
            bad: list[int] = []

            async def load() -> None:
                while not stop.is_set():
                    answer = await rig.complete(stream=True)
                    right = answer.done and answer.text == answer_of("abc", 8)
                    (good if right else bad).append(answer.status)

            load_tasks = [asyncio.create_task(load()) for _ in range(8)]
            for chosen in (three[1:], three[:1], three, three[:2], three[2:]):
                wanted[0] = settings_for(chosen, _PATIENT)
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: set(server.fleet.replicas) == {one.url for one in chosen})  # noqa: B023
                served = len(good)
                await until(lambda: bad or len(good) >= served + 16)  # noqa: B023

            policy = server.fleet.groups[MODEL].policy
            named = RoutePolicy(name="reactive", profile="h100-sxm-8b")
            wanted[0] = replace(settings_for(three[2:], _PATIENT), policy=named)
            server.reload()
            assert server.fleet.groups[MODEL].policy is not policy
            wanted[0] = replace(wanted[0], policy=RoutePolicy(name="prices", profile="nowhere"))
            server.reload()
            assert server.settings.policy == named

            def mistake() -> None:
                raise OSError(2, "no such file")

            server._reload = mistake  # type: ignore[assignment]
            server.reload()
            assert set(server.fleet.replicas) == {three[2].url}
            stop.set()
            await asyncio.gather(*load_tasks)
            assert bad == []
            assert b'reloads_total{result="refused"} 2.0' in server.stats.text()
            await until(rig.clean)

    run(main)


def test_a_request_that_a_replica_has_not_begun_leaves_with_it() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            stays = rig.server.fleet.replicas[both[0].url]
            stays.draining = True
            stays.changed(rig.server.loop.time())
            both[1].hold.clear()
            asked = asyncio.create_task(rig.complete())
            await until(lambda: both[1].seen)
            stays.draining = False
            stays.changed(rig.server.loop.time())
            rig.server._reload = lambda: settings_for(both[:1])
            rig.server.reload()
            async with asyncio.timeout(30):
                assert (await asked).status == 200
            assert len(both[0].seen) == 1

    run(main)


def test_sigterm_ends_what_runs_and_takes_nothing_new() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one.gap_s = 0.02
            idle = await Caller.at(rig.server.port)
            idle.send("/v1/models", method="GET")
            await idle.read()
            running = asyncio.create_task(rig.complete(tokens=20, stream=True))
            await until(lambda: one.running)
            rig.server.stop()
            assert await idle.reader.read() == b""
            await until(lambda: rig.server.door.closing)
            with pytest.raises(OSError):
                await Caller.at(rig.server.port)
            assert (await running).done
            await rig.task
            idle.close()

    run(main)


def test_a_drain_that_takes_too_long_ends_in_one_clear_error() -> None:
    async def main() -> None:
        more = "[timeouts]\ndrain_s = 0.2\n"
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            one.hold.clear()
            plain = asyncio.create_task(rig.complete())
            await until(lambda: one.running)
            rig.server.stop()
            assert (await plain).status == 503

    run(main)


def test_a_drain_lasts_until_an_answer_that_is_whole_has_left() -> None:
    async def main() -> None:
        async with replicas(1) as (one,), routed(settings_for([one])) as rig:
            one._whole = lambda path, asked: {"text": "a" * 20_000_000}  # type: ignore[method-assign]
            caller = await Caller.at(rig.server.port, limit=2**16)
            caller.send("/v1/completions", {"model": MODEL, "prompt": "a"})
            _, headers = await caller.head()
            await until(lambda: not rig.server.relay.live)
            rig.server.stop()
            await until(lambda: rig.server.door.closing)
            left = int(headers["content-length"])
            try:
                while left:
                    # More than the kernel may hold of it.
                    assert left < 12_000_000 or not rig.task.done()
                    left -= len(await caller.reader.readexactly(min(left, 1_000_000)))
                    await asyncio.sleep(0.01)
                await rig.task
            finally:
                caller.close()

    run(main)


@pytest.mark.slow
def test_a_site_without_power_gets_no_more_and_gives_up_what_has_not_begun(tmp_path: Path) -> None:
    supply = tmp_path / "supply"

    async def main() -> None:
        ceiling = tmp_path / "ceiling"
        more = f"""
[[site]]
name = "s0"
supply_file = "{supply}"
supply_low_w = 0
supply_stale_s = 2.5
ceiling_file = "{ceiling}"
[[site]]
name = "s1"
"""
        supply.write_text('{"supply_w": 1000}')
        async with replicas(2) as both, routed(settings_for(both, more)) as rig:
            group = rig.server.fleet.groups[MODEL]
            await until(lambda: group.moment.sites[0].supply_w == 1000)
            await until(lambda: all(one.ready for one in group.moment.replicas))
            both[0].hold.clear()
            asked = [asyncio.create_task(rig.complete()) for _ in range(8)]
            await until(lambda: both[0].running)
            supply.write_text('{"supply_w": 0}')
            # Nobody lets go of the first replica: all answers come from the other.
            assert all(one.status == 200 for one in await asyncio.gather(*asked))
            assert len(both[1].seen) == 8
            both[0].hold.set()
            supply.write_text('{"supply_w": 500, "age_s": 0.5}')
            await until(
                lambda: group.moment.replicas[group.replicas.index(_of(rig, both[0]))].ready
            )
            # Nobody renews it: the low quantile stands in.
            await until(lambda: group.moment.sites[0].supply_w == 0)
            supply.write_text("no JSON")
            await until(lambda: rig.server.supplies["s0"].fault)
            assert group.moment.sites[0].supply_w == 0

    run(main)


def _of(rig: Rig, one: FakeReplica):  # type: ignore[no-untyped-def]
    return rig.server.fleet.replicas[one.url]


def test_a_fault_is_told_once_as_long_as_it_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_CURED_S", 0.3)
    supply, ceiling = tmp_path / "supply", tmp_path / "none" / "ceiling"
    more = (
        f'[[site]]\nname = "s0"\nsupply_file = "{supply}"\nsupply_low_w = 1000\n'
        f'ceiling_file = "{ceiling}"\n'
    )

    class Slow(Balanced):
        period_s = 0.01
        asked = 0

        def control(self, moment: Moment) -> Orders:
            self.asked += 1
            return Orders([SiteOrder(ceiling_mhz=500.0) for _ in moment.sites])

    def told(what: str) -> int:
        return sum(what in one for one in caplog.messages)

    async def main() -> None:
        caplog.clear()
        supply.unlink(missing_ok=True)
        async with replicas(1) as (one,), routed(settings_for([one], more)) as rig:
            policy = rig.server.fleet.groups[MODEL].policy = Slow()
            reads = rig.server.supplies["s0"]
            await until(lambda: told("supply: ") and told("no ceiling written"))
            asked = policy.asked
            await until(lambda: policy.asked > asked + 20)  # a second
            assert (told("supply: "), told("no ceiling written")) == (1, 1)
            supply.write_text('{"supply_w": 1000}')
            await until(lambda: reads.fault is None)
            asked = policy.asked
            await until(lambda: policy.asked > asked + 20)
            supply.unlink()
            await until(lambda: reads.fault)
            await until(lambda: told("supply: ") == 2, 10)

    run(main)


def test_a_policy_with_a_bug_costs_nothing_but_its_wisdom() -> None:
    async def main() -> None:
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            group = rig.server.fleet.groups[MODEL]

            class Broken:
                period_s = retry_after_s = 0.1

                def control(self, moment: object) -> None:
                    raise ZeroDivisionError

                def route(self, request: object, moment: object) -> int:
                    raise ZeroDivisionError

                def finished(self, *what: object) -> None:
                    raise ZeroDivisionError

            group.policy = Broken()  # type: ignore[assignment]
            for _ in range(5):
                assert (await rig.complete()).status == 200
            assert group.faults >= 5
            await until(rig.clean)

    run(main)


def test_a_router_without_a_socket_left_takes_no_replica_for_down(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        caplog.clear()
        async with replicas(2) as both, routed(settings_for(both)) as rig:
            bugs: list[BaseException] = []

            def bug(error: BaseException) -> None:
                bugs.append(error)
                rig.server._bug(error)

            rig.server.checks._bug = bug
            caller = await Caller.at(rig.server.port)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                await until(lambda: len(bugs) >= 4 or not rig.server.fleet.any_ready())
                caller.send("/v1/completions", {"model": MODEL, "prompt": "abc"})
                answer = await caller.read()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                caller.close()
            assert answer.status == 502
            assert b"no socket left" in answer.body
            assert not any(one.breaker.opened for one in rig.server.fleet.replicas.values())
            assert all(one.view.ready for one in rig.server.fleet.replicas.values())
            assert {one.errno for one in bugs if isinstance(one, OSError)} == {errno.EMFILE}
            (said,) = [one for one in caplog.records if "no socket left" in one.getMessage()]
            assert said.exc_info is None
            assert (await rig.complete()).status == 200

    run(main)


def test_its_own_port_tells_metrics_and_replicas() -> None:
    async def main() -> None:
        async with replicas(1) as (one,):
            settings = settings_for([one])
            admin_port = (await _free_ports(1))[0]
            listen = replace(settings.listen, admin_port=admin_port)
            async with routed(replace(settings, listen=listen)) as rig:
                await rig.complete()

                async def get(path: str, method: str = "GET") -> tuple[int, bytes]:
                    caller = await Caller.at(admin_port)
                    caller.send(path, method=method)
                    answer = await caller.reader.read()
                    caller.close()
                    head, _, body = answer.partition(b"\r\n\r\n")
                    return int(head.split()[1]), body

                status, text = await get("/metrics")
                assert status == 200
                assert b'slurm_green_route_requests_total{code="200"' in text
                assert b"slurm_green_route_replica_state" in text
                assert json.loads((await get("/replicas"))[1])[0]["state"] == "ready"
                assert (await get("/health"))[0] == 200
                assert (await get("/x"))[0] == 404
                assert await get("/metrics", "HEAD") == (200, b"")

    run(main)


async def _free_ports(count: int) -> list[int]:
    servers = [await asyncio.start_server(lambda *_: None, HOST, 0) for _ in range(count)]
    ports = [one.sockets[0].getsockname()[1] for one in servers]
    for one in servers:
        one.close()
    return ports


def test_the_access_log_says_what_happened_and_nothing_secret(tmp_path: Path) -> None:
    async def main() -> None:
        log, keys = tmp_path / "access", tmp_path / "keys"
        log.unlink(missing_ok=True)  # of a try that was slow
        keys.write_text("secret-key-of-t\n")
        more = f'[[tenant]]\nname = "t"\nkey_file = "{keys}"\n'
        async with replicas(1) as (one,):
            settings = settings_for([one], more)
            listen = replace(settings.listen, access_log=log)
            async with routed(replace(settings, listen=listen)) as rig:
                asked = {"model": MODEL, "prompt": "private words", "stream": True}
                bearer = "authorization: Bearer secret-key-of-t\r\nx-request-id: r-1\r\n"
                await rig.ask(asked=asked, headers=bearer)
                assert (await rig.ask("/v1/completions?x=1", asked)).status == 401
        line, other = [json.loads(one) for one in log.read_text().splitlines()]
        assert (other["path"], other["status"]) == ("/v1/completions", 401)
        assert line["id"] == "r-1"
        assert (line["tenant"], line["status"], line["site"]) == ("t", 200, "s0")
        assert line["first_ms"] <= line["total_ms"]
        assert "private" not in log.read_text()
        assert "secret" not in log.read_text()

    run(main)


def test_a_router_opens_as_many_files_as_it_may_and_says_where_these_are_few(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    seen: list[int] = []

    def work(*_: object) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    monkeypatch.setattr(workers, "_work", work)
    try:
        for most in (limits[1] // 2, limits[1] // 2 + 1):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1] // 2, limits[1]))
            one = '[[replica]]\nurl = "http://127.0.0.1:9"\nmodel = "m"\n'
            settings = loads(f"{one}[limits]\nconnections = {most}\n")
            workers.run(settings, lambda: settings)  # noqa: B023
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert seen == [limits[1]] * 2
    (said,) = caplog.messages
    assert f"connections {limits[1] // 2 + 1}" in said


@pytest.mark.slow
def test_several_processes_share_a_port_and_survive_one_that_dies(tmp_path: Path) -> None:
    async def main() -> None:
        async with replicas(2) as both:
            (port,) = await _free_ports(1)
            config = tmp_path / "route.toml"
            rows = "".join(f'[[replica]]\nurl = "{one.url}"\nmodel = "{MODEL}"\n' for one in both)
            config.write_text(f"[listen]\nport = {port}\nworkers = 3\n{rows}")
            process = subprocess.Popen(
                [sys.executable, "-c", "from slurm_green.cli.root import main; main()",
                 "route", "--config", str(config)],
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                await _answers(port)
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
                await until(lambda: len(children.read_text().split()) == 3)
                pids = [int(one) for one in children.read_text().split()]
                os.kill(pids[0], signal.SIGKILL)
                await until(lambda: len(set(children.read_text().split()) - {str(pids[0])}) == 3)
                await _answers(port)
                os.kill(process.pid, signal.SIGHUP)
                for _ in range(50):
                    await _answers(port)
                process.terminate()
                await until(lambda: process.poll() is not None)
                assert process.returncode == 0
                assert not any(Path(f"/proc/{one}").exists() for one in pids)
            finally:
                process.kill()
                process.wait()

    run(main, 60)


async def _answers(port: int) -> None:
    """One good answer; the router may just be coming up."""
    for _ in range(400):
        try:
            caller = await Caller.at(port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        caller.send("/v1/completions", {"model": MODEL, "prompt": "abc", "max_tokens": 4})
        try:
            answer = await caller.read()
        except (OSError, asyncio.IncompleteReadError):
            continue
        finally:
            caller.close()
        assert answer.status == 200
        return
    raise AssertionError("no answer")
