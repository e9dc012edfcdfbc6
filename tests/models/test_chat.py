"""Chat templates, as transformers renders them, and those that hang, take all memory, fail, or leave the prompt out."""

import multiprocessing
import os
from datetime import datetime

import pytest
from transformers.utils import chat_template_utils

from predact.build import check
from predact.errors import UserError
from predact.models import chat, sampling

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n{{ message.role }}: {{ message.content | trim }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %} assistant: {% endif %}"
)
CHATS = [[{"role": "user", "content": text}] for text in ("the cat", " a dog\n", "Überraschung 🙂 {{ 7 * 7 }}")]
TURNS = [[{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "sat"}]]
LOOP = "".join(f"{{% for {each} in range(99999) %}}" for each in "abc") + 3 * "{% endfor %}"
ONLY_ONE = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}"


@pytest.fixture
def asked(make_tokenizer):
    """A function that makes a tokenizer with a chat template."""

    def make(template):
        tokenizer = make_tokenizer(**SPECIAL)
        tokenizer.chat_template, tokenizer.name_or_path = template, "mine"
        return tokenizer

    return make


@pytest.mark.parametrize("prompt", [True, False])
def test_texts_are_those_of_transformers(asked, prompt):
    tokenizer = asked(TEMPLATE)
    for chats in (CHATS, TURNS):
        expected = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=prompt)
        assert chat.render(tokenizer, chats, prompt) == expected
    several = asked({"rag": "{{ nothing }}", "default": TEMPLATE})
    assert chat.render(several, CHATS, prompt) == chat.render(tokenizer, CHATS, prompt)
    ids = tokenizer.apply_chat_template(CHATS, add_generation_prompt=True, return_dict=False)
    assert sampling.ask_all(tokenizer, [one["content"] for (one,) in CHATS], None) == ids


def test_many_prompts_take_one_process(asked, monkeypatch):
    process, started = chat._context.Process, []
    monkeypatch.setattr(chat._context, "Process", lambda **how: started.append(1) or process(**how))
    tokenizer, prompts = asked(TEMPLATE), [f"the cat {place}" for place in range(200)]
    ids = sampling.ask_all(tokenizer, prompts, None)
    read = "<s>user: {} assistant: ".format  # a tokenizer drops white space after a special token
    assert [tokenizer.decode(each) for each in ids] == list(map(read, prompts))
    chat._closing.cache_clear()
    assert {chat.closing(tokenizer) for _ in range(3)} == {"</s>"}
    assert len(started) == 2


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (LOOP, "takes more than 1 seconds or more than 512 MB"),
        ("{{ 'a' * 10**9 }}", "more than 512 MB"),
        ("{{ messages[0].content * 10**6 }}", "more than 512 MB"),
        ("{{ raise_exception('no\nway.') }}", r"cannot be rendered \(TemplateError: no\)"),
        ("{% if", "TemplateSyntaxError"),
        ("{{ messages.nothing.more }}", "UndefinedError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ({"rag": TEMPLATE}, r"has no part named 'default' \(it has: rag\)"),
        ("{{ bos_token }}{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}", "'<s>'"),
        ("{{ messages[0].content[:4] }}", "leaves out what it is given: of 'the cat' it makes 'the '"),
    ],
    ids=lambda each: str(each)[:24],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_line(asked, monkeypatch, template, why):
    monkeypatch.setattr(chat, "_SECONDS", 1)
    tokenizer = asked(template)
    with pytest.raises(UserError, match=rf"^pair: the chat template of 'mine' .*{why}") as refused:
        sampling.ask(tokenizer, "the cat", None)
    assert "\n" not in str(refused.value)
    assert not multiprocessing.active_children()


def test_check_refuses_what_sampling_refuses(asked):
    with pytest.raises(UserError, match="of 'mine' has no part named 'default'"):
        list(check._template("RLHF", asked({"rag": TEMPLATE})))
    with pytest.raises(UserError, match=r"of 'mine' cannot be rendered \(TemplateError: one turn only\)"):
        list(check._template("RLHF", asked(ONLY_ONE + TEMPLATE)))
    refuses_system = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    (found,) = check._template("RLHF", asked(refuses_system))
    assert "takes no system role, and needs none" in found.text


def test_a_second_turn_that_is_refused_or_left_out_is_told(model, asked):
    with pytest.raises(UserError, match=r"^pair: .*TemplateError: one turn only"):
        sampling.stop_ids(model, asked(ONLY_ONE + TEMPLATE))
    with pytest.raises(UserError, match="^pair: .*leaves out a model's answer"):
        sampling.stop_ids(model, asked("<s>{{ messages[0].content }}"))


def test_a_rendered_text_of_a_process_that_dies_is_no_text(asked, monkeypatch):
    monkeypatch.setattr(chat_template_utils, "render_jinja_template", lambda **_: os._exit(0))
    with pytest.raises(UserError, match="cannot be rendered"):
        sampling.ask(asked(TEMPLATE), "the cat", None)


def test_the_date_of_today_is_that_of_the_process(asked, monkeypatch):
    tokenizer, given = asked(TEMPLATE + "{{ strftime_now('%d %b') }}"), []
    for day in (26, 27):
        fixed = type("fixed", (datetime,), {"now": classmethod(lambda cls, day=day: datetime(2026, 11, day))})
        monkeypatch.setattr(chat_template_utils, "datetime", fixed)
        given.append(tokenizer.decode(sampling.ask(tokenizer, "the cat", None))[-6:])
    assert given == ["26 Nov", "27 Nov"]


@pytest.mark.parametrize("frame", [None, "Q: {prompt}"])
def test_half_a_character_is_refused_before_it_is_read(asked, frame):
    with pytest.raises(UserError, match=r"^prompts: .*\\ud83d.* holds half a character"):
        sampling.ask(asked(TEMPLATE), "a \ud83d cat", frame)
    with pytest.raises(UserError, match="holds half a character"):
        sampling.ask(asked(TEMPLATE + "\udc00"), "a cat", frame and frame + "\udc00")


THINKS = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] }}{{ m.reasoning_effort }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}thinking"
)


def test_arguments_of_a_pair_reach_its_template(asked):
    tokenizer = asked(THINKS)
    tokenizer.template_arguments = {"enable_thinking": False}
    expected = tokenizer.apply_chat_template(CHATS, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert chat.render(tokenizer, CHATS, prompt=True) == expected and "<think></think>" in expected[0]
    assert not chat.thinks(tokenizer)


@pytest.mark.parametrize("name", ["enable_thinkin", "content", "reasoning_effort"])
def test_an_argument_that_a_template_does_not_know_is_refused(asked, name):
    tokenizer = asked(THINKS)
    tokenizer.template_arguments = {name: False}
    with pytest.raises(UserError, match=f"the chat template of 'mine' has no variable '{name}'"):
        chat.render(tokenizer, CHATS, prompt=True)


@pytest.mark.parametrize("name", ["messages", "bos_token", "chat_template"])
def test_what_is_not_for_a_pair_to_set_is_refused(asked, name):
    tokenizer = asked(TEMPLATE)
    tokenizer.template_arguments = {name: "x"}
    for use in (lambda: chat.render(tokenizer, CHATS, prompt=True), lambda: chat.closing(tokenizer)):
        with pytest.raises(UserError, match=f"template: '{name}' is not for a pair to set"):
            use()


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (TEMPLATE, ""),
        (TEMPLATE + "<think></think>", ""),
        (
            TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}",
            "begins every answer with a thought, <think>",
        ),
        (THINKS, "a switch, enable_thinking, which the pair does not set"),
    ],
)
def test_a_template_tells_whether_its_model_may_think_first(asked, template, why):
    tokenizer = asked(template)
    tokenizer.template_arguments = {}
    found = chat.thinks(tokenizer)
    assert why in found and bool(why) == bool(found)
