# SPDX-License-Identifier: Apache-2.0
"""Load while a site comes and goes: nothing is lost, nothing comes twice, nothing stays behind.

$SLURM_GREEN_FLAP_S makes it last longer, with a flap every sixtieth of it.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.serving.router.fakes import (
    Fault,
    Rig,
    answer_of,
    replicas,
    routed,
    run,
    settings_for,
    until,
)  # fmt: skip

SECONDS = float(os.environ.get("SLURM_GREEN_FLAP_S", "6"))
PERIOD_S = SECONDS / 60
# Others may use this machine too: who is only slow is not down.
TIMES = """
[health]
period_s = 0.2
timeout_s = 2
scrape = false
[timeouts]
first_byte_s = 1
progress_s = 1
[limits]
queue_s = 20
"""


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_a_site_that_flaps_under_load() -> None:
    async def main() -> None:
        async with replicas(3) as three, routed(settings_for(three, TIMES, resume=True)) as rig:
            draw = random.Random(7)
            stop = asyncio.Event()
            done: list[int] = []
            wrong: list[str] = []

            async def client(number: int) -> None:
                at = 0
                while not stop.is_set():
                    at += 1
                    prompt, tokens = f"c{number} r{at}", draw.randint(1, 30)
                    stream = draw.random() < 0.7
                    ask = rig.chat if stream and draw.random() < 0.5 else rig.complete
                    answer = await ask(prompt, tokens, stream=stream)
                    good = answer.status == 200 and (answer.done or not stream)
                    if good:
                        said = answer.text if stream else answer.json["choices"][0]["text"]
                        good = said == answer_of(prompt, tokens)
                    if not good:
                        wrong.append(f"{answer.status} {answer.body[-300:]!r}")
                    done.append(at)

            for one in three:
                one.gap_s = 0.003
            descriptors = len(list(Path("/proc/self/fd").iterdir()))
            clients = [asyncio.create_task(client(number)) for number in range(12)]
            flaps = 0
            end_s = asyncio.get_running_loop().time() + SECONDS
            while asyncio.get_running_loop().time() < end_s:
                flaps += 1
                kind = draw.choice(("kill", "hang", "drain", "health"))
                await _down(three[0], kind)
                await asyncio.sleep(PERIOD_S / 2)
                await _up(three[0], kind)
                await asyncio.sleep(PERIOD_S / 2)
            stop.set()
            await asyncio.gather(*clients)
            assert wrong == []
            assert flaps > 30
            assert len(done) > 100
            await _clean(rig)
            await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 3 * 13)
            print(f"{len(done)} requests, {flaps} flaps, 0 wrong")

    run(main, SECONDS + 60)


async def _down(one, kind: str) -> None:  # type: ignore[no-untyped-def]
    if kind == "kill":
        one.kill()
    elif kind == "hang":
        one.hold.clear()
    elif kind == "drain":
        one.always = Fault("status", status=503, text="not now")
    else:
        one.health = 503
        one.cut()


async def _up(one, kind: str) -> None:  # type: ignore[no-untyped-def]
    one.always, one.health = None, 200
    one.hold.set()
    if kind == "kill":
        await one.start()


async def _clean(rig: Rig) -> None:
    await until(rig.clean)
    server = rig.server
    await until(lambda: not server.door.clients)
    for one in server.fleet.replicas.values():
        assert all(idle.open and idle.exchange is None for idle in one.idle)
    assert not any(group.waiting for group in server.fleet.groups.values())
    assert all(guest.running == 0 for guest in server.door.tenants.guests)
