"""Front ends for JupyterLab and voila: what the chapters show, with controls.

They compute nothing of their own: what they show comes from the functions the chapters call. Nothing that runs in
batch imports this package (`tests/test_widgets.py` reads the imports).
"""

from lmhld_nb.widgets.order_explorer import order_explorer
from lmhld_nb.widgets.patch_explorer import patch_explorer
from lmhld_nb.widgets.prediction_browser import prediction_browser
from lmhld_nb.widgets.run_browser import run_browser

__all__ = ["order_explorer", "patch_explorer", "prediction_browser", "run_browser"]
