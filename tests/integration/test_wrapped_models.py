"""Models as people have them: compiled, adapted, sharded, wrapped; pruned as the plain model is."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from accelerate import cpu_offload
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ivcprune import PruningPolicy, Stage, prune
from ivcprune.models.registry import family_of_model
from ivcprune.models.wrappers import unwrapped
from ivcprune.selectors import FastVSelector, PDropSelector, RandomSelector
from ivcprune.testing import tiny_model
from pruning_helpers import batch, picture

HALF = PruningPolicy({"select": Stage(2, RandomSelector(keep=0.5))})
FAMILY = "llava"  # of few modules: compiling it takes a second


def one_picture(processor):
    return batch(processor, ("where is it", [picture(84, 84)]))


def lengths(output):
    return {layer.keys.shape[2] for layer in output.past_key_values.layers}


@pytest.fixture
def fresh():
    torch.compiler.reset()
    yield partial(tiny_model, FAMILY)
    torch.compiler.reset()


class Holder(nn.Module):
    """A wrapper as DDP is one: it has a `module`, and passes nothing on."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, **inputs):
        return self.module(**inputs)


class Adapted(nn.Module):
    """A wrapper as PEFT's are: look-ups go on to the model, which is behind two attributes."""

    def __init__(self, model):
        super().__init__()
        self.base_model = nn.Module()
        self.base_model.model = model
        self.config = model.config

    def get_base_model(self):
        return self.base_model.model

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model.model, name)

    def forward(self, **inputs):
        return self.base_model.model(**inputs)

    def generate(self, **inputs):
        return self.base_model.model.generate(**inputs)


class Trained(nn.Module):
    """A trainer's module: the model is under a name of its choice, among other things."""

    def __init__(self, model):
        super().__init__()
        self.student, self.head = model, nn.Linear(2, 2)

    def forward(self, **inputs):
        return self.student(**inputs)


class TestCompiled:
    """Compiled code has no hooks that came later; inside a block it is not used."""

    def whole(self, model):
        model.compile(backend="eager")
        return model

    def wrapper(self, model):
        return torch.compile(model, backend="eager")

    def decoder(self, model):
        family_of_model(model).text_model(model).compile(backend="eager")
        return model

    def decoder_wrapper(self, model):
        model.model.language_model = torch.compile(model.model.language_model, backend="eager")
        return model

    def one_layer(self, model):
        family_of_model(model).layers(model)[3].compile(backend="eager")
        return model

    def one_layer_wrapper(self, model):
        layers = family_of_model(model).layers(model)
        layers[3] = torch.compile(layers[3], backend="eager")
        return model

    @pytest.mark.parametrize("used", [True, False])
    @pytest.mark.parametrize(
        "how",
        ["whole", "wrapper", "decoder", "decoder_wrapper", "one_layer", "one_layer_wrapper"],
    )
    def test_pruned_as_the_eager_model_is(self, fresh, how, used):
        model, processor = fresh()
        inputs = one_picture(processor)
        with torch.no_grad(), prune(model, HALF) as run:
            expected = model(**inputs)
        kept = run.stats.kept
        compiled = getattr(self, how)(model)
        with torch.no_grad():
            if used:
                compiled(**inputs)
            with prune(compiled, HALF) as run:
                pruned = compiled(**inputs)
        assert lengths(pruned) == lengths(expected)
        assert torch.equal(pruned.logits, expected.logits)
        assert torch.equal(run.stats.kept[0], kept[0])

    def test_the_wrapper_is_called_and_the_model_is_pruned(self, fresh):
        """What the block was not told of is not called with compiled code either."""
        model, processor = fresh()
        inputs = one_picture(processor)
        compiled = torch.compile(model, backend="eager")
        step = torch.compile(lambda **given: model(**given), backend="eager")
        with torch.no_grad():
            compiled(**inputs)
            step(**inputs)
            with prune(model, HALF) as run:
                expected = lengths(model(**inputs))
                for call in (compiled, step):
                    run.stats = None
                    assert lengths(call(**inputs)) == expected
                    assert run.stats.kept_by_stage == {"select": [18]}

    def test_generate(self, fresh):
        model, processor = fresh()
        options = {"max_new_tokens": 3, "min_new_tokens": 3, "do_sample": False}
        inputs = one_picture(processor)
        with prune(model, HALF):
            expected = model.generate(**inputs, **options)
        compiled = torch.compile(model, backend="eager")
        compiled.generate(**inputs, **options)
        with prune(compiled, HALF) as run:
            assert torch.equal(compiled.generate(**inputs, **options), expected)
        assert run.stats.kept_by_stage == {"select": [18]}

    def test_compiled_code_is_used_again_after_the_block(self, fresh):
        model, processor = fresh()
        inputs, graphs = one_picture(processor), []

        def backend(graph, example_inputs):
            def run(*args):
                graphs.append(1)
                return graph.forward(*args)

            return run

        model.compile(backend=backend)
        with torch.no_grad():
            expected = model(**inputs).logits
            graphs.clear()
            with prune(model, HALF):
                model(**inputs)
            assert not graphs
            assert torch.equal(model(**inputs).logits, expected)
        assert graphs

    def test_blocks_that_end_in_any_order(self):
        """The last one gives compiled code back."""
        (one, _), (other, _) = tiny_model("llava"), tiny_model("llava", seed=1)
        calls = []
        function = torch.compile(lambda x: x + 1, backend=lambda g, _: calls.append(1) or g.forward)
        first, second = prune(one, HALF), prune(other, HALF)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        function(torch.ones(3))
        assert not calls
        second.__exit__(None, None, None)
        function(torch.ones(3))
        assert calls == [1]

    def test_layers_that_passed_the_hooks_by_are_noticed(self, fresh):
        model, processor = fresh()
        layers = family_of_model(model).layers(model)
        with prune(model, HALF):
            layers[1] = copy.deepcopy(layers[1])
            with pytest.raises(RuntimeError, match="1 of its layers without prune"):
                model(**one_picture(processor))

    def test_a_decoder_that_passed_the_hooks_by_is_noticed(self, fresh):
        model, processor = fresh()
        with prune(model, HALF):
            model.model.language_model = copy.deepcopy(model.model.language_model)
            with pytest.raises(RuntimeError, match="ran its decoder without prune"):
                model(**one_picture(processor))

    def test_a_generate_that_passed_the_hooks_by_is_noticed(self, fresh):
        model, processor = fresh()
        with prune(model, HALF):
            model.model = copy.deepcopy(model.model)
            with pytest.raises(RuntimeError, match="ran the model without prune"):
                model.generate(**one_picture(processor), max_new_tokens=1)


class TestUnwrapped:
    @pytest.mark.parametrize(
        "wrap",
        [
            Holder,
            Adapted,
            Trained,
            nn.DataParallel,
            AveragedModel,
            torch.compile,
            lambda model: Holder(torch.compile(Adapted(model))),
        ],
    )
    def test_pruned_like_the_model_inside(self, wrap):
        model, processor = tiny_model("llava")
        inputs = one_picture(processor)
        with prune(model, HALF):
            expected = model(**inputs).logits
        wrapped = wrap(model)
        if wrap is AveragedModel:  # which has a copy
            model = wrapped.module
        assert unwrapped(wrapped) is model
        with prune(wrapped, HALF) as run:
            assert torch.equal(wrapped(**inputs).logits, expected)
        assert run.stats.kept_by_stage == {"select": [18]}

    def test_what_is_no_wrapper_stays(self):
        model, _ = tiny_model("llava")
        assert unwrapped(model) is model
        assert unwrapped(model.model) is model.model

    def test_one_model_among_several_is_not_guessed(self):
        models = nn.ModuleList([tiny_model("llava")[0], tiny_model("llava")[0]])
        with pytest.raises(ValueError, match="'ModuleList' is not supported"):
            prune(models, HALF)

    def test_generate_of_a_wrapper_is_guarded(self):
        model, processor = tiny_model("llava")
        wrapped = Adapted(model)
        with prune(wrapped, HALF) as run:
            wrapped.generate(**one_picture(processor), max_new_tokens=2)
            assert run.stats.kept_by_stage == {"select": [18]}
            with pytest.raises(ValueError, match="use_cache=False"):
                wrapped.generate(**one_picture(processor), max_new_tokens=2, use_cache=False)

    def test_a_block_on_the_wrapper_and_one_on_the_model_are_nested(self):
        model, _ = tiny_model("llava")
        with prune(Holder(model), HALF), pytest.raises(RuntimeError, match="already active"):
            prune(model, HALF).__enter__()

    def test_peft(self):
        peft = pytest.importorskip("peft")
        model, processor = tiny_model("llava")
        inputs = one_picture(processor)
        with prune(model, HALF):
            expected = model(**inputs).logits
        config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
        adapted = peft.get_peft_model(model, config)
        with prune(adapted, HALF) as run:  # a new adapter adds nothing
            assert torch.allclose(adapted(**inputs).logits, expected, atol=1e-6)
            adapted.generate(**inputs, max_new_tokens=2)
        assert run.stats.kept_by_stage == {"select": [18]}


@pytest.fixture
def process_group(tmp_path):
    """Of this process alone."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("selector", [RandomSelector, FastVSelector, PDropSelector])
class TestDistributed:
    @pytest.mark.parametrize("wrap", [DistributedDataParallel, FullyShardedDataParallel])
    def test_wrapped_as_a_whole(self, wrap, selector):
        model, processor = tiny_model("llava")
        inputs = one_picture(processor)
        policy = PruningPolicy({"select": Stage(2, selector(keep=0.5))})
        with torch.no_grad(), prune(model, policy):
            expected = model(**inputs).logits
        options = {} if wrap is DistributedDataParallel else {"device_id": torch.device("cpu")}
        wrapped = wrap(model, **options)
        with torch.no_grad(), prune(wrapped, policy) as run:
            assert torch.equal(wrapped(**inputs).logits, expected)
        assert run.stats.kept_by_stage == {"select": [18]}

    def test_sharded_layer_by_layer(self, selector):
        """The layer before a stage has given its weights away when its queries are asked for."""
        model, processor = tiny_model("llava")
        inputs = one_picture(processor)
        policy = PruningPolicy({"select": Stage(2, selector(keep=0.5))})
        with torch.no_grad(), prune(model, policy):
            expected = model(**inputs).logits
        mesh = init_device_mesh("cpu", (1,))
        for layer in family_of_model(model).layers(model):
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
        with torch.no_grad():
            for _ in range(2):
                with prune(model, policy) as run:
                    assert torch.equal(model(**inputs).logits, expected)
        assert run.stats.kept_by_stage == {"select": [18]}


class TestOffloaded:
    """accelerate brings in a layer's weights for its forward call only."""

    @pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "deepseek_vl2"])
    @pytest.mark.parametrize("preload", [False, True])
    @pytest.mark.parametrize("selector", [FastVSelector, PDropSelector])
    def test_attention_of_layers_whose_weights_come_as_a_whole(self, family, preload, selector):
        model, processor = tiny_model(family)
        inputs = batch(processor, ("where is it", [picture(84, 84)]))
        policy = PruningPolicy({"select": Stage(2, selector(keep=0.5))})
        with torch.no_grad(), prune(model, policy) as run:
            expected, kept = model(**inputs).logits, run.stats
        layer = family_of_model(model).layers(model)[2]
        preloaded = [type(layer).__name__] if preload else None
        cpu_offload(model, torch.device("cpu"), preload_module_classes=preloaded)
        with torch.no_grad(), prune(model, policy) as run:
            assert torch.allclose(model(**inputs).logits, expected, atol=1e-6)
        assert torch.equal(run.stats.kept[0], kept.kept[0])
        assert all(p.is_meta for p in layer.parameters())


def test_what_is_no_module_is_refused_with_the_way_out():
    pipeline = SimpleNamespace(model=nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"is a SimpleNamespace, .* pass its `model`"):
        prune(pipeline, HALF)
    with pytest.raises(TypeError, match=r"is a str, .* load it with from_pretrained"):
        prune("Qwen/Qwen2.5-VL-7B-Instruct", HALF)
