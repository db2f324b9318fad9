"""Dataset Browser: look through a dataset and what models said about it, bring in data, write observations."""

from isi_core.ui import frame
from isi_core.ui.browser import page

frame.ensure()
frame.heading(
    "Dataset Browser",
    "Which observations does a model get wrong, or only right as long as nobody contradicts? Find them, add your own.",
)
page.show()
