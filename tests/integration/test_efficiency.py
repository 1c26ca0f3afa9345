"""`job=efficiency` on tiny models: FLOPs and bytes worked out by hand, and a whole run."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ivcprune.api import load_policy, prune
from ivcprune.configuration.build import build_job, compose
from ivcprune.efficiency.bare import shortened
from ivcprune.efficiency.clocks import Clock, FlopClock, Flops, flop_counter
from ivcprune.efficiency.marks import PrefillMarks
from ivcprune.efficiency.measure import count, take_reading, take_turns
from ivcprune.efficiency.subjects import NATIVE_RESOLUTION, TEXT_BEFORE, RandomModel
from ivcprune.jobs.efficiency import run
from ivcprune.models.registry import family_of_model
from ivcprune.policy import PruningPolicy, Stage
from ivcprune.selectors import IVCSelector, Selector
from ivcprune.testing import tiny_model

DEPTH, STAGE = 4, 2
VISUAL, TEXT = 36, 30
LENGTH = VISUAL + TEXT
VANILLA = PruningPolicy(name="none")
COORDINATES = PruningPolicy({"select": Stage(STAGE, IVCSelector(keep=0.25))}, name="coordinates")
STAGES = ("early", "middle", "late")
CONFIGS = Path(__file__).parents[1] / "data" / "model_configs"


def subject(model_type="qwen2_5_vl"):
    model, _ = tiny_model(model_type, depth=DEPTH)
    return RandomModel("tiny", model.config.to_dict(), dtype="float32")


@pytest.fixture(scope="module")
def model():
    return subject().load("sdpa")


@pytest.fixture
def inputs():
    return subject().inputs(VISUAL, TEXT, 1)


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


# Inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", NATIVE_RESOLUTION)
def test_random_inputs_have_the_wanted_size(model_type):
    tiny = subject(model_type)
    given = tiny.inputs(VISUAL, TEXT, 2)
    assert given["input_ids"].shape == (2, LENGTH)
    assert given["attention_mask"].all()
    counts = count(tiny.load("sdpa"), given, VANILLA)
    assert counts.n_visual == VISUAL
    assert counts.average_tokens == 1.0


def test_samples_of_a_batch_differ():
    given = subject().inputs(VISUAL, TEXT, 2)
    first, second = given["pixel_values"].chunk(2)
    assert not torch.equal(first, second)
    assert not torch.equal(given["input_ids"][0, :TEXT_BEFORE], given["input_ids"][1, :TEXT_BEFORE])


def test_random_weights_leave_the_global_random_state_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    subject().load("sdpa")
    assert torch.equal(torch.random.get_rng_state(), before)


# Counts --------------------------------------------------------------------------------------


def layer_flops(config, length):
    """Two for each multiply-add of a decoder layer's projections; and its attention."""
    text = config.text_config
    head = text.hidden_size // text.num_attention_heads
    both = text.hidden_size * 2  # of queries and output
    grouped = 2 * head * text.num_key_value_heads  # of keys and values
    weights = text.hidden_size * (both + grouped + 3 * text.intermediate_size)
    attention = 2 * 2 * text.hidden_size * length**2
    return Flops(2 * length * weights + attention, attention)


def test_vanilla_flops_are_those_of_all_layers(model, inputs):
    counts = count(model, inputs, VANILLA)
    one = layer_flops(model.config, LENGTH)
    assert counts.language == Flops(DEPTH * one.total, DEPTH * one.attention)
    assert counts.pruning == Flops()
    assert counts.vision.total > 0


def test_pruned_flops_are_those_of_the_tokens_that_each_layer_sees(model, inputs):
    counts = count(model, inputs, COORDINATES)
    kept = round(counts.average_tokens * VISUAL)
    assert 0 < kept < VISUAL
    whole, pruned = layer_flops(model.config, LENGTH), layer_flops(model.config, TEXT + kept)
    expected = STAGE * whole.total + (DEPTH - STAGE) * pruned.total
    assert counts.language.total == expected
    assert counts.pruning == Flops()  # coordinates need no product


def test_in_a_hybrid_only_layers_of_attention_grow_with_the_square():
    """Two of four layers have attention: one before the stage, one from it on."""
    hybrid = subject("qwen3_5")
    model, inputs = hybrid.load("sdpa"), hybrid.inputs(VISUAL, TEXT, 1)
    text = model.config.text_config
    assert text.layer_types.count("full_attention") == 2
    both = 2 * 2 * text.num_attention_heads * text.head_dim
    vanilla, pruned = count(model, inputs, VANILLA), count(model, inputs, COORDINATES)
    kept = round(pruned.average_tokens * VISUAL)
    left = TEXT + kept
    assert vanilla.language.attention == 2 * both * LENGTH**2
    # coordinates need no attention; from_stage or not, the layer before the stage has run
    assert pruned.language.attention == both * (LENGTH**2 + left**2)
    with shortened(model, family_of_model(model), [LENGTH] * STAGE + [left] * (DEPTH - STAGE)):
        bare = count(model, inputs, VANILLA)
    assert bare.language == pruned.language


def test_flops_of_a_selection_are_not_the_language_models(model, inputs):
    fastv = load_policy("fastv", "stages.select.layer=2")
    counts = count(model, inputs, fastv)
    assert counts.pruning.total > 0
    kept = VISUAL // 2
    whole, pruned = layer_flops(model.config, LENGTH), layer_flops(model.config, TEXT + kept)
    assert counts.language.total == STAGE * whole.total + (DEPTH - STAGE) * pruned.total


# The bare model ------------------------------------------------------------------------------


# a hybrid has too few layers of attention for the stages; it is counted above
@pytest.mark.parametrize("model_type", [name for name in NATIVE_RESOLUTION if name != "qwen3_5"])
def test_the_bare_model_computes_what_the_policy_leaves_and_nothing_else(model_type):
    tiny = subject(model_type)
    bare, given = tiny.load("sdpa"), tiny.inputs(VISUAL, TEXT, 2)
    policy = load_policy(
        "pdrop", *(f"stages.{name}.layer={layer}" for layer, name in enumerate(STAGES, 1))
    )
    counts = count(bare, given, policy)
    assert counts.lengths == tuple(TEXT + int(VISUAL * share) for share in (1.0, 0.7, 0.35, 0.175))
    before = hooks(bare)
    with (
        shortened(bare, family_of_model(bare), counts.lengths),
        flop_counter() as counter,
        PrefillMarks(bare, family_of_model(bare), FlopClock(counter)) as marks,
    ):
        bare.generate(**given, max_new_tokens=1)
    assert sum(marks.spent("language"), Flops()) == counts.language
    assert hooks(bare) == before


def test_a_bare_reading_is_that_of_the_language_model(model, inputs):
    taken = take_turns(
        model, inputs, [VANILLA, COORDINATES], 2, 0, 2, 1e6, {"coordinates": (LENGTH,) * DEPTH}
    )
    assert [reading.bare_ms for reading in taken["none"]] == [None, None]
    assert all(reading.bare_ms > 0 for reading in taken["coordinates"])


# Readings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2])
def test_saved_bytes_are_the_dropped_entries(model, batch):
    given = subject().inputs(VISUAL, TEXT, batch)
    text = model.config.text_config
    entry = 2 * 4 * text.num_key_value_heads * text.hidden_size // text.num_attention_heads
    kept = round(count(model, given, COORDINATES).average_tokens * VISUAL)
    vanilla = take_reading(model, given, VANILLA, 1)
    pruned = take_reading(model, given, COORDINATES, 1)
    assert vanilla.kv_bytes == batch * DEPTH * LENGTH * entry
    assert vanilla.kv_bytes - pruned.kv_bytes == batch * DEPTH * (VISUAL - kept) * entry


def test_a_reading_adds_up(model, inputs):
    taken = take_reading(model, inputs, COORDINATES, 3)
    assert 0 < taken.pruning_ms < taken.language_ms
    assert taken.vision_ms + taken.language_ms < taken.prefill_ms < taken.total_ms
    assert taken.decode_ms == pytest.approx((taken.total_ms - taken.prefill_ms) / 2)
    assert taken.peak_bytes is None  # on a CPU


def test_a_prefill_alone_has_no_decoding(model, inputs):
    taken = take_reading(model, inputs, VANILLA, 1)
    assert taken.decode_ms is None
    assert taken.pruning_ms == 0.0


def test_no_hook_stays(model, inputs):
    before = hooks(model)
    take_reading(model, inputs, COORDINATES, 2)
    count(model, inputs, COORDINATES)
    assert hooks(model) == before


class Broken(Selector):
    def select(self, tokens):
        raise RuntimeError("broken")


def test_no_hook_stays_after_an_error(model, inputs):
    before = hooks(model)
    policy = PruningPolicy({"select": Stage(STAGE, Broken())})
    with pytest.raises(RuntimeError, match="broken"):
        take_reading(model, inputs, policy, 2)
    assert hooks(model) == before


# Marks ---------------------------------------------------------------------------------------


class Meter(Clock[int, int]):
    """Stands still except where someone pays."""

    def __init__(self) -> None:
        self.paid = 0

    def read(self) -> int:
        return self.paid

    def between(self, start: int, end: int) -> int:
        return end - start


class Paying(Selector):
    """Keeps the first half, for a price."""

    def __init__(self, meter: Meter, price: int) -> None:
        self.meter, self.price = meter, price

    def select(self, tokens):
        self.meter.paid += self.price
        return tokens.valid & (tokens.ordinal < VISUAL // 2)


def generate_marked(model, inputs, policy, meter):
    with prune(model, policy), PrefillMarks(model, family_of_model(model), meter) as marks:
        model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    return marks


def test_what_selectors_take_is_pruning_and_part_of_the_language_model(model, inputs):
    meter = Meter()
    stages = {"a": Stage(1, Paying(meter, 7)), "b": Stage(3, Paying(meter, 100))}
    marks = generate_marked(model, inputs, PruningPolicy(stages, cache="from_stage"), meter)
    assert sum(marks.spent("pruning")) == 107
    assert sum(marks.spent("language")) == 107
    assert sum(marks.spent("vision")) == 0


def test_what_layers_take_is_not_pruning(model, inputs):
    meter = Meter()

    def pay(module, args):
        meter.paid += 10

    attention = model.model.language_model.layers[3].self_attn
    handle = attention.register_forward_pre_hook(pay)
    marks = generate_marked(model, inputs, COORDINATES, meter)
    handle.remove()
    assert sum(marks.spent("pruning")) == 0
    assert sum(marks.spent("language")) == 10  # of the prefill; decoding is not watched


def test_layers_that_a_selection_runs_again_are_counted_once(model, inputs):
    meter = Meter()
    policy = PruningPolicy({"select": Stage(STAGE, Paying(meter, 7))}, cache="recomputed")
    marks = generate_marked(model, inputs, policy, meter)
    assert sum(marks.spent("pruning")) == 7


class Elements(TorchDispatchMode):
    """Pays for every element of every tensor that is made."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self.meter = meter

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        self.meter.paid += sum(x.numel() for x in tree_leaves(made) if isinstance(x, torch.Tensor))
        return made


@pytest.mark.parametrize("policy", ["fastv", "pdrop", "ivc_prune", "window_fastv"])
def test_memory_of_a_selection_is_linear_in_the_visual_tokens(model, policy):
    pruning = load_policy(policy, family="qwen2_5_vl")
    made = []
    for visual in (256, 1024):
        meter = Meter()
        given = subject().inputs(visual, TEXT, 1)
        with Elements(meter):
            marks = generate_marked(model, given, pruning, meter)
        made.append(sum(marks.spent("pruning")))
    assert made[0] > 0
    assert made[1] / made[0] < 4.2


class Waits(TorchDispatchMode):
    """Pays for every value that is read back from the device, as a number or as a list."""

    def __init__(self, meter: Meter, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.meter, tolist = meter, torch.Tensor.tolist

        def paid(tensor):
            meter.paid += 1
            return tolist(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", paid)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.meter.paid += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    ("policy", "stages_that_wait"),
    [("fastv", 0), ("pdrop", 0), ("ivc_prune", 0), ("window_fastv", 1), ("ivc_prune_paper", 1)],
)
def test_only_stages_of_unknown_size_wait_for_the_device(
    model, inputs, monkeypatch, policy, stages_that_wait
):
    meter = Meter()
    with Waits(meter, monkeypatch):
        marks = generate_marked(model, inputs, load_policy(policy, family="qwen2_5_vl"), meter)
    at_the_decoder, *at_layers = [waits for waits in marks.spent("pruning") if waits]
    assert at_the_decoder > 0
    assert len(at_layers) == stages_that_wait


# After the prefill ---------------------------------------------------------------------------


class Operators(TorchDispatchMode):
    """The operators that run, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **kwargs or {})


def operators_of_a_step(model, inputs, policy):
    """What the second step of decoding runs."""
    with prune(model, policy), torch.inference_mode():
        cache = model(**inputs, use_cache=True).past_key_values
        next_token = inputs["input_ids"][:, -1:]
        model(input_ids=next_token, past_key_values=cache)
        with Operators() as ran:
            model(input_ids=next_token, past_key_values=cache)
    return ran.names


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_step_of_decoding_without_padding_runs_nothing_that_vanilla_does_not(attention, batch):
    model, given = subject().load(attention), subject().inputs(VISUAL, TEXT, batch)
    vanilla = operators_of_a_step(model, given, VANILLA)
    assert vanilla
    for policy in ("fastv", "pdrop", "ivc_prune", "vscan"):
        pruning = load_policy(policy, family="qwen2_5_vl")
        pruned = operators_of_a_step(model, given, pruning)
        # SDPA: the same. Eager attention even saves adding a mask in the pruned layers
        assert not Counter(pruned) - Counter(vanilla)
        assert pruned == vanilla or attention == "eager"


# The job -------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", ["mid", "qwen2_5_vl_7b", "checkpoint"])
def test_every_choice_of_model_composes(choice):
    job = build_job(compose(["job=efficiency", f"efficiency_model@job.model={choice}"]))
    assert job.keywords["model"].family == "qwen2_5_vl"
    expected = ["fastv", "pdrop", "ivc_prune", "ivc_prune_progressive"]
    assert job.keywords["policies"] == expected


def test_the_7b_configuration_is_the_published_one():
    config = compose(["job=efficiency", "efficiency_model@job.model=qwen2_5_vl_7b"]).job.model
    published = json.loads((CONFIGS / "qwen2_5_vl_7b.json").read_text("utf-8"))
    for part in ("text_config", "vision_config"):
        for name, value in published[part].items():
            assert config.config[part][name] == value, (part, name)


def test_a_run_writes_tables_figures_and_plots(tmp_path, capsys):
    run(
        compose([]),
        subject(),
        str(tmp_path),
        policies=["none", "ivc_prune", "divprune"],
        visual_tokens=[16, VISUAL],
        text_tokens=TEXT,
        batch_sizes=[1, 2],
        new_tokens=[2],
        warm_up=0,
        rounds=2,
        seconds=1e6,
    )
    content = json.loads((tmp_path / "efficiency.json").read_text("utf-8"))
    assert content["model"]["layers"] == DEPTH
    assert content["model"]["attention"] == "sdpa"
    assert content["environment"]["torch"] == torch.__version__
    sizes = [(cell["visual_tokens"], cell["batch"]) for cell in content["cells"]]
    assert sizes == [(16, 1), (16, 2), (VISUAL, 1), (VISUAL, 2)]
    for cell in content["cells"]:
        assert cell["text_tokens"] == TEXT
        assert list(cell["policies"]) == ["none", "ivc_prune", "divprune"]
        assert cell["policies"]["none"]["limit"] == 1.0
        assert cell["policies"]["ivc_prune"]["limit"] > 1.0
        for result in cell["policies"].values():
            assert len(result["readings"]) == 2
            share = result["share_of_limit"]["median"]
            reached = result["speed_up"]["language_ms"]["median"]
            assert share == pytest.approx(reached / result["limit"])
    tables = (tmp_path / "README.md").read_text("utf-8")
    assert tables.count("| `divprune` |") == 3 * len(sizes)
    assert "against the limit by FLOPs" in capsys.readouterr().out
    plots = {path.name for path in tmp_path.glob("*.png")}
    assert all(f"]({name})" in tables for name in plots)
    assert plots == {f"{k}_batch{b}_new2.png" for k in ("time", "share") for b in (1, 2)}


def test_a_checkpoint_is_measured_by_its_name(tmp_path):
    options = ["job.policies=[ivc_prune]", "job.visual_tokens=[16]", "job.new_tokens=[1]"]
    config = compose(
        [
            "job=efficiency",
            "efficiency_model@job.model=checkpoint",
            "job.rounds=1",
            "job.warm_up=0",
            "job.text_tokens=5",
            f"job.output_dir={tmp_path}",
            *options,
        ]
    )
    build_job(config)(config)
    content = json.loads((tmp_path / "efficiency.json").read_text("utf-8"))
    assert content["model"]["name"] == "tiny"
    assert content["cells"][0]["visual_tokens"] == 16
    assert content["cells"][0]["policies"]["ivc_prune"]["average_tokens"] < 1.0
