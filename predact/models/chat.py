"""Chat templates: what a template makes of turns, rendered in a process of its own with limits.

A template is a program that comes with a model. The sandbox of transformers keeps it from files and from Python, but
not from running for ever or taking all memory. So it is rendered, a whole batch of chats at once, in a process that may
take so many seconds and so many bytes; a tokenizer is never asked to render its template itself.
"""

import json
import multiprocessing
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing.connection import Connection
from typing import Any

import psutil

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

from predact.errors import UserError, quoted

Chat = list[dict[str, str]]  # turns, each with its role and its content

_SECONDS = 10  # of computing, and a hundredth more for each chat
_WAIT = 10  # times as long is waited for the process: it may have to share the machine
_MEMORY = 2**29  # bytes
_LETTERS = 2**20  # of what is rendered, beyond those of the turns
_MARK = "\0"  # stands for an answer: no template has this letter of its own
_TOO_MUCH = {"error": ""}
_OWN = {"messages", "tools", "documents", "conversations", "chat_template", "add_generation_prompt"}
_OWN |= {"continue_final_message", "return_assistant_tokens_mask"}  # what transformers gives to a template itself
_THOUGHT = re.compile("<(/?)(think|thinking|thought|thoughts|reasoning)>")
_SWITCHES = {"enable_thinking", "thinking", "reasoning_effort"}
_context: Any = multiprocessing.get_context(
    "fork" if sys.platform == "linux" else "spawn"
)  # a fork takes some milliseconds, but is not safe on macOS; "spawn" imports transformers once more


def render(tokenizer: Any, chats: Sequence[Chat], prompt: bool) -> list[str]:
    """Return the text that the tokenizer's chat template makes of each chat.

    Args:
        tokenizer: with a chat template; what stands in its `template_arguments` is given to it.
        chats: the turns of each.
        prompt: whether the beginning of an answer follows.

    Raises:
        UserError: the template fails, takes too long or too much memory, or has no place for an argument; or what it
            returns does not contain what was said in every turn (but for white space around it).
    """
    texts = _rendered(_template(tokenizer), chats, prompt, _given(tokenizer), _of(tokenizer))
    for text, chat in zip(texts, chats, strict=True):
        for turn in chat:
            if turn["content"].strip() not in text:
                raise UserError(
                    f"pair: {_of(tokenizer)} leaves out what it is given: of {_short(turn['content'])} it makes "
                    f"{_short(text)}; give the model a template that holds `message.content`."
                )
    return texts


def closing(tokenizer: Any) -> str:
    """Return what the tokenizer's chat template puts after an answer: what ends a turn.

    Raises:
        UserError: as `render`; some templates refuse a second turn.
    """
    return _closing(_template(tokenizer), json.dumps(_given(tokenizer), default=str), _of(tokenizer))


def thinks(tokenizer: Any) -> str:
    """Return why a model may think before it answers, as far as its chat template tells; empty if nothing does."""
    (begun,) = render(tokenizer, [[{"role": "user", "content": "a"}]], prompt=True)
    tags = _THOUGHT.findall(begun)
    if tags and not tags[-1][0]:
        return f"its chat template begins every answer with a thought, <{tags[-1][1]}>"
    switches = _variables(_template(tokenizer)) & _SWITCHES - _arguments(tokenizer).keys()
    return f"its chat template has a switch, {min(switches)}, which the pair does not set" if switches else ""


def _variables(template: str) -> set[str]:
    """The names in a template's code, but for attributes and what is quoted; some are tags, filters and tests."""
    code = " ".join(re.findall(r"{[%{](.*?)[%}]}", template, re.DOTALL))
    return set(re.findall(r"(?<![.\w])[A-Za-z_]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "''", code)))


@lru_cache
def _closing(template: str, given: str, what: str) -> str:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
    (text,) = _rendered(template, [turns], False, json.loads(given), what)
    if _MARK not in text:
        raise UserError(f"pair: {what} leaves out a model's answer, so what ends an answer is not known; mend it.")
    return text.rpartition(_MARK)[2].strip()


def _of(tokenizer: Any) -> str:
    return f"the chat template of {tokenizer.name_or_path!r}"


def _template(tokenizer: Any) -> str:
    """The template of a tokenizer, the default one if it has several."""
    try:
        return tokenizer.get_chat_template()
    except ValueError as error:
        known = ", ".join(tokenizer.chat_template or {}) or "none"
        raise UserError(
            f"pair: {_of(tokenizer)} has no part named 'default' (it has: {known}); name one of them so."
        ) from error


def _arguments(tokenizer: Any) -> dict[str, Any]:
    return getattr(tokenizer, "template_arguments", {})  # see `loading.tokenizer`


def _given(tokenizer: Any) -> dict[str, Any]:
    """What is given to a template beside the turns: special tokens, and the arguments that a pair sets."""
    special, arguments, template = tokenizer.special_tokens_map, _arguments(tokenizer), _template(tokenizer)
    for name in arguments:
        if name in special or name in _OWN:
            raise UserError(f"pair: template: {quoted(name)} is not for a pair to set; leave it out.")
        if name not in _variables(template):
            raise UserError(f"pair: template: {_of(tokenizer)} has no variable {quoted(name)}; leave it out.")
    return special | arguments


def _rendered(template: str, chats: Sequence[Chat], prompt: bool, given: dict[str, Any], what: str) -> list[str]:
    """Render chats in another process; `what` names the template in an error."""
    seconds = _SECONDS + len(chats) // 100
    receiver, sender = _context.Pipe(duplex=False)
    size = _LETTERS + sum(len(turn["content"]) for chat in chats for turn in chat)
    process = _context.Process(target=_work, args=(sender, template, list(chats), prompt, given, seconds, size))
    process.start()
    sender.close()
    try:
        done: dict[str, Any] = json.loads(receiver.recv_bytes()) if receiver.poll(_WAIT * seconds) else _TOO_MUCH
    except EOFError:
        done = _TOO_MUCH
    finally:
        process.kill()
        process.join()
        receiver.close()
    if "error" in done:
        why = done["error"] or f"it takes more than {seconds} seconds or more than {_MEMORY / 2**20:,.0f} MB of memory"
        raise UserError(f"pair: {what} cannot be rendered ({why}); mend it, or give the model another one.")
    return done["texts"]


def _work(
    sender: Connection,
    template: str,
    chats: list[Chat],
    prompt: bool,
    given: dict[str, Any],
    seconds: int,
    size: int,
) -> None:
    """Render chats, and send the texts, or the error in one line; dies where it takes too much."""
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit(seconds)
    try:
        render: Any = render_jinja_template  # says that it returns text
        texts, _ = render(conversations=chats, chat_template=template, add_generation_prompt=prompt, **given)
        done: dict[str, Any] = {"texts": texts} if max(map(len, texts), default=0) <= size else _TOO_MUCH
    except MemoryError:
        done = _TOO_MUCH
    except Exception as error:  # a template can raise any exception
        line = (str(error).strip().splitlines() or [""])[0].rstrip(".:")
        done = {"error": f"{type(error).__name__}: {line}"[:300].encode(errors="replace").decode()}
    sender.send_bytes(json.dumps(done).encode())


def _limit(seconds: int) -> None:
    """Limit what this process may take, where the system can; it holds all that its parent holds already."""
    if resource:
        held = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (held + _MEMORY, held + _MEMORY))


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")
