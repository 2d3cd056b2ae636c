"""All families, and by what a config names them."""

from auxin.families.decoders import DECODERS
from auxin.families.encoders import ENCODERS
from auxin.families.pairs import PAIRS

FAMILIES = (*DECODERS, *ENCODERS, *PAIRS)
SPECIAL = {name for family in FAMILIES for name in family.special.split()}
BY_TYPE = {kind: family for family in FAMILIES for kind in family.types}
