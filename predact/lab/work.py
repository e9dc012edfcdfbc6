"""Work of a tab: one piece at a time, in steps between which the kernel hears the stop button."""

import asyncio
from collections.abc import Callable, Generator

from predact.errors import UserError

PAUSE = 0.03  # seconds between two steps: enough for the messages that have come meanwhile
STOPPED = "Stopped. What there is stays; press the button again to go on."
Steps = Generator[None, None, None]


class Work:
    """Runs steps as a task of the kernel's event loop, so that a step is never cut in two and two never overlap."""

    def __init__(self, tell: Callable[[str], None], running: Callable[[bool], None]) -> None:
        """Do nothing yet.

        Args:
            tell: shows a sentence: of an error or of an end; an empty one when work begins.
            running: is told when work begins (True) and when it is over.
        """
        self._tell, self._running = tell, running
        self._task: asyncio.Task | None = None

    def begin(self, steps: Steps) -> None:
        """Take the steps of a generator; work that is still going on is stopped first."""
        self._task = asyncio.get_running_loop().create_task(self._run(steps, self._task))

    def stop(self) -> None:
        """Stop after the step that is being taken."""
        if self._task:
            self._task.cancel()

    async def _run(self, steps: Steps, before: asyncio.Task | None) -> None:
        if before:
            before.cancel()
            await asyncio.wait([before])
        self._running(True)
        self._tell("")
        try:
            await asyncio.sleep(PAUSE)
            for _ in steps:
                await asyncio.sleep(PAUSE)
        except asyncio.CancelledError:
            self._tell(STOPPED)
        except Exception as error:
            self._tell(in_a_sentence(error))
        finally:
            steps.close()
            self._running(False)


def in_a_sentence(error: Exception) -> str:
    """Say in a sentence what went wrong: a mistake of the user as it is, anything else with its kind."""
    if isinstance(error, UserError):
        return str(error)
    return f"This did not work: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
