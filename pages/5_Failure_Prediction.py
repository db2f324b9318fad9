"""Failure Prediction: can an explainer tell beforehand when the model will fail?"""

from isi_core.ui import frame
from isi_core.ui.failure import page

frame.ensure()
frame.heading(
    "Failure Prediction",
    "Can anything tell beforehand that the model will answer wrongly, beyond chance and flaws of the data?",
)
page.show()
