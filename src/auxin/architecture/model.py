"""A model's config: a stack of layers, and what a model needs beyond their description."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from auxin.architecture.attention import Attention
from auxin.architecture.block import STRENGTHS, Block, NormPlacement, classic_layer
from auxin.architecture.experts import Experts
from auxin.architecture.initialization import POSITION_STD, SCHEMES, Initialization, Map, Scheme
from auxin.architecture.layer import Layer
from auxin.architecture.mlp import MLP, Activation
from auxin.architecture.network import Network
from auxin.architecture.norm import Norm
from auxin.architecture.recipe import EmbeddingLaw, Recipe
from auxin.architecture.sizes import Sizes
from auxin.values import Value, check

Positions = Literal["sinusoidal", "learned", "none"]
VOCABULARY = 100
"""Words, where the vocabulary is left to the task; the three have 43 to 101."""
CLASSIC_NORM = Norm("layer", epsilon=1e-5)
GAINS = ("sigma_a", "sigma_v", "sigma_w", "sigma_o", "sigma_b")
CLASSIC = ("norm", "activation", *STRENGTHS, *GAINS)
"""What described layers have of their own."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Value):
    """Architecture and initialization of a transformer that predicts the next token.

    Its layers are those of ``layers``, in turn; or, where there are none, classic ones. With x the residual stream,
    F a sublayer (attention, then MLP) and N layer norm, a classic sublayer computes ``N(skip·x + branch·F(x))``
    (post), ``skip·x + branch·F(N(x))`` (pre) or ``skip·x + branch·F(x)`` (none).

    Examples:
        >>> ModelConfig(depth=2, width=64, heads=4, norm="pre").depth
        2
        >>> ModelConfig(depth=0)
        Traceback (most recent call last):
        auxin.errors.ConfigError: depth is 0; allowed: 1 to 10000
    """

    depth: int = 4
    """Layers; a classic one is attention followed by an MLP."""
    width: int = 128
    """Dimension d of the residual stream."""
    heads: int = 4
    """Attention heads; must divide the width, unless described layers say how large a head is."""
    key_heads: int = 0
    """Heads of keys and values, each shared by as many of queries; 0 means as many as heads."""
    feedforward: int = 0
    """Hidden units m of the MLP; 0 means four times the width, of gated ones 8/3 (rounded up to a multiple of 8)."""
    vocabulary_size: int = 0
    """Words, with <pad>, <eos> and <bos>; 0 means that of the task."""
    max_length: int = 512
    """Longest sequence in tokens (the size of the position table)."""
    norm: NormPlacement = "post"
    """Where layer norm stands; pre-norm ends with one more norm before the output map."""
    activation: Activation = "relu"
    """Nonlinearity of the MLP (gelu is the exact one, with erf)."""
    positions: Positions = "sinusoidal"
    """Position encoding added to the embeddings."""
    scale_embedding: bool = True
    """Multiply embeddings by √width before positions are added."""
    tied: bool = False
    """Use the embedding matrix as the output map, too."""
    attention_bias: bool = False
    """Biases in the four attention maps."""
    mlp_bias: bool = True
    """Biases in the MLP's maps."""
    output_bias: bool = True
    """Biases in the output map."""
    causal: bool = True
    """A token sees those before it; a model without causality cannot be trained to predict the next token."""
    dropout: float = 0.1
    """Probability of dropping a unit: embedding, attention weights, feed-forward and residual branches."""
    attention_skip: float = 1.0
    """Skip strength around attention."""
    attention_branch: float = 1.0
    """Branch strength of attention."""
    mlp_skip: float = 1.0
    """Skip strength around the MLP."""
    mlp_branch: float = 1.0
    """Branch strength of the MLP."""
    initialization: Initialization = "xavier"
    """xavier: uniform, gain √2 before a relu, no biases; released-code: the same with PyTorch's biases, uniform in
    ±1/√fan_in; pytorch: the defaults of nn.Linear and nn.Embedding;
    normal: N(0, 0.02²); gpt2: the same, output maps of branches divided by the root of the number of
    branches; neox: N(0, 0.4/fan_in), output maps of branches N(0, (2/(depth·√width))²) (Pythia); gaussian: the σ's
    below, or those of the layers. All others leave these σ's aside."""
    branch_scale: float = 1.0
    """Factor on the output maps of all branches at initialization; 1 with gaussian, whose σ's say all."""
    sigma_a: float = 1.0
    """Logit scale σ_A = σ_Q·σ_K: entries of W_Q, W_K are N(0, σ_A/d) (gaussian only)."""
    sigma_v: float = 1.0
    """Gain of value and output maps together: entries of each are N(0, σ_V/d) (gaussian only)."""
    sigma_w: float = 2**0.5
    """Gain of the MLP's first map: entries N(0, σ_w²/d) (gaussian only)."""
    sigma_o: float = 1.0
    """Gain of the MLP's second map: entries N(0, σ_o²/m) (gaussian only)."""
    sigma_b: float = 0.0
    """Standard deviation of the MLP's biases (gaussian only)."""
    layers: tuple[Layer, ...] = ()
    """Described layers, repeated in turn up to the depth; then norm, activation, strengths and σ's stay as they are.
    Empty: the classic layer of these fields."""
    final_norm: Norm | None = None
    """Norm before the output map, of described layers."""
    embedding_norm: Norm | None = None
    """Norm of the embeddings with their positions (BERT, BLOOM)."""

    ranges = {  # noqa: RUF012
        "depth": (1, 10_000),
        "width": (1, 65_536),
        "feedforward": (0, 1e6),
        "vocabulary_size": (0, 1e7),
        "max_length": (1, 1e6),
        **dict.fromkeys((*GAINS, *STRENGTHS, "branch_scale"), (0, 1e3)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.dropout < 1, "dropout", self.dropout, "0 ≤ dropout < 1")
        sinusoidal_fits = self.positions != "sinusoidal" or self.width % 2 == 0
        check(sinusoidal_fits, "width", self.width, "even, with sinusoidal positions")
        fits, kind = self.branch_scale == 1 or not self.scheme.described, self.initialization
        check(fits, "branch_scale", self.branch_scale, f"1, with the initialization {kind}")
        layers = tuple(layer.layer if isinstance(layer, Block) else layer for layer in self.layers)
        object.__setattr__(self, "layers", layers)
        if self.layers:
            self._check_layers()
        else:
            check(self.final_norm is None, "final_norm", self.final_norm, "none, without described layers")
            self.sizes.split_width()

    def for_layers(self) -> ModelConfig:
        """With a classic layer's settings at their defaults, as they have to be beside ``layers``."""
        return dataclasses.replace(self, **_classic_defaults())

    def _check_layers(self) -> None:
        """Refuse layers that no model can have, and what contradicts them."""
        for name, default in _classic_defaults().items():
            value = getattr(self, name)
            check(value == default, name, value, f"{default}, beside layers, which have their own")
        check(len(self.layers) <= self.depth, "depth", self.depth, f"{len(self.layers)} layers or more")
        for layer in self.layers:
            check(isinstance(layer, Layer), "layer", layer, "a Layer or a Block")
            for sublayer in layer.sublayers:
                body, kinds = sublayer.body, (Attention, MLP, Experts)
                check(
                    type(body) in kinds, "body", type(body).__name__, "Attention, MLP or Experts, in a model"
                )
                body.check_fits(self.sizes)
        if SCHEMES[self.initialization].described:
            bodies = [sublayer.body for layer in self.layers for sublayer in layer.sublayers]
            maps = [each for body in bodies for each in body.maps(self.sizes, 1).values()]
            lost = max((each.sigma_b for each in maps if not each.biased), default=0.0)
            check(lost == 0, "sigma_b of a layer", lost, "0, of maps without biases")

    @property
    def hidden(self) -> int:
        """Hidden units of the MLP, with the default resolved."""
        bodies = (sublayer.body for layer in self.layers for sublayer in layer.sublayers)
        gated = any(isinstance(body, MLP) and body.gated for body in bodies)
        return self.feedforward or (-(-self.width // 3) * 8 if gated else 4 * self.width)

    @property
    def sizes(self) -> Sizes:
        """What the model adds to the description of its layers."""
        return Sizes(self.width, self.heads, self.key_heads, self.hidden, self.attention_bias, self.mlp_bias)

    @property
    def scheme(self) -> Scheme:
        """How the weights are drawn."""
        scheme = dataclasses.replace(SCHEMES[self.initialization], words=f"the scheme {self.initialization}")
        return scheme.scaled(self.branch_scale)

    def network(self) -> Network:
        """The layers with the σ's that the initialization gives them at this width, and the norm at the end.

        Heads of attention that is not plain have the dimensions that they have in the model. The σ's of the scheme
        ``gaussian`` are those of the description; all other schemes replace them.
        """
        return self.recipe().drawn

    def recipe(self) -> Recipe:
        """The layers before their weights are drawn, with all that the model adds to them."""
        layers = self.layers or (self._classic(),)
        final = self.final_norm
        if not self.layers and self.norm == "pre":
            final = CLASSIC_NORM
        network = Network.repeat([layer.sized(self.sizes) for layer in layers], self.depth, final)
        embedding = EmbeddingLaw(self.scheme.embeddings(self.embedding).std, self.input_norm())
        return Recipe("auxin", network, self.sizes, self.scheme, embedding, self.causal)

    def _classic(self) -> Layer:
        """The layer that the fields describe."""
        root = math.sqrt(self.sigma_a)
        attention = Attention(sigma_q=root, sigma_k=root, sigma_v=self.sigma_v)
        mlp = MLP(
            self.activation,
            sigma_w=self.sigma_w,
            sigma_o=self.sigma_o,
            sigma_b=self.sigma_b if self.mlp_bias else 0.0,
        )
        return classic_layer(self, attention, mlp, CLASSIC_NORM)

    def block(self, n_tokens: int = 32) -> Block:
        """The classic layer that the initialization implies; raises ``ConfigError`` where layers are described."""
        check(not self.layers, "layers", self.layers, "none, for a Block (network() gives any network)")
        attention, mlp = (sublayer.body for sublayer in self.network().layers[0].sublayers)
        assert isinstance(attention, Attention)
        assert isinstance(mlp, MLP)
        described = self.scheme.described
        return Block(
            norm=self.norm,
            activation=self.activation,
            sigma_a=self.sigma_a if described else attention.logit_scale,  # whose root's square is rounded
            sigma_v=attention.sigma_v,
            sigma_w=mlp.sigma_w,
            sigma_o=mlp.sigma_o,
            sigma_b=mlp.sigma_b,
            sigma_b_out=mlp.sigma_b_out,
            sigma_b_attention=attention.sigma_b,
            n_tokens=n_tokens,
            **{name: getattr(self, name) for name in STRENGTHS},
        )

    @property
    def embedding(self) -> Map:
        """The embeddings, as the map from the width to the vocabulary."""
        return Map(self.width, self.vocabulary_size or VOCABULARY)

    def input_norm(self) -> float:
        """Expected squared norm per dimension of the stream before the first layer, E‖x_0‖²/d.

        The variance of embeddings, scaled, and that of the positions that are added: ½ of sinusoidal ones. Under
        xavier, the vocabulary matters; where it is left to the task, it counts as 100 words.
        """
        norm2 = self.scheme.embeddings(self.embedding).std ** 2
        norm2 *= self.width if self.scale_embedding else 1
        norm2 += {"sinusoidal": 0.5, "learned": POSITION_STD**2, "none": 0.0}[self.positions]
        return norm2 if self.embedding_norm is None else self.embedding_norm.norm2(norm2)


def _classic_defaults() -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(ModelConfig) if field.name in CLASSIC}
