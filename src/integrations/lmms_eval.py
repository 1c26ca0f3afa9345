"""lmms-eval: `--model ivcprune`, our models, and `--model ivcprune_wrap`, any of its own pruned.

See docs/serving.md. `manifests` is the entry point; nothing here is imported without lmms-eval.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from lmms_eval import models, utils
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.models.registry_v2 import ModelManifest
from lmms_eval.protocol import ChatMessages
from PIL import Image

from ..api import load_policy, prune
from ..configuration.build import build_model_spec, compose
from ..models.registry import family_of_model
from ..policy import PruningPolicy
from ..pruning.statistics import PrefillStatistics
from .doc_order import DocOrder, NotedTasks
from .token_log import TokenLog, check_identity, identity_of, rows_of

LOGS = Path("outputs/lmms_eval")
"""Where the kept tokens go, unless `token_log` says it."""


def manifests() -> list[ModelManifest]:
    """Entry point `lmms_eval.models`."""
    home = __name__
    return [
        ModelManifest("ivcprune", chat_class_path=f"{home}.IvcPrune"),
        ModelManifest(
            "ivcprune_wrap",
            chat_class_path=f"{home}.IvcPruneWrap",
            simple_class_path=f"{home}.IvcPruneWrapSimple",
        ),
    ]


class _Generating(lmms):
    """What both have in common: arguments of the policy, the identity, the log."""

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> Any:
        """As lmms-eval makes a model; notes whether its caller takes answers from a cache."""
        frame = inspect.currentframe()
        # A model is not told of the cache, which is known to the caller alone.
        caller = {} if frame is None or frame.f_back is None else frame.f_back.f_locals
        cached = {"_cached": caller.get("use_cache") is not None}
        return super().create_from_arg_string(arg_string, (additional_config or {}) | cached)

    def _open_log(self, policy: PruningPolicy, weights: str, options: Mapping[str, Any]) -> None:
        self.identity = identity_of(policy, weights)
        check_identity(options.get("identity"), self.identity, bool(options.get("_cached")))
        path = options.get("token_log") or LOGS / f"{policy.name}-{self.identity}.jsonl"
        rank = f"-rank{self.rank}" if self.world_size > 1 else ""
        self.tokens = TokenLog(Path(path).with_suffix(f"{rank}.jsonl"), self.identity)

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError("ivcprune answers generate_until tasks; this one asks for a loss")

    def generate_until_multi_round(self, requests: Any) -> Any:
        raise NotImplementedError("ivcprune answers generate_until tasks of one round")


class IvcPrune(_Generating):
    """A model of this package by its name, `conf/model/<name>.yaml`, under a policy.

    Args:
        model: for example "qwen2_5_vl_7b".
        policy: for example "ivc_prune".
        pretrained: a folder or hub id in the place of the model's own.
        average_tokens, layer: see `docs/policies.md`; unset, as the policy's file says.
        identity: of policy and weights, see `token_log.identity_of`.
        token_log: JSON Lines file of the kept tokens; keyed by task and doc_id.
    """

    is_simple = False

    def __init__(
        self,
        model: str = "qwen2_5_vl_7b",
        policy: str = "ivc_prune",
        pretrained: str | None = None,
        average_tokens: float | None = None,
        layer: int | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        _refuse_unknown(options, ("identity", "token_log", "_cached"))
        path = [] if pretrained is None else [f"model.path={pretrained}"]
        self.spec = build_model_spec(compose([f"model={model}", *path]))
        self.spec.check()
        self.policy = _policy(policy, self.spec.family, average_tokens, layer)
        accelerator = Accelerator()
        self._rank, self._world_size = accelerator.process_index, accelerator.num_processes
        self._device = accelerator.device if self._world_size > 1 else torch.device(device or "cpu")
        self._open_log(self.policy, self.spec.fingerprint(), options)
        self.processor: Any = self.spec.load_processor()
        self.model: Any = self.spec.load_model(device=self._device)
        self.batch_size = int(batch_size)

    @property
    def device(self) -> torch.device:
        return self._device

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Answers in the order of the requests, batched by equal settings of the generation."""
        started, n_tokens = time.monotonic(), 0
        order = utils.Collator(
            [request.args for request in requests],
            lambda args: (args[0], args[0]),
            group_fn=lambda args: args[2],
            grouping=True,
        )
        results: list[GenerationResult] = []
        for chunk in order.get_batched(n=self.batch_size, batch_fn=None):
            results += self._answer(list(chunk))
        n_tokens = sum(result.token_counts.output_tokens for result in results)
        _log_means(self.tokens, time.monotonic() - started, n_tokens)
        answers: list[GenerationResult] = order.get_original(results)
        return answers

    def _answer(self, chunk: Sequence[Any]) -> list[GenerationResult]:
        chats, samples, asked = [], [], chunk[0][2]
        for _, to_messages, _, doc_id, task, split in chunk:
            chats.append(ChatMessages(messages=to_messages(self.task_dict[task][split][doc_id])))
            samples.append((task, doc_id))
        images = [_images(chat) for chat in chats]
        texts = self.processor.apply_chat_template(
            [chat.to_hf_messages() for chat in chats], tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(
            text=texts,
            images=images if any(images) else None,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self._device)
        with torch.inference_mode(), prune(self.model, self.policy) as run:
            run.identify([f"{task}/{doc_id}" for task, doc_id in samples])
            ids = self.model.generate(**inputs, **_generation(asked, self.spec.max_new_tokens))
        assert run.stats is not None
        self.tokens.add(rows_of(samples, [bool(own) for own in images], run.stats))
        return self._results(ids[:, inputs["input_ids"].shape[1] :], inputs, asked)

    def _results(self, new: Any, inputs: Any, asked: Mapping[str, Any]) -> list[GenerationResult]:
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        ends = (new == self.processor.tokenizer.pad_token_id).sum(dim=1).tolist()
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        return [
            GenerationResult(_cut(text, asked), TokenCounts(n, new.shape[1] - end))
            for text, n, end in zip(texts, lengths, ends, strict=True)
        ]


class IvcPruneWrap(_Generating):
    """One of lmms-eval's own models, unchanged, inside `prune`: `none` is its published number.

    Args:
        inner: name of the model; all further arguments are its own.
        policy, average_tokens, layer, identity, token_log: as of `IvcPrune`.
    """

    is_simple = False

    def __init__(
        self,
        inner: str = "qwen2_5_vl",
        policy: str = "ivc_prune",
        average_tokens: float | None = None,
        layer: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        ours = {key: options.pop(key, None) for key in ("identity", "token_log", "_cached")}
        options.pop("max_batch_size", None)
        make = models.get_model(inner, force_simple=self.is_simple)
        if make.is_simple != self.is_simple:
            raise ValueError(f"inner={inner} has no {'simple' if self.is_simple else 'chat'} class")
        self.inner = make(**{key: value for key, value in options.items() if value is not None})
        family = family_of_model(self.inner.model)
        self.policy = _policy(policy, family.name, average_tokens, layer)
        self._rank, self._world_size = self.inner.rank, self.inner.world_size
        self._open_log(self.policy, "", ours)

    def __getattr__(self, name: str) -> Any:
        """What lmms-eval asks of a model, such as its accelerator, is the inner one's."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def generate_until(self, requests: Sequence[Any]) -> Any:
        """The inner model's answers, inside `prune`."""
        order, started = DocOrder(), time.monotonic()
        self.inner.task_dict = NotedTasks(self.task_dict, order)
        pictured = {(r.args[4], r.args[3]): partial(_has_images, r.args) for r in requests}

        def measured(stats: PrefillStatistics) -> None:
            read = order.take()
            images = [pictured[sample](doc) for sample, doc in read.items()]
            self.tokens.add(rows_of(list(read), images, stats))

        with prune(self.inner.model, self.policy, on_prefill=measured):
            answers = self.inner.generate_until(requests)
        _log_means(self.tokens, time.monotonic() - started, 0)
        return answers

    def clean(self) -> None:
        self.inner.clean()


class IvcPruneWrapSimple(IvcPruneWrap):
    """As `IvcPruneWrap`, for models that know no chat messages."""

    is_simple = True


def _policy(name: str, family: str, average_tokens: Any, layer: Any) -> PruningPolicy:
    overrides = [] if average_tokens is None else [f"average_tokens={average_tokens}"]
    if layer is not None:
        overrides.append(f"stages.select.layer={layer}")
    return load_policy(str(name), *overrides, family=family)


def _refuse_unknown(options: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(options) - set(known)):
        allowed = ", ".join(
            ["model", "policy", "pretrained", "average_tokens", "layer", *known[:2]]
        )
        raise ValueError(f"unknown model_args {', '.join(unknown)}: allowed are {allowed}")


def _generation(asked: Mapping[str, Any], max_new_tokens: int) -> dict[str, Any]:
    """What a task asks of the generation: greedy unless it gives a temperature."""
    sampled = bool(asked.get("temperature"))
    names = ("max_new_tokens", "num_beams", *(("temperature", "top_p") if sampled else ()))
    given = {name: asked[name] for name in names if asked.get(name) is not None}
    return {"max_new_tokens": max_new_tokens} | given | {"do_sample": sampled}


def _cut(text: str, asked: Mapping[str, Any]) -> str:
    """The answer up to the first of the task's stop texts."""
    until = asked.get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        text = text.split(stop)[0] if stop else text
    return text


def _images(chat: Any) -> list[Image.Image]:
    images, videos, sounds = chat.extract_media()
    if videos or sounds:
        raise ValueError(
            "--model ivcprune takes images; for videos use --model ivcprune_wrap with one of "
            "lmms-eval's own models, which reads them"
        )
    opened = [x if isinstance(x, Image.Image) else Image.open(x) for x in images]
    return [image.convert("RGB") for image in opened]


def _has_images(arguments: Sequence[Any], doc: Any) -> bool:
    """Whether a request gives the model something to see."""
    if callable(arguments[1]):
        messages = ChatMessages(messages=arguments[1](doc))
        return any(messages.extract_media()[:2])
    to_visual: Callable[[Any], Any] = arguments[2]
    return bool(to_visual(doc))


def _log_means(tokens: TokenLog, seconds: float, n_tokens: int) -> None:
    """Into lmms-eval's results, where means over the samples stand beside its throughput."""
    log_metrics(seconds, n_tokens, n_tokens / max(seconds, 1e-9), additional_metrics=tokens.means())
