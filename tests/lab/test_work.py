"""Work of a tab: one piece at a time, stopped within a step, an error told as a sentence."""

import asyncio

import pytest

from predact.errors import UserError
from predact.lab.work import STOPPED, Work


@pytest.fixture
def told():
    """What was told: sentences, and whether work goes on."""
    return []


async def until(condition):
    while not condition():
        await asyncio.sleep(0)


def worked(told, script):
    """Run a script with a piece of work, and wait until the loop is idle."""

    async def main():
        await script(Work(told.append, told.append, asyncio.get_running_loop()))
        await asyncio.sleep(0)
        await until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(main())


def steps(told, name, count):
    for number in range(count):
        told.append(f"{name}{number}")
        yield


def test_steps_are_taken_one_by_one_and_others_are_heard_between(told):
    async def script(work):
        work.begin(steps(told, "a", 3))
        await until(lambda: "a0" in told)
        told.append("heard")

    worked(told, script)
    assert [each for each in told if each != "heard"] == [True, "", "a0", "a1", "a2", False]
    assert told.index("heard") < len(told) - 1


def test_a_stop_ends_the_work_within_a_step(told):
    async def script(work):
        work.begin(steps(told, "a", 1000))
        await until(lambda: "a0" in told)
        work.stop()
        work.stop()

    worked(told, script)
    assert told[:3] == [True, "", "a0"] and told[-2:] == [STOPPED, False] and len(told) < 100
    worked([], lambda work: asyncio.sleep(0, work.stop()))  # nothing to stop


def test_new_work_ends_the_old_and_never_overlaps_it(told):
    async def script(work):
        work.begin(steps(told, "a", 1000))
        await until(lambda: "a0" in told)
        for name in "bcd":  # a slider that moves on before its work has begun
            work.begin(steps(told, name, 2))

    worked(told, script)
    assert told[-7:] == [STOPPED, False, True, "", "d0", "d1", False]
    assert not {"b0", "c0", "a999"} & set(told)


def test_a_mistake_of_the_user_is_a_sentence_and_the_next_work_goes_on(told):
    def failing(error):
        raise error
        yield

    async def script(work):
        for count, error in enumerate((UserError("text: write something."), RuntimeError("odd\nlong trace")), 1):
            work.begin(failing(error))
            await until(lambda: told.count(False) == count)  # noqa: B023
        work.begin(steps(told, "a", 1))

    worked(told, script)
    assert told[2] == "text: write something." and told[6] == "This did not work: RuntimeError: odd"
    assert told[-4:] == [True, "", "a0", False]
