"""Run History: every stored run, to be found, compared, cited, repeated."""

from isi_core.ui import frame
from isi_core.ui.runs import page

frame.ensure()
frame.heading("Run History", "What was asked before, what came out, and does it come out the same again?")
page.show()
