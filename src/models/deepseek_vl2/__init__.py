"""DeepSeek-VL2 (arXiv:2412.10302), which transformers does not ship: its model and its family.

Importing this package registers the configuration, the model, the processors and the names of the
published weights with transformers' Auto classes.
"""

from .configuration import DeepseekVL2Config
from .family import DeepseekVL2
from .image_processing import DeepseekVL2ImageProcessor
from .modeling import DeepseekVL2ForConditionalGeneration, DeepseekVL2Model
from .processing import DeepseekVL2Processor
from .registration import register

register()

__all__ = [
    "DeepseekVL2",
    "DeepseekVL2Config",
    "DeepseekVL2ForConditionalGeneration",
    "DeepseekVL2ImageProcessor",
    "DeepseekVL2Model",
    "DeepseekVL2Processor",
]
