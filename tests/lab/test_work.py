"""Work of a tab: one piece at a time, stopped within a step, an error told as a sentence."""

import asyncio

import pytest

from predact.errors import UserError
from predact.lab.work import PAUSE, STOPPED, Work


@pytest.fixture
def told():
    """What was told: sentences, and whether work goes on."""
    return []


def worked(told, script):
    """Run a script with a piece of work, and wait until the loop is idle."""

    async def main():
        work = Work(told.append, told.append, asyncio.get_running_loop())
        await script(work)
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(PAUSE)

    asyncio.run(main())


def steps(told, name, count):
    for number in range(count):
        told.append(f"{name}{number}")
        yield


def test_steps_are_taken_one_by_one_and_others_are_heard_between(told):
    async def script(work):
        work.begin(steps(told, "a", 3))
        await asyncio.sleep(1.5 * PAUSE)
        told.append("heard")

    worked(told, script)
    assert told == [True, "", "a0", "heard", "a1", "a2", False]


def test_a_stop_ends_the_work_within_a_step(told):
    async def script(work):
        work.begin(steps(told, "a", 100))
        await asyncio.sleep(1.5 * PAUSE)
        work.stop()
        work.stop()

    worked(told, script)
    assert told == [True, "", "a0", STOPPED, False]
    worked([], lambda work: asyncio.sleep(0, work.stop()))  # nothing to stop


def test_new_work_ends_the_old_and_never_overlaps_it(told):
    async def script(work):
        work.begin(steps(told, "a", 100))
        await asyncio.sleep(1.5 * PAUSE)
        for name in "bcd":  # a slider that moves on before its work has begun
            work.begin(steps(told, name, 2))

    worked(told, script)
    assert told[:5] == [True, "", "a0", STOPPED, False]
    assert told[-5:] == [True, "", "d0", "d1", False]
    assert not {"b0", "c0"} & set(told)


def test_a_mistake_of_the_user_is_a_sentence_and_the_next_work_goes_on(told):
    def failing(error):
        raise error
        yield

    async def script(work):
        work.begin(failing(UserError("text: write something.")))
        await asyncio.sleep(3 * PAUSE)
        work.begin(failing(RuntimeError("odd\nlong trace")))
        await asyncio.sleep(3 * PAUSE)
        work.begin(steps(told, "a", 1))

    worked(told, script)
    assert told[2] == "text: write something." and told[6] == "This did not work: RuntimeError: odd"
    assert told[-4:] == [True, "", "a0", False]
