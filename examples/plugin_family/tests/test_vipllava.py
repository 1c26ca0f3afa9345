"""What the family says of ViP-LLaVA is true of the model: exact pruning, layout, attention."""

from dataclasses import replace

import pytest
from ivcprune.testing import ContractError, check_family, tiny_model
from transformers import VipLlavaConfig

from ivcprune_vipllava import VipLlava


@pytest.fixture(scope="module")
def tiny():
    """The sizes of a checkpoint would do as well; LLaVA-1.5's processor makes the same inputs."""
    llava, processor = tiny_model("llava")
    config = VipLlavaConfig(
        vision_config=llava.config.vision_config,
        text_config=llava.config.text_config,
        image_token_index=llava.config.image_token_id,
        image_seq_length=36,
        vision_feature_layers=[-1, -2],
    )
    return config, processor


def test_the_family_fits_its_model(tiny):
    check_family(VipLlava, *tiny)


def test_a_mark_off_by_one_would_be_found(tiny):
    class OffByOne(VipLlava):
        def blocks(self, core, inputs, positions):
            blocks = super().blocks(core, inputs, positions)
            return [replace(block, start=block.start - 1) for block in blocks]

    with pytest.raises(ContractError, match="`blocks` calls these visual, which no picture"):
        check_family(OffByOne, *tiny)
