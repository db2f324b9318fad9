"""One colour per modality and per outcome, on every page, chart and PDF (Okabe-Ito, colour-blind safe)."""

IMAGE = "#0072B2"
CONTEXT = "#E69F00"
QUESTION = "#009E73"
OTHER = "#999999"
INPUT_COLOURS = {"image": IMAGE, "context": CONTEXT, "question": QUESTION, "other": OTHER}

RIGHT = "#009E73"
WRONG = "#D55E00"
UNCLEAR = "#999999"

ORIGINAL_FRAME = "#D00000"
COUNTERFACTUAL_FRAME = "#000000"
