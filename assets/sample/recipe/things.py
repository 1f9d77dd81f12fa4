"""The four kinds of thing, each about 2 across, centred on the origin and resting on z = 0. Every call draws another one."""

from .dice import dice
from .leaves import leaf
from .mugs import mug
from .shears import scissors

THINGS = {"dice": dice, "leaf": leaf, "mug": mug, "scissors": scissors}
THICKNESS = {"leaf": 0.28, "scissors": 0.22}  # where something may lie on top; nothing balances on a mug
TALL = ("dice", "mug")  # seen from lower down and farther off
