"""Front ends for JupyterLab and voila, which compute nothing of their own; nothing that runs in batch imports them."""

from lmhld_nb.widgets.order_panel import order_explorer
from lmhld_nb.widgets.patch_panel import patch_explorer
from lmhld_nb.widgets.prediction_panel import prediction_browser
from lmhld_nb.widgets.run_panel import run_browser

__all__ = ["order_explorer", "patch_explorer", "prediction_browser", "run_browser"]
