"""Work of a tab: one piece at a time, in steps between which a button is heard.

All tabs of a laboratory work in one thread of its own: kernels handle what widgets tell in several threads, and
models are not to be used by two at once.
"""

import asyncio
import threading
from collections.abc import Callable, Generator

from predact.errors import UserError

PAUSE = 0.03  # seconds between two steps: enough for what other threads have to say
STOPPED = "Stopped. What there is stays; press the button again to go on."
Steps = Generator[None, None, None]


def own_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in a thread of its own, as long as the kernel lives."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="laboratory", daemon=True).start()
    return loop


class Work:
    """Runs steps as a task of an event loop, so that a step is never cut in two and two never overlap."""

    def __init__(
        self, tell: Callable[[str], None], running: Callable[[bool], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Do nothing yet.

        Args:
            tell: shows a sentence: of an error or of an end; an empty one when work begins.
            running: is told when work begins (True) and when it is over.
            loop: in which it works; of one laboratory always the same.
        """
        self._tell, self._running, self._loop = tell, running, loop
        self._task: asyncio.Task | None = None

    def begin(self, steps: Steps) -> None:
        """Take the steps of a generator; work that is still going on is stopped first."""
        self._loop.call_soon_threadsafe(self._begin, steps)

    def stop(self) -> None:
        """Stop after the step that is being taken."""
        self._loop.call_soon_threadsafe(self._stop)

    def _begin(self, steps: Steps) -> None:
        self._task = self._loop.create_task(self._run(steps, self._task))

    def _stop(self) -> None:
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
