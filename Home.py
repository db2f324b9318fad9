"""ISI Studio: `streamlit run Home.py`. The frame around every page, and the landing page."""

from isi_core.ui import frame, home

frame.around(home.show).run()
