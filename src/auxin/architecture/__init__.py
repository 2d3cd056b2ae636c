"""What a network is made of: plain frozen values, to which theory and models each give a meaning."""

from auxin.architecture.attention import Attention, Rotary
from auxin.architecture.block import Block
from auxin.architecture.cross import CrossAttention
from auxin.architecture.experts import Experts
from auxin.architecture.latent import LatentAttention
from auxin.architecture.layer import Layer, Sublayer
from auxin.architecture.mlp import MLP
from auxin.architecture.network import Network
from auxin.architecture.norm import Norm

__all__ = [
    "MLP",
    "Attention",
    "Block",
    "CrossAttention",
    "Experts",
    "LatentAttention",
    "Layer",
    "Network",
    "Norm",
    "Rotary",
    "Sublayer",
]
