"""Front ends for JupyterLab and voila, which compute nothing of their own; nothing that runs in batch imports them."""

from lmhld_nb.widgets.patch_panel import patch_explorer
from lmhld_nb.widgets.prediction_panel import prediction_browser

__all__ = ["patch_explorer", "prediction_browser"]
