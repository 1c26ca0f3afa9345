"""What clients are compared with: kept tokens by picture, replies put together from a stream."""

import json

from tools.clients.chat_server import Chat, with_gaps
from tools.clients.reference import Answer, _by_picture


def test_kept_tokens_are_told_by_picture_and_from_its_start():
    is_image = [False, True, True, True, False, False, True, True, False]
    assert _by_picture(is_image, [1, 3, 7]) == [(3, 0, 2), (2, 1)]
    assert _by_picture([True, True], []) == [(2,)]
    assert _by_picture([False] * 4, []) == []


def test_lengths_follow_from_the_pictures():
    answer = Answer([], "", [], pictures=[(3, 0, 2), (2, 1)], kv_bytes=0, prompt_length=9)
    assert (answer.n_visual, answer.n_kept, answer.pruned_length) == (5, 3, 7)


def test_every_third_sample_loses_its_picture():
    samples = [(text, "picture") for text in "abcdef"]
    shown = [picture for _, picture in with_gaps(samples, 3)]
    assert shown == ["picture", "picture", None] * 2


def test_a_streamed_reply_is_put_together(monkeypatch):
    deltas = [{"role": "assistant"}, {"content": " re"}, {"content": "d"}, {"content": None}]
    events = [json.dumps({"choices": [{"delta": delta}]}) for delta in deltas]
    lines = "".join(f"data: {event}\n\n" for event in [*events, '{"choices": []}', "[DONE]"])
    asked = []
    monkeypatch.setattr(Chat, "_post", lambda self, body: asked.append(body) or lines)
    assert Chat(1, "tiny").ask_streamed("colour?", None) == " red"
    assert asked[0]["stream"] is True
    assert asked[0]["messages"][0]["content"] == [{"type": "text", "text": "colour?"}]
