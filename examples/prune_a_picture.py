"""Ask the bundled model about a picture, with all visual tokens and with half of them."""

from importlib.resources import files
from pathlib import Path

from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune import prune
from ivcprune.data.scenes import load_scenes
from ivcprune.models.processors import ImageTextProcessor

folder = Path(str(files("ivcprune.assets") / "tiny"))
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
processor = ImageTextProcessor.from_pretrained(folder)

sample = load_scenes("test", size=8, seed=0, cache_dir="outputs/cache")[0]
text = {"type": "text", "text": f"locate {sample['question']}"}
messages = [{"role": "user", "content": [{"type": "image"}, text]}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
inputs = processor(text=[prompt], images=[sample["images"]], return_tensors="pt")


def answer() -> str:
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


print("question:     ", sample["question"])
print("true box:     ", *map(int, sample["boxes"][0]))
print("all tokens:   ", answer())
with prune(model, "ivc_prune") as run:
    print("half of them: ", answer())
print("visual tokens:", run.stats.n_visual[0], "->", len(run.stats.kept[0]))
print("chosen at:    ", run.layers)
print(f"average share: {run.stats.average_tokens:.3f}")
print("KV cache:     ", run.stats.kv_bytes, "bytes")
