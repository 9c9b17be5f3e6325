"""A notebook, run by Jupyter's own client: what an open file shows, the models' table, and bars of progress."""

from pathlib import Path

import numpy as np
import pytest

import learned_codec

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = (
    "import learned_codec\nlearned_codec.open('scene.lci')",
    "learned_codec.list_models()",
    """from tqdm.auto import tqdm
with tqdm() as bar:
    def show(done, total):
        bar.total = total
        bar.update(done - bar.n)
    learned_codec.decode_file('scene.lci', 'scene.tif', progress=show)""",
    "learned_codec.open('missing.lci')",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Jupyter's own
def test_a_notebook(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (130, 70)).astype(np.uint16)
    (tmp_path / "scene.lci").write_bytes(learned_codec.encode(image, tile_size=64))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbclient.NotebookClient(book, timeout=120, allow_errors=True, resources={"metadata": {"path": tmp_path}}).execute()
    opened, models, progress, missing = (cell.outputs for cell in book.cells)
    assert "70 × 130 pixels" in opened[0]["data"]["text/html"]
    assert "data:image/png;base64," in opened[0]["data"]["text/html"]
    assert models[0]["data"]["text/plain"].startswith("name")
    assert "rgb-2" in models[0]["data"]["text/plain"]
    assert "6/6" in "".join(output.get("text", "") for output in progress)
    assert missing[0]["ename"] == "FileError"
    assert (tmp_path / "scene.tif").exists()
