"""How long the Dataset Browser's script runs take with many rows: `python -m benchmarks.browser_rows --rows 10000`.

Makes a dataset and stored runs in a folder of its own, works the page as a visitor would, and prints the processor
seconds and the time on the clock of each step.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

PAGE = "pages/4_Dataset_Browser.py"
ROOT = Path(__file__).resolve().parents[1]


def make_home(home: Path, rows: int, runs: int) -> None:
    """A dataset `large` and so many runs of one model on it, alternating between two contexts."""
    from PIL import Image

    from isi_core.datasets.isi_folder import FolderRow, load_isi_folder, write_isi_folder
    from isi_core.store.runs import Store
    from isi_core.studies.trials import build_trial
    from tests.evaluations import evaluation

    file = io.BytesIO()
    Image.new("RGB", (96, 96), "teal").save(file, "PNG")
    content = file.getvalue()
    write_isi_folder(
        (
            FolderRow(
                f"{i}.png",
                content,
                None,
                f"Is it number {i} of the things that lie here?",
                i % 2 == 0,
                family=f"family {i % 7}",
                complementary=f"Number {i} lies here.",
                contradictory=f"Nobody saw number {i}.",
            )
            for i in range(rows)
        ),
        home / "datasets" / "large",
    )
    dataset = load_isi_folder(home / "datasets" / "large")
    store = Store(home)
    trial = build_trial(dataset, dataset.observations[0], ())
    first = store.save(replace(evaluation(), trial=trial), dataset="large")
    with store.database.transaction() as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "id"]
        values = connection.execute(f"SELECT {', '.join(names)} FROM runs WHERE id = ?", [first]).fetchone()
        row = dict(zip(names, values, strict=True))
        made = []
        for number in range(runs):
            o = dataset.observations[number % rows]
            context = ("none", "contradictory")[number // rows % 2]
            own = {"observation_id": o.id, "question": o.question, "truth": o.truth_word, "context_kind": context}
            measures = {"semantic_entropy": number % 97 / 50, "verdict": ("yes", "no")[number % 3 % 2]}
            made.append(tuple({**row, **own, **measures}[name] for name in names))
        places = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO runs ({', '.join(names)}) VALUES ({places})", made)


def steps(home: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the visitor does, in order."""
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=600)

    def go(do: Callable[[], object] = lambda: None) -> None:
        do()
        at.run(timeout=600)
        assert not at.exception, at.exception

    go()
    at.switch_page(PAGE)
    go()
    yield "open the dataset (first time)", lambda: go(lambda: at.selectbox(key="browser_dataset").set_value("large"))
    yield "next page of the gallery", lambda: go(lambda: at.button(key="browser_next").click())
    yield "look at one", lambda: go(lambda: at.button(key="browser_look_13").click())
    yield "next observation", lambda: go(lambda: at.button(key="browser_after").click())
    yield "search for a word", lambda: go(lambda: at.text_input(key="browser_words").set_value("number 77"))
    yield "take it back", lambda: go(lambda: at.text_input(key="browser_words").set_value(""))
    yield "sort by entropy", lambda: go(lambda: at.selectbox(key="browser_by").set_value("Semantic entropy"))
    yield "turned by contradiction", lambda: go(lambda: at.selectbox(key="browser_flips").set_value("flips"))
    yield "take it back again", lambda: go(lambda: at.selectbox(key="browser_flips").set_value("any"))
    yield "the table", lambda: go(lambda: at.button_group(key="browser_layout").set_value("Table"))
    yield "a run of the table with nothing new", go
    yield "look on, in the table", lambda: go(lambda: at.button(key="browser_after").click())
    yield "the dataset card", lambda: go(lambda: at.button_group(key="browser_section").set_value("Dataset card"))
    yield "the card again", go
    yield "the sweeps panel", lambda: go(lambda: at.button_group(key="browser_section").set_value("Sweeps"))
    yield "the sweeps panel again", go


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["ISI_HOME"] = str(home)
        make_home(home, arguments.rows, arguments.runs)
        found = {}
        for name, do in steps(home):
            clock, processor = time.perf_counter(), time.process_time()
            do()
            found[name] = time.process_time() - processor, time.perf_counter() - clock
            print(f"{name:<40}{found[name][0]:8.2f} s of processor{found[name][1]:8.2f} s", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": arguments.rows, "runs": arguments.runs, "seconds": found}))


if __name__ == "__main__":
    main()
