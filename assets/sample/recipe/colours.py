"""The colours of things, as '#rrggbb'."""

GLAZES = (
    *("#f1ede4", "#c8463c", "#2f6f8f", "#e0b13c", "#3f7d5a", "#26282d"),
    *("#e58fa0", "#7fb6c4", "#8a5a9c", "#d9772f", "#dcd3c0", "#4b5f9e"),
)
DRINKS = ("#3a2013", "#6b4423", "#a8703a", "#7d2f14", "#c9b08c")
METALS = ("#e2bd72", "#d3d6da", "#cf8f66", "#8f9296", "#ecd394", "#bcc0c5", "#b39a68")
STEELS = ("#c9ccd0", "#b4b8bd", "#d8dadd", "#d2b573")
PLASTICS = ("#d23b32", "#2b62b8", "#22252a", "#f0a81f", "#2f9960", "#e8e6e1", "#e0679a", "#6d4fa8", "#f07a2b", "#35a6b0")
GREENS = ("#4f8f3a", "#2f6b34", "#7fae3f", "#3d7a55", "#9bb84a")
AUTUMN = ("#d9902a", "#c4502a", "#a8322c", "#e0b93a", "#8a5a2f", "#b8632b")
PAPERS = ("#f4f1e8", "#f2dd7a", "#e9b7c0", "#b8d8c8", "#dfe6ee", "#e9a860")
INKS = ("#4a5a7c", "#555555", "#a04a40")
DICE = ("#efe6d2", "#f4f2ee", "#c23b33", "#2f5fae", "#2f7d4f", "#26282d", "#7a4fa0", "#e0b33c", "#3f9aa3", "#d9772f")
