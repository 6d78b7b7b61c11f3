"""A start network: two U-Nets that vote, each trained on one area of Landslide4Sense (tools/start_network.py)."""

from pathlib import Path

from lmhld_nb.config import data_dir
from lmhld_nb.mapping import export
from lmhld_nb.training import weights as networks

FILE = Path(__file__).with_name("start") / "landslide4sense.safetensors"


def get() -> tuple[Path, list[str]]:
    """Write it with its card into ``data/weights/``; return its file and lines about its scores."""
    folder = data_dir() / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    path, _ = export.export(str(FILE), folder / FILE.name)
    card = networks.read(path)[1]
    lines = [f"trained on {', '.join(card['trained_on'])}; {card['licence']}"]
    for area, row in card["scores"].items():
        what = f"F1 {row['f1']:.3f} (best threshold {row['index_f1']:.3f}, all landslide {row['all_landslide_f1']:.3f})"
        lines.append(f"  {area:12} {row['resolution_m']:>4g} m  seen: {row['seen']:13} {what}")
    return path, lines
