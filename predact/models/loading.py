"""Loading a model and its tokenizer from a folder, a GGUF file or the hub; what identifies it; how it reads text."""

import copy
import gc
import hashlib
import json
import os
import re
import sys
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from predact import store
from predact.errors import NotFinite, UserError, in_line, quoted
from predact.models import dequantized
from predact.models.pairs import AUTO, Model
from predact.texts import sources

_CONTENT = {".safetensors", ".gguf", ".json", ".model", ".txt", ".jinja", ".tiktoken"}
_HARMLESS = re.compile(  # weights that no logit depends on: buffers of old, a value head, other senses, tokens beyond
    r"inv_freq$|\.attn\.(masked_)?bias$|(^|\.)(v_head|mtp|vision|visual|image|audio|speech|multi_modal|embed_(vision|audio))"
)
_ADAPTS, _ADAPTED = "adapter_config.json", "adapter_model.safetensors"
_WHOLE = re.compile("embed|lm_head")  # matrices that an adapter may hold in full
_ADAPTER = (
    "it is an adapter (PEFT): merge it into its Base, `PeftModel.from_pretrained(base, adapter).merge_and_unload()`, "
    "and save the result and its tokenizer, `save_pretrained`"
)
AFTER_PADDING = {  # kinds whose first position is that after the padding token's id: there are so many fewer
    *("camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")
}
_LONG = 300  # letters that a message shows of a reason, at most
_PLACE = ("revision", "local_files_only")  # arguments that say where a file is
HF, SERVER = "hf", "server"  # what models are sampled in: transformers, or `engines.server`
_held: dict[Model, tuple[Any, Any]] = {}
_roots: list[Path] = []  # of the store that keeps what GGUF files hold; none: they are read each time


def keep_in(root: Path) -> None:
    """Set the store in which `load` keeps dequantized GGUF files, and where they are looked for from now on."""
    _roots[:] = [root]


def kept(model: Model) -> Path | None:
    """Return where the dequantized model of a GGUF file is kept, or will be; None for other models, or without a store.

    Raises:
        UserError: there is no such model.
    """
    if not (model.gguf and _roots) or model.fingerprint:
        return None
    return dequantized.folder(_roots[0], {"model": fingerprint(model), "dtype": model.dtype})


def load(model: Model, device: str | None = None) -> tuple[Any, Any]:
    """Load a model for inference, with its tokenizer; an adapter (PEFT) is merged into its Base.

    The logits of the loaded model are float32 whatever its dtype: the output head is raised to float32. Code that comes
    with a model runs only if its pair file says ``trust_remote_code: true``; weights are read from safetensors or GGUF.

    Args:
        model: where it comes from.
        device: for example ``"cpu"``; by default the model's own, else all GPUs, or the CPU where there is none.

    Returns:
        The `transformers` model, in eval mode, and its tokenizer.

    Raises:
        UserError: the folder is missing, the hub cannot be reached, this is not a causal language model, its weights
            and its configuration or tokenizer do not belong together, or the GPU it asks for is missing or too small.
    """
    loaded = _assembled(model, device)
    if model.gguf or base_of(model):
        loaded.name_or_path = name(model)  # not the folder in the store, nor the Base
    return _float32_head(loaded), tokenizer(model)


def _assembled(model: Model, device: str | None) -> Any:
    """Read a model, or merge an adapter into the model that it changes; what a GGUF file holds is kept."""
    base = base_of(model)
    loaded = _merged(model, _assembled(base, device)) if base else _read(model, device)
    _refuse_unreadable(model, loaded.eval())
    if (folder := kept(model)) and "gguf_file" in _place(model)[1]:
        dequantized.keep(folder, loaded, tokenizer(model))
    return loaded


def _read(model: Model, device: str | None) -> Any:
    """Read a whole model."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    source, where = _place(model)
    if model.fingerprint:
        raise _unusable(model, "its weights are not here, only results of it are")
    options: dict[str, Any] = {
        "dtype": getattr(torch, model.dtype),
        "device_map": device or _device_map(model),
        "output_loading_info": True,
    }
    packed = "gguf_file" in where
    options |= {"quantization_config": GgufConfig(dequantize=True)} if packed else {"use_safetensors": True}
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(source, **options, **where)
    except Exception as error:
        raise _unusable(model, error) from error
    loaded, report = found
    if report["missing_keys"]:
        raise _unusable(model, f"{len(report['missing_keys'])} of its weights are missing")
    unused = sorted(each for each in report["unexpected_keys"] if not _HARMLESS.search(each))
    if unused:
        raise _unusable(model, f"its configuration has no place for {len(unused)} of its weights, such as {unused[0]}")
    if getattr(loaded, "_hf_peft_config_loaded", False):
        raise _unusable(model, _ADAPTER)
    if options["device_map"] == "auto" and {"cpu", "meta"} & {each.device.type for each in loaded.parameters()}:
        raise UserError(
            f"pair: the model {name(model)!r} does not fit onto the GPUs here, and would run in part on the CPU; take "
            "more GPUs or a dtype of fewer bytes (`predact check` tells what it needs), or set `device: cpu`."
        )
    return loaded


def base_of(model: Model) -> Model | None:
    """Return the model that an adapter (PEFT) changes, as the pair or the adapter's folder tells; None for others.

    Raises:
        UserError: its configuration cannot be read, or names no model.
    """
    if model.on:
        return replace(model.on, dtype=model.dtype, device=model.device)
    folder = None if model.gguf else _folder(model)
    if not (folder and (folder / _ADAPTS).is_file()):
        return None
    try:
        found = json.loads((folder / _ADAPTS).read_bytes())
        base = replace(model, source=found["base_model_name_or_path"], revision=found.get("revision"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unusable(model, f"its {_ADAPTS} names no Base") from error
    above = _folder(base)
    if above and (above / _ADAPTS).exists():
        raise _unusable(model, f"its Base is no whole model: {_ADAPTER}")
    return base


def _whole(model: Model) -> Model:
    """The model that is under an adapter, or under one upon another."""
    base = base_of(model)
    return _whole(base) if base else model


@cache
def _adapter(model: Model) -> Path:
    """The folder of an adapter; one on the hub is downloaded."""
    from huggingface_hub import snapshot_download

    if folder := _folder(model):
        return folder
    source, where = _find(model)
    try:
        patterns = [_ADAPTS, _ADAPTED, "token*", "special_tokens_map.json", "*.jinja", "vocab*", "merges.txt"]
        kept = {name: where[name] for name in _PLACE}
        return Path(snapshot_download(source, allow_patterns=patterns, **kept))
    except Exception as error:
        raise _unusable(model, error) from error


def _merged(model: Model, base: Any) -> Any:
    """Merge the adapter of a folder into its loaded Base; every weight of the adapter must find its place."""
    import peft
    from safetensors.torch import load_file

    folder = str(_adapter(model))
    try:
        held = load_file(f"{folder}/{_ADAPTED}")  # first: without it, a pickle would be read
        adapted: Any = peft.PeftModel.from_pretrained(base, folder)
        wanted = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
        apart = [each for each in held.keys() ^ wanted.keys() if not _WHOLE.search(each)]
        if apart:
            raise ValueError(f"its weights are not what its configuration tells: {min(apart)}")
        return adapted.merge_and_unload(safe_merge=True)
    except Exception as error:
        raise _unusable(model, f"the adapter: {_line(error)}") from error


def _refuse_unreadable(model: Model, loaded: Any) -> None:
    """Refuse a model that does not know all tokens, or whose earlier logits change with later tokens.

    With what these are, as BERT's do, or with how many they are, as ProphetNet's.
    """
    import torch

    own, known = tokenizer(model), loaded.config.get_text_config().vocab_size
    beyond = [token for token, index in own.get_vocab().items() if index >= known and _in_use(own, token, index)]
    if beyond:
        raise _unusable(model, f"its tokenizer has {len(beyond)} tokens that it does not know, such as {beyond[0]!r}")
    ids = torch.linspace(0, min(known, len(own)) - 1, 12, dtype=torch.long)
    rows = [torch.stack([ids[:8], torch.cat([ids[:4], ids[8:]])]), ids[None, :4]]
    try:
        with torch.inference_mode():
            read = [loaded(input_ids=each.to(loaded.device), use_cache=False).logits.float() for each in rows]
    except Exception as error:
        raise _unusable(model, f"it cannot read eight tokens: {_line(error)}") from error
    logits, short = read
    before, after = (logits[0] - logits[1]).split(4)
    eps, size = torch.finfo(loaded.dtype).eps, after.norm()
    cut = logits[0, :4] - short[0]  # another width is computed in another order
    if before.norm() > max(1e-3, 4 * eps) * size or cut.norm() > max(1e-3, 32 * eps) * size:
        raise _unusable(model, "it sees what it is to predict: a change of later tokens changes its earlier logits")


def _in_use(tokenizer: Any, token: str, index: int) -> bool:
    """Whether a token may be read: one in plain text, before or after a document, or in a chat."""
    added = tokenizer.added_tokens_decoder.get(index)
    ends = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.document_prefix)
    return added is None or not added.special or token in ends or token in str(tokenizer.chat_template)


def loaded(model: Model) -> tuple[Any, Any]:
    """Like `load`, on the default device, keeping the last model: one at a time, as two may not fit into memory.

    So the caller must drop its references to this model before it asks for another one.
    """
    if model not in _held:
        spread = any(hasattr(each, "hf_device_map") for each, _ in _held.values())
        _held.clear()
        if spread:  # over several devices: such a model has reference cycles
            gc.collect()
        _held[model] = load(model)
    return _held[model]


@cache
def tokenizer(model: Model) -> Any:
    """Return the tokenizer of a model without loading its weights.

    Raises:
        UserError: there is no such model, or it has no tokenizer.
    """
    from transformers import AutoTokenizer

    source, where = _with_tokenizer(model)
    try:
        found = AutoTokenizer.from_pretrained(source, **where)
    except Exception as error:
        raise _unusable(model, error) from error
    if template := _template_beside(model):
        found.chat_template = template
    found.document_prefix = model.prefix  # see `tokens.prefix_token`
    found.template_arguments = model.template  # see `chat.render`
    return found


def _with_tokenizer(model: Model) -> tuple[str, dict[str, Any]]:
    """Where the tokenizer of a model is, as `_place`: an adapter may have its own."""
    base = base_of(model)
    if base is None:
        return _place(model)
    folder = _adapter(model)
    own = (folder / "tokenizer_config.json").exists()
    return (str(folder), {"trust_remote_code": model.trust_remote_code}) if own else _with_tokenizer(base)


def _template_beside(model: Model) -> str | None:
    """The chat template of an adapter that brings no tokenizer, else that of the adapter under it."""
    base = base_of(model)
    if base is None or (_adapter(model) / "tokenizer_config.json").exists():
        return None
    path = _adapter(model) / "chat_template.jinja"
    return path.read_text(encoding="utf-8") if path.is_file() else _template_beside(base)


@cache
def _announce(model: Model) -> None:
    """Say once that a GGUF file is read: even its vocabulary takes long."""
    print(f"predact: reading {name(model)}; a GGUF file takes a minute, or several.", file=sys.stderr)


def not_finite(model: Any, where: str) -> NotFinite:
    """Return the error of a loaded model (or a mixture of models) whose logits at a place are NaN or infinite."""
    dtypes = {each: str(next(each.parameters()).dtype) for each in getattr(model, "models", (model,))}
    told = " or ".join(f"{each.name_or_path!r} in {dtype.removeprefix('torch.')}" for each, dtype in dtypes.items())
    return NotFinite(
        f"pair: the model {told} gives no finite probability to {where}: its numbers overflow, or its weights are "
        "damaged. Set `dtype: bfloat16` or `dtype: float32` in a pair file."
    )


def name(model: Model) -> str:
    """Return what a model is called in messages: its folder, its file or its hub id."""
    return str(Path(model.source) / model.gguf) if model.gguf else model.source


def fingerprint(model: Model) -> str:
    """Return what identifies the content of a model.

    For a folder or a GGUF file the SHA-256 over its weights, configuration and tokenizer, with an adapter also what
    identifies its Base; for a hub id the commit that its revision stands for; for weights that are not on this machine,
    the `fingerprint` in the pair file.

    Raises:
        UserError: there is no such model.
    """
    if model.fingerprint:
        return model.fingerprint
    source, where = _find(model)
    base = base_of(model)
    if "revision" in where:  # a hub id
        more = f"/{model.gguf}" if model.gguf else f" on {fingerprint(base)}" if base else ""
        return f"{source}@{where['revision']}{more}"
    folder = Path(source)
    content = (path for path in folder.glob("*") if path.suffix in _CONTENT and path.is_file())
    digest = hashlib.sha256(fingerprint(base).encode() if base else b"")
    try:
        for path in [folder / model.gguf] if model.gguf else sorted(content):
            digest.update(os.fsencode(f"{path.name} {store.checksum(path)}\n"))
    except OSError as error:
        raise _unusable(model, error) from error
    return digest.hexdigest()


def key(model: Model) -> dict[str, Any]:
    """Return what stands for a model among the inputs of a stored result: all on which its numbers depend.

    These are its weights, the dtype and the engine they run in, the code that comes with them, where that may run, and
    the token that a pair file sets before documents.
    What its chat template makes of a prompt is no part of it: the ids given stand among the inputs where they matter.

    Raises:
        UserError: there is no such model.
    """
    more = {"code": _code(model)} if model.trust_remote_code else {}
    more |= {"prefix": model.prefix} if model.prefix != AUTO else {}
    return {"model": fingerprint(model), "dtype": model.dtype, "engine": HF, **more}


def _code(model: Model) -> str:
    """What identifies the code that a model brings: of a folder its .py files, from the hub the commits it is of."""
    source, where = _find(_whole(model))
    named = str(getattr(config(model), "auto_map", None))
    elsewhere = sorted(set(re.findall(r"([\w./-]+?)--", named)) - {source})  # code may stand in another repository
    parts = [f"{repository}@{_commit(repository, None, 'config.json')[0]}" for repository in elsewhere]
    if "revision" in where:
        return " ".join([f"{source}@{where['revision']}", *parts])
    for path in sorted(Path(source).glob("*.py")):
        parts.append(f"{path.name} {store.checksum(path)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def context_limit(model: Any) -> int | None:
    """Return the most positions that a model can read at once, None where its architecture sets no limit.

    A model with LongRoPE is read within its original context only, see `turn`.
    """
    return _positions(model.config)


def limit(model: Model) -> int | None:
    """Return the same as `context_limit`, without loading the weights."""
    return _positions(config(model))


def _positions(config: Any) -> int | None:
    text = config.get_text_config()
    told = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)  # MPT's own name
    if told and text.model_type in AFTER_PADDING:
        told -= text.pad_token_id + 1
    return min((each for each in (told, turn(config)) if each), default=None)


def turn(config: Any) -> int | None:
    """Return the length up to which a model with LongRoPE reads texts; in longer ones it turns all positions otherwise.

    So what it remembers of a shorter text is of no use in a longer one, and in a batch a long text changes the others.
    """
    told = getattr(config.get_text_config(), "rope_parameters", None) or {}
    parts = [told, *(part for part in told.values() if isinstance(part, dict))]  # there may be one for a kind of layers
    found = [part["original_max_position_embeddings"] for part in parts if part.get("rope_type") == "longrope"]
    return min(found, default=None)


@cache
def config(model: Model) -> Any:
    """Return the configuration of a model without loading its weights.

    Raises:
        UserError: there is no such model.
    """
    from transformers import AutoConfig

    source, where = _place(_whole(model))
    try:
        return AutoConfig.from_pretrained(source, **where)
    except Exception as error:
        raise _unusable(model, error) from error


def generation_config(model: Model) -> Any:
    """Return what a model says of how it is sampled, without loading its weights.

    Raises:
        UserError: there is no such model.
    """
    from transformers import GenerationConfig

    source, where = _place(_whole(model))
    try:
        return GenerationConfig.from_pretrained(source, **{name: where[name] for name in where if name in _PLACE})
    except OSError:  # it has no such file
        return GenerationConfig.from_model_config(config(model))


def depth(model: Model) -> int:
    """Return how many layers a model has, without loading its weights."""
    return config(model).get_text_config().num_hidden_layers


def parameters(model: Model) -> int:
    """Return how many parameters a model has, without loading its weights.

    Raises:
        UserError: there is no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config(model), trust_remote_code=model.trust_remote_code)
    except UserError:
        raise
    except Exception as error:
        raise _unusable(model, error) from error
    return empty.num_parameters()


def at_hand(model: Model) -> bool:
    """Whether the weights of a model are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    source, where = _find(_whole(model))
    if "revision" not in where:
        return not model.fingerprint
    files = (model.gguf,) if model.gguf else ("model.safetensors", "model.safetensors.index.json")
    return any(isinstance(try_to_load_from_cache(source, file, revision=where["revision"]), str) for file in files)


def _place(model: Model) -> tuple[str, dict[str, Any]]:
    """Like `_find`, but of a GGUF file the folder that the store keeps of it, if it does; else say that it is read."""
    source, where = _find(model)
    folder = kept(model)
    if folder and dequantized.is_whole(folder):
        return str(folder), {"trust_remote_code": model.trust_remote_code}
    if model.gguf:
        _announce(model)
    return source, where


def _find(model: Model) -> tuple[str, dict[str, Any]]:
    """Return the folder or hub id of a model, and the arguments that `from_pretrained` needs with it."""
    if model.written:
        raise UserError(f"pair: of the model {quoted(name(model))} only generations are known; this needs its weights.")
    where: dict[str, Any] = {"trust_remote_code": model.trust_remote_code}
    where |= {"gguf_file": model.gguf} if model.gguf else {}
    folder = _folder(model)
    if folder:
        held = set(os.listdir(folder))
        wanted = model.gguf or (_ADAPTED if _ADAPTS in held or model.on else None)
        weights = wanted in held if wanted else any(file.endswith(".safetensors") for file in held)
        if not (weights or model.fingerprint):
            raise _unusable(model, f"the folder has no {wanted or '.safetensors file'}")
        return str(folder), where
    if not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", model.source):
        raise _unusable(model, "there is no such folder")
    try:
        file = model.gguf or (_ADAPTS if model.on else "config.json")
        commit, offline = _commit(model.source, model.revision, file)
    except Exception as error:
        raise _unusable(model, f"there is no such folder, and on the hub: {_line(error)}") from error
    return model.source, where | {"revision": commit, "local_files_only": offline}


def _folder(model: Model) -> Path | None:
    """The folder that a model names, of `package:` inside predact; None if it names none."""
    inside = model.source.startswith("package:")
    named = str(resources.files("predact") / model.source.removeprefix("package:")) if inside else model.source
    folder = sources.existing(named)
    return folder if folder and folder.is_dir() else None


@cache
def _commit(source: str, revision: str | None, file: str) -> tuple[str, bool]:
    """Commit that a revision of a hub id stands for, and whether only the local cache could tell."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        commit = HfApi().model_info(source, revision=revision, timeout=10).sha
        return str(commit), False
    except Exception:
        cached = try_to_load_from_cache(source, file, revision=revision)
        if not isinstance(cached, str):
            raise
        return Path(cached).parent.name, True


def _float32_head(model: Any) -> Any:
    """Raise the output head to float32 (with weights of its own where they were tied), for float32 logits."""
    import torch

    head = model.get_output_embeddings()
    if head.weight.dtype != torch.float32 and not head.weight.is_meta:
        head = copy.deepcopy(head).float()
        head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        model.set_output_embeddings(head)
    return model


def _device_map(model: Model) -> str:
    """Where a model is loaded to: all GPUs, or the CPU if there is none and none was asked for."""
    import torch

    if model.device != "cpu" and torch.cuda.is_available():
        return "auto"
    if model.device == "cuda":
        raise UserError(
            f"pair: the model {name(model)!r} asks for a GPU (`device: cuda`) and PyTorch finds none here; run it "
            "where there is one, or set `device: cpu` in a pair file to wait for the CPU."
        )
    return "cpu"


def _unusable(model: Model, reason: object) -> UserError:
    if "trust_remote_code" in str(reason):
        reason = "it comes with code of its own, which runs only if its pair file says `trust_remote_code: true`"
    if "Unrecognized configuration class" in str(reason) and hasattr(config(model), "text_config"):
        reason = "it reads more than text, and transformers has no class for its text alone"
    advice = "name a folder with safetensors weights, a .gguf file, or the hub id of a causal language model."
    told = in_line(_line(reason), _LONG)
    return UserError(f"pair: the model {quoted(name(model))} cannot be loaded ({told}); {advice}")


def _line(reason: object) -> str:
    """First line of a message, without its full stop."""
    return (str(reason).strip() or type(reason).__name__).splitlines()[0].rstrip(".:")
