"""In-memory stand-ins: outputs that are kept, and an engine with the shipped config on top of them."""

from tests.doubles.outputs import CapturedOutputs, Sent
from tests.doubles.rig import Rig, model_snapshots, shipped_config, weights

__all__ = ["CapturedOutputs", "Rig", "Sent", "model_snapshots", "shipped_config", "weights"]
