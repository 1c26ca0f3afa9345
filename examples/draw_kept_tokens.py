"""Draw which visual tokens of a picture are kept: the rest of it turns grey.

    python examples/draw_kept_tokens.py photo.jpg "the red cup" kept.png

With the bundled model, which knows coloured shapes only; put your own model and processor into the
two lines that load them. `ivcprune job=visualize` draws more, for every supported model.
"""

import sys
from importlib.resources import files
from pathlib import Path

from PIL import Image
from transformers import Qwen2_5_VLForConditionalGeneration

from ivcprune import prune
from ivcprune.models.qwen.processors import ImageTextProcessor
from ivcprune.report.overlay import dim_dropped

picture, question, output = sys.argv[1:]
folder = Path(str(files("ivcprune.assets") / "tiny"))
model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
processor = ImageTextProcessor.from_pretrained(folder)

image = Image.open(picture).convert("RGB")
text = {"type": "text", "text": f"locate {question}"}
messages = [{"role": "user", "content": [{"type": "image"}, text]}]
prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
inputs = processor(text=[prompt], images=[[image]], return_tensors="pt")

with prune(model, "ivc_prune") as run:
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)
answer = processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

# One map for each image, video frame or tile, [rows, columns]: True where the token was kept.
kept = run.stats.kept_maps()[0].keep
dim_dropped(image, kept.numpy()).save(output)
print(f"{answer}: {int(kept.sum())} of {kept.numel()} tokens kept, drawn in {output}")
