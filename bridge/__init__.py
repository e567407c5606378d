"""bridge: does anything carry over from one language model into another?"""

__version__ = "0.1.0"
